//! Tests of the slots: a table of Azure's rules, and random sequences against a model.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::model::{self, Rotation, Step};
use super::{Ensured, Regeneration, is_key};
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::summary::Counts;
use crate::model::summary::report;
use crate::model::time::UnixSeconds;
use crate::store::Store;
use crate::store::change::ChangeError;
use crate::store::engine::{Batch, Engine as _, Expectation};
use crate::store::record_key::{Owner, hex};
use crate::store::state::Held;
use crate::store::testing::TestStore;

const NOW: UnixSeconds = UnixSeconds(1_000);

fn service(name: &str) -> Owner {
    Owner::Service(Name::parse(name).unwrap())
}

fn chosen(key: &str) -> Regeneration {
    Regeneration { value: Some(Secret::new(key.to_owned())), ..Regeneration::default() }
}

async fn listed(store: &Store, owner: &Owner) -> [String; 2] {
    let keys = store.list(owner).await.unwrap();
    [keys.primary, keys.secondary].map(|key| key.expose().clone())
}

#[tokio::test]
async fn an_owner_gets_two_different_random_keys_once() {
    let store = TestStore::open().await;
    let iris = service("iris");
    assert!(matches!(store.list(&iris).await, Err(ChangeError::NotFound { .. })));
    let made = store.ensure(&iris, NOW).await.unwrap();
    assert!(matches!(made, Ensured::Made(_)));
    let keys = listed(&store, &iris).await;
    assert_ne!(keys[0], keys[1]);
    for key in &keys {
        assert_eq!(key.len(), 43, "32 bytes in base64url");
        assert!(is_key(key));
    }
    assert_eq!(store.ensure(&iris, NOW).await.unwrap(), Ensured::Found);
    assert_eq!(listed(&store, &iris).await, keys);
    assert_eq!(store.ensure(&Owner::Account(Name::parse("iris").unwrap()), NOW).await.unwrap(), {
        let Ensured::Made(revision) = made else { panic!() };
        Ensured::Made(crate::store::engine::Revision(revision.0 + 1))
    });
}

#[tokio::test]
async fn a_given_key_is_set_and_the_current_one_asks_for_a_random_one() {
    let store = TestStore::open().await;
    let (iris, rose) = (service("iris"), service("rose"));
    store.ensure(&iris, NOW).await.unwrap();
    store.ensure(&rose, NOW).await.unwrap();
    let given = "Chosen.by_an~operator+/=-0";
    store.regenerate(&iris, Slot::Secondary, &chosen(given), NOW).await.unwrap();
    let before = listed(&store, &iris).await;
    assert_eq!(before[1], given);

    // As Azure's v2 SDK does (contract §3).
    store.regenerate(&iris, Slot::Secondary, &chosen(given), NOW).await.unwrap();
    let after = listed(&store, &iris).await;
    assert_eq!(after[0], before[0], "the other slot");
    assert_ne!(after[1], given);
    assert_eq!(after[1].len(), 43);

    // The key of the other slot is not the current key of this one.
    let [rose_primary, _] = listed(&store, &rose).await;
    for (slot, taken) in [(Slot::Primary, &after[1]), (Slot::Secondary, &after[0]), (Slot::Primary, &rose_primary)] {
        let refused = store.regenerate(&iris, slot, &chosen(taken), NOW).await;
        assert!(matches!(refused, Err(ChangeError::KeyInUse)), "{slot}: {refused:?}");
    }
    store.regenerate(&rose, Slot::Primary, &chosen(given), NOW).await.unwrap();
    assert_eq!(listed(&store, &rose).await[0], given, "a key that was given up can be taken");
    assert_eq!(listed(&store, &iris).await, after, "what was refused changed nothing");
}

#[tokio::test]
async fn only_what_needs_no_escaping_and_is_long_enough_is_a_key() {
    let store = TestStore::open().await;
    let iris = service("iris");
    store.ensure(&iris, NOW).await.unwrap();
    let before = listed(&store, &iris).await;
    let (longest, too_long) = ("k".repeat(256), "k".repeat(257));
    for (key, fits) in [
        ("abcdefghijklmnop", true),
        ("abcdefghijklmno", false),
        ("", false),
        (&longest, true),
        (&too_long, false),
        ("ABCdef0189._~+/=-", true),
        ("abcdefghijklmno ", false),
        ("abcdefghijklmno\n", false),
        ("abcdefghijklmno\"", false),
        ("abcdefghijklmno,", false),
        ("abcdefghijklmnö", false),
    ] {
        assert_eq!(is_key(key), fits, "{key:?}");
        if !fits {
            let refused = store.regenerate(&iris, Slot::Primary, &chosen(key), NOW).await;
            assert!(matches!(refused, Err(ChangeError::NotAKey)), "{key:?}: {refused:?}");
        }
    }
    assert_eq!(listed(&store, &iris).await, before);
}

#[tokio::test]
async fn an_old_sealed_key_is_not_shown_as_the_new_one() {
    let store = TestStore::open().await;
    let iris = service("iris");
    store.ensure(&iris, NOW).await.unwrap();
    let old = store.engine.read("slots/service/iris").await.unwrap().unwrap();
    store.regenerate(&iris, Slot::Primary, &Regeneration::default(), NOW).await.unwrap();
    let new = store.engine.read("slots/service/iris").await.unwrap().unwrap();
    let sealed = |value: &[u8]| -> String {
        let value: serde_json::Value = serde_json::from_slice(value).unwrap();
        value["record"]["primary"]["sealed"].as_str().unwrap().to_owned()
    };
    let text = String::from_utf8(new.value.clone()).unwrap();
    let mixed = text.replace(&sealed(&new.value), &sealed(&old.value));
    assert_ne!(mixed, text);
    store.engine.commit(Batch::new().put("slots/service/iris", mixed.into(), Expectation::Any)).await.unwrap();
    let refused = store.list(&iris).await.unwrap_err();
    assert!(matches!(&refused, ChangeError::Unreadable { .. }), "{refused}");
}

#[tokio::test]
async fn many_that_regenerate_at_once_each_have_their_turn() {
    const WRITERS: usize = 6;
    let store = TestStore::open().await;
    let iris = service("iris");
    store.ensure(&iris, NOW).await.unwrap();
    let one = async || {
        for slot in [Slot::Primary, Slot::Secondary, Slot::Primary] {
            store.regenerate(&iris, slot, &Regeneration::default(), NOW).await.unwrap();
        }
    };
    let same = chosen("the-same-key-for-all");
    let all = async || {
        tokio::join!(one(), one(), one(), one(), one(), one());
    };
    Box::pin(all()).await;
    assert_eq!(store.read().await.unwrap().revision.0 - 2, 3 * WRITERS as u64);
    assert_eq!(store.records().await.len(), 3, "one record of slots, one claim for each key");
    let rose = service("rose");
    store.ensure(&rose, NOW).await.unwrap();
    let (a, b) = tokio::join!(
        store.regenerate(&iris, Slot::Primary, &same, NOW),
        store.regenerate(&rose, Slot::Primary, &same, NOW)
    );
    assert_eq!([a.is_ok(), b.is_ok()].into_iter().filter(|won| *won).count(), 1, "{a:?} {b:?}");
}

async fn live_in_store(store: &Store, owner: &Owner, now: UnixSeconds) -> BTreeSet<(Slot, String)> {
    let state = store.read().await.unwrap();
    let Held::Keys(keys) = state.slots(owner) else { panic!("{owner} has no keys") };
    keys.live(now).map(|(slot, digest)| (slot, hex(&digest))).collect()
}

async fn follow_the_model(steps: Vec<Step>) {
    let store = TestStore::open().await;
    let owners = [service("iris"), Owner::Account(Name::parse("contoso").unwrap())];
    let mut model = Rotation::begin(&store, owners.clone(), NOW).await;
    for step in &steps {
        model.take(&store, step).await;
        for (number, owner) in owners.iter().enumerate() {
            let live = live_in_store(&store, owner, model.now).await;
            let want = model.live(number).map(|(slot, key)| (slot, hex(&Digest::of(key.as_bytes()))));
            assert_eq!(live, want.collect(), "{owner} at {} after {step:?}", model.now.0);
            assert_eq!(listed(&store, owner).await, Slot::ALL.map(|slot| model.current(number, slot).to_owned()));
        }
        let claims = store.records().await.iter().filter(|key| key.starts_with("key-digest/")).count();
        assert_eq!(claims, model.claimed(), "claims on digests after {step:?}");
    }
    report("properties/rotation", Counts { cases: 1, passed: 1, ..Counts::default() });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn at_every_moment_exactly_the_keys_that_the_model_says_open(steps in proptest::collection::vec(model::step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow_the_model(steps));
    }
}
