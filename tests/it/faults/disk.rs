//! A full disk (R27): changes are refused, traffic goes on, and what was answered is there when there is room again.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::stage::Stage;
use super::stage::manage;
use super::stage::regenerate;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::summary;
use crate::support::summary::Counts;

/// Mounts a file system of this size at `$0`, which nobody else sees, and becomes the rest.
fn on_small_disk(directory: &Path, kibibytes: u32, becoming: &str) -> Vec<String> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let namespace = if is_root { "-m" } else { "-rm" };
    let script = format!("mkdir -p \"$0\" && mount -t tmpfs -o size={kibibytes}k,mode=700 tmpfs \"$0\" && {becoming}");
    let directory = directory.to_str().expect("temporary directories have names in UTF-8");
    ["unshare", namespace, "sh", "-c", &script, directory].map(str::to_owned).to_vec()
}

/// Everything but the store has room.
const ELSEWHERE: &str = "audit: {directory: $DIR/audit}\naccess_log: off\n";

/// Room that a store with two services lives in, in KiB. A new file of redb is 1 MiB, nearly all of it a hole: of 64 KiB
/// it takes 56, up to 8 more while it commits, and 8 go to the two keys beside it.
const SMALLEST: u32 = 96;

/// Too little room for a start, in KiB, and what there was none for.
const TOO_SMALL: [(u32, &str); 4] =
    [(4, "the store file"), (16, "the master key"), (32, "a signing key"), (48, "service/g")];

fn start(disk: &str, kibibytes: u32, becoming: &str, more: &str) -> Stage {
    let directory: TempDir = scratch();
    let program = on_small_disk(&directory.path().join(disk), kibibytes, becoming);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    Stage::start_under(&program, directory, more)
}

/// Takes all the room that is left on the gateway's disk; gives it back when dropped.
struct Filler(PathBuf);

impl Filler {
    fn fill(gateway: &Gateway, disk: &str) -> Self {
        let path = gateway.seen_by(disk).join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // The gateway, and its disk with it, may be gone already.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

#[test]
fn a_full_disk_of_the_store_refuses_changes_and_loses_none_that_was_answered() {
    let stage = start("store", SMALLEST, "exec \"$@\"", ELSEWHERE);
    let gateway = &stage.gateway;
    let load = stage.load();
    load.go_on(100);
    let create = |number: u32| {
        let name = format!("account-{number:05}");
        manage(gateway, "accounts", &json!({ "name": name, "resource": format!("/a/{number}") })).status
    };
    assert_eq!(create(0), 201);
    let full = Filler::fill(gateway, "store");
    let mut answered = vec![0];
    let mut refused = 0;
    for number in 1..3000 {
        match create(number) {
            201 => answered.push(number),
            503 => refused += 1,
            other => panic!("account {number}: {other}"),
        }
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the disk was never full: {} accounts", answered.len());
    load.go_on(100);
    drop(full);
    eventually("changes are taken again", || (create(4000) == 201).then_some(()));
    answered.push(4000);
    let old = stage.rotate(0);
    assert_eq!(stage.status(0, &old), 401);
    let accounts = listed(gateway);
    for number in &answered {
        assert!(accounts.contains(&format!("account-{number:05}\"")), "account {number} was answered");
    }
    let seen = load.finish();
    seen.assert_undisturbed();
    summary::report("faults/disk", seen.counts(refused));
}

fn listed(gateway: &Gateway) -> String {
    let key = fs::read_to_string(gateway.seen_by("store/management.key")).unwrap();
    let headers = [("authorization", &*format!("Bearer {}", key.trim()))];
    client::get(gateway.management(), "/api/v1/accounts", &headers).text()
}

#[test]
fn a_start_without_room_says_what_it_has_no_room_for_and_the_next_one_goes_on_from_there() {
    let sizes = TOO_SMALL.map(|(size, _)| size.to_string()).join(" ");
    let tried = format!(
        "for size in {sizes}; do mount -o remount,size=${{size}}k \"$0\"; \
         timeout 20 \"$@\" 2>\"$0.$size\"; echo \"ended with $?\" >>\"$0.$size\"; done; \
         mount -o remount,size={SMALLEST}k \"$0\"; exec \"$@\""
    );
    let stage = start("store", 4, &tried, ELSEWHERE);
    for (size, lacking) in TOO_SMALL {
        let told = fs::read_to_string(stage.gateway.directory().join(format!("store.{size}"))).unwrap();
        let is_told = told.contains(lacking) && told.contains("No space left on device");
        assert!(is_told && told.ends_with("\nended with 1\n"), "{size} KiB: {told}");
    }
    for (service, key) in stage.steady.iter().enumerate() {
        assert_eq!(stage.status(service, key), 200);
    }
    let old = stage.rotate(0);
    assert_eq!(stage.status(0, &old), 401);
    let faults = TOO_SMALL.len() as u64;
    summary::report("faults/disk", Counts { cases: 1, passed: 1, refused: faults, faults, ..Counts::default() });
}

#[test]
fn a_full_disk_of_the_audit_log_blocks_changes_or_counts_as_it_is_told_to() {
    for (on_failure, want) in [("block", 503), ("count", 200)] {
        let audit = format!("audit: {{directory: $DIR/audit, on_failure: {on_failure}}}\naccess_log: off\n");
        let stage = start("audit", 64, "exec \"$@\"", &audit);
        let gateway = &stage.gateway;
        let load = stage.load();
        load.go_on(100);
        assert_eq!(regenerate(gateway, "s").status, 200);
        let full = Filler::fill(gateway, "audit");
        let mut met = 0;
        for _ in 0..20 {
            let answer = regenerate(gateway, "s");
            // A line may still fit into the last block.
            assert!(met == 0 || answer.status == want, "{on_failure}: {}", answer.text());
            met += u64::from(answer.status == want);
        }
        assert!(met > 10, "{on_failure}: {met}");
        let dropped = gateway.metric("gateway_audit_events_dropped_total");
        assert!(gateway.metric("gateway_audit_failing") > 0.5 && dropped > 0.5, "{on_failure}: {dropped}");
        load.go_on(100);
        drop(full);
        eventually("changes are on record again", || {
            let is_done = regenerate(gateway, "s").status == 200;
            (is_done && gateway.metric("gateway_audit_failing") < 0.5).then_some(())
        });
        let seen = load.finish();
        seen.assert_undisturbed();
        summary::report("faults/disk", seen.counts(1));
    }
}

#[test]
fn a_full_disk_of_the_access_log_costs_lines_and_nothing_else() {
    let stage = start("log", 64, "exec \"$@\" >>\"$0/access.log\"", "audit: {directory: $DIR/audit}\n");
    let gateway = &stage.gateway;
    let load = stage.load();
    eventually("lines are dropped", || (gateway.metric("gateway_access_log_dropped_total") > 10.0).then_some(()));
    load.go_on(300);
    assert_eq!(regenerate(gateway, "s").status, 200, "changes go on as well");
    let log = gateway.seen_by("log/access.log");
    File::options().write(true).truncate(true).open(&log).unwrap();
    eventually("lines are written again", || (fs::metadata(&log).unwrap().len() > 0).then_some(()));
    let seen = load.finish();
    seen.assert_undisturbed();
    summary::report("faults/disk", seen.counts(1));
}
