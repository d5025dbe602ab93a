//! Kills and full disks: what was answered stays, and nothing is ever half done.
//!
//! The test binary runs itself as the process that is killed: [`the_child`] does the work when the
//! environment says so, and nothing in an ordinary run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::record_key::{Owner, hex};
use super::slots::Regeneration;
use super::state::{Held, State};
use super::{Store, testing};
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// Names the directory in which [`the_child`] works.
const DIRECTORY: &str = "SCOREGATE_TEST_CRASH_DIRECTORY";

fn owner() -> Owner {
    Owner::Service(Name::parse("iris").unwrap())
}

/// Both keys as a line of text, of digests: that is what a state knows.
fn keys(state: &State) -> String {
    let Held::Keys(keys) = state.slots(&owner()) else { return "none".to_owned() };
    format!("{} {}", hex(&keys.primary.digest), hex(&keys.secondary.digest))
}

async fn say(store: &Store, what: &str) {
    let line = format!("\n@{what} {}\n", keys(&store.read().await.unwrap()));
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Regenerates until it is killed, and says each time what was answered. Ten thousand are more than it lives for.
#[tokio::test]
async fn the_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = testing::open(Path::new(&directory)).await;
    store.ensure(&owner(), UnixSeconds(1)).await.unwrap();
    say(&store, "answered").await;
    for number in 0..10_000 {
        let slot = Slot::ALL[number % 2];
        match store.regenerate(&owner(), slot, &Regeneration::default(), UnixSeconds(1)).await {
            Ok(_) => say(&store, "answered").await,
            // The disk is full. Once there is room again, it goes on.
            Err(error) => {
                let refused = matches!(error, super::change::ChangeError::Unavailable(_));
                assert!(refused, "{error}");
                say(&store, "refused").await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn start(directory: &Path, limit: &str) -> Child {
    let this = std::env::current_exe().unwrap();
    Command::new("sh")
        .args([
            "-c",
            &format!("{limit} exec \"$0\" --exact store::crash::the_child --nocapture"),
            this.to_str().unwrap(),
        ])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The lines of a child as they come; ends when it ends.
fn lines(child: &mut Child) -> impl Iterator<Item = (String, String)> + use<> {
    let output = BufReader::new(child.stdout.take().unwrap());
    output.lines().map_while(Result::ok).filter_map(|line| {
        let (what, keys) = line.strip_prefix('@')?.split_once(' ')?;
        Some((what.to_owned(), keys.to_owned()))
    })
}

/// How many of the two keys differ.
fn changed(before: &str, after: &str) -> usize {
    before.split(' ').zip(after.split(' ')).filter(|(before, after)| before != after).count()
}

#[test]
fn a_kill_at_any_moment_loses_no_answered_change_and_never_changes_both_slots() {
    const KILLS: u64 = 20;
    let directory = testing::directory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut answers = 0;
    let mut last = "none".to_owned();
    for kill in 0..KILLS {
        let mut child = start(directory.path(), "");
        let lines = lines(&mut child);
        // From before the store is open to well into the loop; odd steps, so that no rhythm is hit.
        std::thread::sleep(Duration::from_millis(kill * 17 % 131));
        child.kill().unwrap();
        child.wait().unwrap();
        // A line that the kill cut in two was not answered.
        for (what, keys) in lines.filter(|(_, keys)| keys.len() == 129) {
            assert_eq!(what, "answered");
            assert!(last == "none" || changed(&last, &keys) <= 1, "kill {kill}: {last} became {keys}");
            last = keys;
            answers += 1;
        }
        let (found, claims) = runtime.block_on(async {
            let store = testing::open(directory.path()).await;
            let state = store.read().await.unwrap();
            assert_eq!(state.quarantined, [].into(), "kill {kill}");
            let claims = super::engine::Engine::read_all(&store.engine).await.unwrap();
            let claims = claims.records.iter().filter(|record| record.key.starts_with("key-digest/")).count();
            let found = keys(&state);
            if found != "none" {
                store.list(&owner()).await.unwrap();
            }
            store.close().await;
            (found, claims)
        });
        if last != "none" {
            let more = changed(&last, &found);
            assert!(more <= 1, "kill {kill}: {last} was answered, {found} is there");
        }
        assert_eq!(claims, if found == "none" { 0 } else { 2 }, "kill {kill}");
        last = found;
    }
    assert!(answers >= KILLS, "only {answers} answers between {KILLS} kills: nothing was tested");
}

/// A limit on the size of files fails writes as a full disk does, and needs no privilege. The shell keeps
/// the signal from killing the child, and only the soft limit falls, so that it can be raised again.
#[test]
fn a_full_disk_refuses_writes_keeps_what_is_there_and_recovers() {
    let directory = testing::directory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The file is made without a limit: what matters is a disk that fills up later.
    let before = runtime.block_on(async {
        let store = testing::open(directory.path()).await;
        store.ensure(&owner(), UnixSeconds(1)).await.unwrap();
        let before = keys(&store.read().await.unwrap());
        store.close().await;
        before
    });
    let mut child = start(directory.path(), "trap '' XFSZ; ulimit -S -f 8;");
    let mut last = before;
    let mut refused = 0;
    let mut answered_after = 0;
    let mut lines = lines(&mut child);
    for (what, keys) in lines.by_ref() {
        match what.as_str() {
            "refused" => {
                refused += 1;
                assert_eq!(keys, last, "a refused change was made");
                if refused == 3 {
                    let pid = child.id().to_string();
                    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
                    assert!(raised.expect("prlimit of the package util-linux").success());
                }
            }
            _ => {
                assert!(changed(&last, &keys) <= 1, "{last} became {keys}");
                answered_after += usize::from(refused > 0);
            }
        }
        last = keys;
        if answered_after == 5 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it answered between the last look and the kill counts too; a line that the kill cut does not.
    last = lines.map(|(_, keys)| keys).filter(|keys| keys.len() == last.len()).last().unwrap_or(last);
    assert!(refused >= 3, "the disk was never full");
    assert_eq!(answered_after, 5, "no change was made once there was room again");
    let found = runtime.block_on(async { keys(&testing::open(directory.path()).await.read().await.unwrap()) });
    assert!(changed(&last, &found) <= 1, "{last} was answered, {found} is there");
}
