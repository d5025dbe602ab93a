//! Tells the program which commit it is built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    println!("cargo:rerun-if-env-changed=SCOREGATE_COMMIT");
    let given = std::env::var("SCOREGATE_COMMIT").ok();
    let asked = || {
        let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        let commit = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| commit.trim().to_owned())
    };
    let commit = given.or_else(asked).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo:rustc-env=SCOREGATE_COMMIT={commit}");
}
