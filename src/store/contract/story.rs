//! Random commits: the engine at hand, an embedded one and a plain map, told the same story.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::{held, next_update, shown};
use crate::model::summary::{Counts, report};
use crate::store::embedded::Embedded;
use crate::store::engine::{Batch, CommitError, Engine, Expectation, Revision, Watch};
use crate::store::testing;

/// Commits of one story.
const COMMITS: usize = 200;

/// Keys that are prefixes of one another.
const KEYS: [&str; 5] = ["a", "a/", "a/b", "a0", "b"];

/// One change of a commit.
#[derive(Debug, Clone)]
struct Change {
    key: &'static str,
    expected: Expected,
    /// `None` takes the record away.
    value: Option<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Any,
    Absent,
    /// As the map has it; where it has none, as it once was.
    Current,
    /// As it was before it was written last.
    Stale,
}

fn change() -> impl Strategy<Value = Change> {
    let expected = prop_oneof![
        3 => Just(Expected::Any),
        2 => Just(Expected::Absent),
        4 => Just(Expected::Current),
        1 => Just(Expected::Stale),
    ];
    let value = prop_oneof![3 => any::<u8>().prop_map(Some), 1 => Just(None)];
    (proptest::sample::select(KEYS.to_vec()), expected, value).prop_map(|(key, expected, value)| Change {
        key,
        expected,
        value,
    })
}

/// An engine, and what is known of it: the revisions at which each record was written, newest last.
struct Told<E> {
    engine: E,
    watch: Watch,
    written: BTreeMap<&'static str, Vec<Revision>>,
}

impl<E: Engine> Told<E> {
    async fn new(engine: E) -> Self {
        let start = engine.read_all().await.unwrap().revision;
        Self { watch: engine.watch(start).await.unwrap(), engine, written: BTreeMap::new() }
    }

    fn expectation(&self, change: &Change, held: bool) -> Expectation {
        let revisions = self.written.get(change.key).map(Vec::as_slice).unwrap_or_default();
        let never = Revision(u64::from(u32::MAX));
        match change.expected {
            Expected::Any => Expectation::Any,
            Expected::Absent => Expectation::Absent,
            Expected::Current => Expectation::At(revisions.last().copied().unwrap_or(never)),
            Expected::Stale => {
                let before = revisions.iter().rev().nth(usize::from(held)).copied();
                Expectation::At(before.unwrap_or(never))
            }
        }
    }

    /// Commits, and says whether that fits; `map` is what is held before.
    async fn commit(&mut self, changes: &BTreeMap<&'static str, Change>, map: &BTreeMap<&'static str, u8>) -> bool {
        let mut batch = Batch::new();
        for (key, change) in changes {
            let expected = self.expectation(change, map.contains_key(key));
            batch = match change.value {
                Some(value) => batch.put(*key, value.to_string().into_bytes(), expected),
                None => batch.delete(*key, expected),
            };
        }
        match self.engine.commit(batch).await {
            Ok(revision) => {
                let put = changes.values().filter(|change| change.value.is_some());
                put.for_each(|change| self.written.entry(change.key).or_default().push(revision));
                true
            }
            Err(CommitError::Conflict { key }) => {
                assert!(changes.contains_key(key.as_str()), "{key} is in the conflict only");
                false
            }
            Err(other) => panic!("{changes:?}: {other}"),
        }
    }

    async fn check(&mut self, map: &BTreeMap<&'static str, u8>, changed: &[(String, Option<String>)], after: &str) {
        let newest = |key: &str| self.written.get(key).and_then(|revisions| revisions.last()).map(|newest| newest.0);
        let want: Vec<_> = map
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.to_string(), newest(key).unwrap_or_default()))
            .collect();
        assert_eq!(held(&self.engine).await, want, "{after}");
        for key in KEYS {
            let read = self.engine.read(key).await.unwrap().map(|record| (record.value, record.revision.0));
            let want = map.get(key).map(|value| (value.to_string().into_bytes(), newest(key).unwrap_or_default()));
            assert_eq!(read, want, "{key} {after}");
        }
        if !changed.is_empty() {
            assert_eq!(shown(&next_update(&mut self.watch).await), changed, "{after}");
        }
    }
}

/// Whether a record is as a change expects it.
fn fits(change: &Change, held: bool) -> bool {
    match change.expected {
        Expected::Any => true,
        Expected::Absent => !held,
        Expected::Current => held,
        Expected::Stale => false,
    }
}

pub(in crate::store) async fn any_story_ends_alike_in_the_engine_in_an_embedded_one_and_in_a_map<E: Engine>(engine: E) {
    let directory = testing::directory();
    let mut one = Told::new(engine).await;
    let mut other = Told::new(Embedded::open(directory.path()).await.unwrap()).await;
    let mut map: BTreeMap<&'static str, u8> = BTreeMap::new();
    let mut random = TestRunner::default();
    let commit = proptest::collection::vec(change(), 1..4);
    for number in 0..COMMITS {
        let drawn = commit.new_tree(&mut random).unwrap().current();
        let changes: BTreeMap<_, _> = drawn.into_iter().map(|change| (change.key, change)).collect();
        let after = format!("after commit {number}, {changes:?}, of {map:?}");
        let all_fit = changes.values().all(|change| fits(change, map.contains_key(change.key)));
        let made = [one.commit(&changes, &map).await, other.commit(&changes, &map).await];
        assert_eq!(made, [all_fit; 2], "{after}");
        let mut changed = Vec::new();
        for change in changes.values().filter(|_| all_fit) {
            match change.value {
                Some(value) => drop(map.insert(change.key, value)),
                None if map.remove(change.key).is_none() => continue,
                None => {}
            }
            changed.push((change.key.to_owned(), change.value.map(|value| value.to_string())));
        }
        one.check(&map, &changed, &after).await;
        other.check(&map, &changed, &after).await;
    }
    report("properties/engines", Counts { cases: 1, passed: 1, ..Counts::default() });
}
