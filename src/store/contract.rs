//! The contract of an engine: tests that every engine passes.
//!
//! Others may write elsewhere in the same etcd meanwhile, so revisions are compared by order, not by number.

mod story;

use std::sync::Arc;
use std::time::Duration;

pub(super) use self::story::any_story_ends_alike_in_the_engine_in_an_embedded_one_and_in_a_map;
use super::engine::{Batch, Changed, CommitError, Engine, Event, Expectation, Revision, Update, Watch};

/// Longest wait for an event that must come.
const SOON: Duration = Duration::from_secs(10);

/// Runs every test of the contract against an engine, each with a new and empty one.
macro_rules! engine_contract {
    ($open:expr) => {
        $crate::store::contract::engine_contract!($open;
            what_is_written_is_read
            a_change_is_made_only_where_the_record_is_as_expected
            a_batch_is_made_whole_or_not_at_all
            a_watch_tells_every_commit_once_and_in_order
            a_watch_starts_where_it_is_told_to
            a_watch_that_nobody_reads_holds_up_nobody
            of_many_writers_every_one_counts
            any_story_ends_alike_in_the_engine_in_an_embedded_one_and_in_a_map
        );
    };
    ($open:expr; $($test:ident)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let (engine, _keep) = $open.await;
                $crate::store::contract::$test(engine).await;
            }
        )*
    };
}
pub(super) use engine_contract;

fn put(key: &str, value: &str, expected: Expectation) -> Batch {
    Batch::new().put(key, value.as_bytes().to_vec(), expected)
}

async fn held<E: Engine>(engine: &E) -> Vec<(String, String, u64)> {
    let contents = engine.read_all().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    contents.records.into_iter().map(|it| (it.key, text(it.value), it.revision.0)).collect()
}

pub(super) async fn next_update(watch: &mut Watch) -> Update {
    let update = async {
        loop {
            match watch.next().await {
                Some(Event::Changed(update)) => return update,
                Some(Event::Alive) => {}
                other => panic!("want a change, got {other:?}"),
            }
        }
    };
    tokio::time::timeout(SOON, update).await.expect("an event within ten seconds")
}

fn shown(update: &Update) -> Vec<(String, Option<String>)> {
    let mut changes: Vec<_> = update
        .changes
        .iter()
        .map(|changed| match changed {
            Changed::Put(record) => {
                assert_eq!(record.revision, update.revision);
                (record.key.clone(), Some(String::from_utf8(record.value.clone()).unwrap()))
            }
            Changed::Deleted { key } => (key.clone(), None),
        })
        .collect();
    changes.sort();
    changes
}

fn change(key: &str, value: Option<&str>) -> (String, Option<String>) {
    (key.to_owned(), value.map(str::to_owned))
}

pub(super) async fn what_is_written_is_read<E: Engine>(engine: E) {
    assert_eq!(held(&engine).await, []);
    assert_eq!(engine.read("a").await.unwrap(), None);
    let start = engine.read_all().await.unwrap().revision;
    let first = engine.commit(put("b/1", "one", Expectation::Any)).await.unwrap();
    let binary: Vec<u8> = (0..=255).collect();
    let second = engine.commit(Batch::new().put("b/2", binary.clone(), Expectation::Any)).await.unwrap();
    let third = engine.commit(put("a", "", Expectation::Any)).await.unwrap();
    assert!(start < first && first < second && second < third);
    let contents = engine.read_all().await.unwrap();
    assert!(contents.revision >= third);
    let keys: Vec<&str> = contents.records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["a", "b/1", "b/2"]);
    let found = engine.read("b/2").await.unwrap().unwrap();
    assert_eq!((found.value, found.revision), (binary, second));
    assert_eq!(engine.read("b/").await.unwrap(), None);
    engine.commit(Batch::new().delete("b/1", Expectation::Any)).await.unwrap();
    assert_eq!(engine.read("b/1").await.unwrap(), None);
    let last = engine.read_all().await.unwrap().revision;
    let mut watch = engine.watch(last).await.unwrap();
    for nothing in [Batch::new().delete("b/1", Expectation::Any), Batch::new()] {
        assert!(engine.commit(nothing).await.unwrap() >= last);
    }
    let something = engine.commit(put("c", "", Expectation::Any)).await.unwrap();
    assert_eq!(next_update(&mut watch).await.revision, something, "what changes nothing is no commit");
}

pub(super) async fn a_change_is_made_only_where_the_record_is_as_expected<E: Engine>(engine: E) {
    let old = engine.commit(put("is", "0", Expectation::Any)).await.unwrap();
    let at = engine.commit(put("is", "1", Expectation::At(old))).await.unwrap();
    let never = Revision(at.0 + 1000);
    for (key, expected, fits) in [
        ("is", Expectation::Absent, false),
        ("is", Expectation::At(old), false),
        ("is", Expectation::At(never), false),
        ("is not", Expectation::At(at), false),
        ("is", Expectation::At(at), true),
        ("is not", Expectation::Absent, true),
        ("is", Expectation::Any, true),
        ("is not", Expectation::Any, true),
    ] {
        for batch in [put(key, "2", expected), Batch::new().delete(key, expected)] {
            let before = held(&engine).await;
            match engine.commit(batch.clone()).await {
                Ok(_) => assert!(fits, "{batch:?}"),
                Err(CommitError::Conflict { key: named }) => {
                    assert!(!fits, "{batch:?}");
                    assert_eq!(named, key, "{batch:?}");
                    assert_eq!(held(&engine).await, before, "{batch:?}");
                }
                Err(other) => panic!("{batch:?}: {other}"),
            }
            if fits {
                break;
            }
        }
        if fits {
            // Back to one record that is, and one that is not.
            engine.commit(Batch::new().delete("is not", Expectation::Any)).await.unwrap();
        }
        if fits && expected == Expectation::At(at) {
            let now = engine.read("is").await.unwrap().unwrap().revision;
            assert!(engine.commit(Batch::new().delete("is", Expectation::At(at))).await.is_err(), "spent");
            engine.commit(Batch::new().delete("is", Expectation::At(now))).await.unwrap();
            assert_eq!(engine.read("is").await.unwrap(), None);
        }
    }
}

pub(super) async fn a_batch_is_made_whole_or_not_at_all<E: Engine>(engine: E) {
    let all = put("a", "1", Expectation::Absent).put("b", b"1".to_vec(), Expectation::Absent);
    let revision = engine.commit(all.clone()).await.unwrap();
    let want = [("a", "1"), ("b", "1")].map(|(key, value)| (key.to_owned(), value.to_owned(), revision.0));
    assert_eq!(held(&engine).await, want);
    for failing in ["a", "b", "c"] {
        let mut batch = Batch::new();
        for key in ["a", "b", "c"] {
            let wrong = if key == "c" { Expectation::At(revision) } else { Expectation::Absent };
            batch = batch.put(key, b"2".to_vec(), if key == failing { wrong } else { Expectation::Any });
        }
        let refused = engine.commit(batch).await;
        assert!(matches!(&refused, Err(CommitError::Conflict { key }) if key == failing), "{failing}: {refused:?}");
        assert_eq!(held(&engine).await, want, "{failing}");
    }
    let swap = Batch::new().delete("a", Expectation::At(revision)).put("c", b"3".to_vec(), Expectation::Absent);
    let swapped = engine.commit(swap).await.unwrap();
    let want =
        [("b", "1", revision), ("c", "3", swapped)].map(|(key, value, at)| (key.to_owned(), value.to_owned(), at.0));
    assert_eq!(held(&engine).await, want);
}

pub(super) async fn a_watch_tells_every_commit_once_and_in_order<E: Engine>(engine: E) {
    engine.commit(put("before", "", Expectation::Any)).await.unwrap();
    let mut watch = engine.watch(engine.read_all().await.unwrap().revision).await.unwrap();
    let two = put("a", "1", Expectation::Any).put("b", b"1".to_vec(), Expectation::Any);
    let first = engine.commit(two).await.unwrap();
    assert!(engine.commit(put("a", "x", Expectation::Absent)).await.is_err());
    let mixed = Batch::new().delete("a", Expectation::Any).put("b", b"2".to_vec(), Expectation::Any);
    let second = engine.commit(mixed).await.unwrap();
    for (revision, want) in [
        (first, [change("a", Some("1")), change("b", Some("1"))]),
        (second, [change("a", None), change("b", Some("2"))]),
    ] {
        let update = next_update(&mut watch).await;
        assert_eq!((update.revision, shown(&update)), (revision, want.to_vec()));
    }
    for number in 0..50 {
        engine.commit(put("n", &number.to_string(), Expectation::Any)).await.unwrap();
    }
    for number in 0..50 {
        assert_eq!(shown(&next_update(&mut watch).await), [change("n", Some(&number.to_string()))]);
    }
}

pub(super) async fn a_watch_starts_where_it_is_told_to<E: Engine>(engine: E) {
    let mut from = vec![engine.read_all().await.unwrap().revision];
    for number in 0..5 {
        from.push(engine.commit(put("n", &number.to_string(), Expectation::Any)).await.unwrap());
    }
    for (seen, from) in from.into_iter().enumerate() {
        let mut watch = engine.watch(from).await.unwrap();
        for number in seen..5 {
            assert_eq!(shown(&next_update(&mut watch).await), [change("n", Some(&number.to_string()))], "from {from}");
        }
        let more = tokio::time::timeout(Duration::from_millis(20), next_update(&mut watch)).await;
        assert!(more.is_err(), "from {from}: {more:?}");
    }
}

pub(super) async fn a_watch_that_nobody_reads_holds_up_nobody<E: Engine>(engine: E) {
    let start = engine.read_all().await.unwrap().revision;
    let mut unread = engine.watch(start).await.unwrap();
    let mut read = engine.watch(start).await.unwrap();
    let last = 3 * Watch::BUFFER;
    for number in 0..last {
        engine.commit(put("n", &number.to_string(), Expectation::Any)).await.unwrap();
    }
    for watch in [&mut read, &mut unread] {
        for number in 0..last {
            assert_eq!(shown(&next_update(watch).await), [change("n", Some(&number.to_string()))]);
        }
    }
}

pub(super) async fn of_many_writers_every_one_counts<E: Engine + 'static>(engine: E) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 10;
    let engine = Arc::new(engine);
    let start = engine.commit(put("n", "0", Expectation::Absent)).await.unwrap();
    let mut watch = engine.watch(start).await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                let mut done = 0;
                // Every failed attempt is another's success, so these are enough for all.
                for _ in 0..=WRITERS * EACH {
                    if done == EACH {
                        return;
                    }
                    let found = engine.read("n").await.unwrap().unwrap();
                    let number: u64 = String::from_utf8(found.value).unwrap().parse().unwrap();
                    let next = put("n", &(number + 1).to_string(), Expectation::At(found.revision));
                    match engine.commit(next).await {
                        Ok(_) => done += 1,
                        Err(CommitError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                assert_eq!(done, EACH);
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut last = start;
    for number in 1..=WRITERS * EACH {
        let update = next_update(&mut watch).await;
        assert_eq!(shown(&update), [change("n", Some(&number.to_string()))]);
        assert!(update.revision > last);
        last = update.revision;
    }
    assert!(engine.read_all().await.unwrap().revision >= last);
}
