//! Kills and full disks: what was answered stays, and nothing is ever half done.
//!
//! The test binary runs itself as the process that is killed: [`the_child`] does the work when the
//! environment says so, and nothing in an ordinary run.

use std::collections::HashSet;
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

/// How many regenerations are answered between the kills.
const REGENERATIONS: usize = 10_000;

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

/// Regenerates until it is killed, and says each time what was answered; it does not live to the end of the loop.
#[tokio::test]
async fn the_child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = testing::open(Path::new(&directory)).await;
    store.ensure(&owner(), UnixSeconds(1)).await.unwrap();
    say(&store, "answered").await;
    for number in 0..REGENERATIONS {
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

/// Random numbers, the same again from the same seed, by xorshift.
struct Random(u64);

impl Random {
    fn seeded() -> (Self, u64) {
        let mut bits = [0; 8];
        aws_lc_rs::rand::fill(&mut bits).unwrap();
        let seed = u64::from_le_bytes(bits) | 1;
        (Self(seed), seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What the states of a store were, across lives of [`the_child`].
struct History {
    /// The state that was last answered, or found after a kill.
    last: String,
    /// All of them: whoever loses an answered change is back at one.
    seen: HashSet<String>,
    regenerations: usize,
}

impl History {
    fn new() -> Self {
        let none = "none".to_owned();
        Self { last: none.clone(), seen: HashSet::from([none]), regenerations: 0 }
    }

    /// The lines of one life; the first tells what the child found.
    fn answered(&mut self, lines: impl Iterator<Item = (String, String)>, at: &str) {
        // A line that the kill cut in two was not answered.
        for (number, (what, keys)) in lines.filter(|(_, keys)| keys.len() == 129).enumerate() {
            assert_eq!(what, "answered", "{at}");
            if number == 0 && self.last != "none" {
                assert_eq!(keys, self.last, "{at}: opened once more, the store is another");
                continue;
            }
            self.regenerations += usize::from(number > 0);
            self.moves_to(keys, at);
        }
    }

    /// After a kill there is what was answered last, or one step more.
    fn found(&mut self, keys: String, at: &str) {
        if keys != self.last {
            self.moves_to(keys, at);
        }
    }

    fn moves_to(&mut self, keys: String, at: &str) {
        assert_eq!(changed(&self.last, &keys), 1, "{at}: {} became {keys}", self.last);
        assert!(self.seen.insert(keys.clone()), "{at}: {} was answered, the older {keys} is there", self.last);
        self.last = keys;
    }
}

/// Starts [`the_child`] and kills it: one time in four while it starts, else after some answers; always after a
/// random pause, so that no step of a commit is spared. Returns its lines.
fn one_life(directory: &Path, random: &mut Random) -> Vec<(String, String)> {
    let mut child = start(directory, "");
    let mut lines = lines(&mut child);
    let answers = if random.below(4) == 0 { 0 } else { 1 + random.below(200) };
    let pause = Duration::from_micros(random.below(if answers == 0 { 60_000 } else { 5_000 }));
    let mut told: Vec<_> = lines.by_ref().take(usize::try_from(answers).unwrap()).collect();
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(lines);
    told
}

#[test]
fn a_kill_at_any_moment_loses_no_answered_change_and_never_changes_both_slots() {
    let directory = testing::directory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut random, seed) = Random::seeded();
    let (mut history, mut kills) = (History::new(), 0);
    while history.regenerations < REGENERATIONS {
        kills += 1;
        let at = format!("kill {kills} of seed {seed}");
        assert!(
            kills < REGENERATIONS / 10,
            "{at}: only {} regenerations, next to nothing is tested",
            history.regenerations
        );
        history.answered(one_life(directory.path(), &mut random).into_iter(), &at);
        let (found, claims) = runtime.block_on(async {
            let store = testing::open(directory.path()).await;
            let state = store.read().await.unwrap();
            assert_eq!(state.quarantined, [].into(), "{at}");
            let claims = super::engine::Engine::read_all(&store.engine).await.unwrap();
            let claims = claims.records.iter().filter(|record| record.key.starts_with("key-digest/")).count();
            let found = keys(&state);
            if found != "none" {
                store.list(&owner()).await.unwrap();
            }
            store.close().await;
            (found, claims)
        });
        assert_eq!(claims, if found == "none" { 0 } else { 2 }, "{at}");
        history.found(found, &at);
    }
    let made = history.regenerations;
    writeln!(std::io::stderr(), "note: {made} regenerations answered between {kills} kills, none lost").unwrap();
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
