//! One program for every target; libFuzzer brings `main`, and `FUZZ_TARGET` says which target it drives.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scoregate_fuzz::TARGETS;
use scoregate_fuzz::Target;

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("want FUZZ_TARGET to be one of {}, got {wanted:?}", names.join(" "))).1
});

fuzz_target!(|data: &[u8]| CHOSEN(data));
