//! The uses of an owner's keys, taken over from snapshot to snapshot for as long as a key opens.

use std::sync::Arc;
use std::time::Duration;

use crate::model::digest::Digest;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::usage::KeyAge;
use crate::observe::usage::KeyUsage;
use crate::observe::usage::UsedKey;

/// The uses of the keys of a service or an account: of each slot's current key, and of one that is retiring.
///
/// A new key begins at zero, also in a slot that was used before. A key that moves to the other slot takes its
/// uses with it.
#[derive(Debug, Default, Clone)]
pub struct OwnerUsage(Box<[Watched]>);

#[derive(Debug, Clone)]
struct Watched {
    digest: Digest,
    slot: Slot,
    age: KeyAge,
    usage: Arc<KeyUsage>,
}

/// Why it is not known that a slot has been idle for as long as was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIdle {
    /// It is in use.
    #[error(
        "the {slot} key was last used {ago} s ago, want {want} s without a use; move whoever uses it to the other slot first"
    )]
    Used {
        /// Which slot.
        slot: Slot,
        /// Seconds since the last use.
        ago: u64,
        /// Seconds that were asked for.
        want: u64,
    },
    /// Nobody has looked for so long.
    #[error("the {slot} key was not used for the {watched} s that this gateway has watched it, want {want} s; ask again in {} s", want.saturating_sub(*watched))]
    NotWatched {
        /// Which slot.
        slot: Slot,
        /// Seconds that the key has been watched.
        watched: u64,
        /// Seconds that were asked for.
        want: u64,
    },
    /// The slot has no key that is watched.
    #[error("the {slot} slot has no key that this gateway watches")]
    NoKey {
        /// Which slot.
        slot: Slot,
    },
}

impl OwnerUsage {
    /// Watches these keys. Where there are none they could not be read, and what was known is kept until they are.
    ///
    /// The first key of a slot is its current one.
    #[must_use]
    pub fn follow(previous: Option<&Self>, keys: &[(Slot, Digest)], now: UnixSeconds) -> Self {
        let known = previous.map(|previous| &*previous.0).unwrap_or_default();
        if keys.is_empty() {
            return Self(known.into());
        }
        let mut watched: Vec<Watched> = Vec::with_capacity(keys.len());
        for (slot, digest) in keys {
            let age = if watched.iter().any(|other| other.slot == *slot) { KeyAge::Retiring } else { KeyAge::Current };
            let before = known.iter().find(|known| known.digest == *digest);
            let usage = before.map_or_else(|| Arc::new(KeyUsage::new(now)), |before| Arc::clone(&before.usage));
            watched.push(Watched { digest: *digest, slot: *slot, age, usage });
        }
        Self(watched.into())
    }

    /// Finds the uses of a key.
    #[must_use]
    pub fn of(&self, digest: &Digest) -> Option<UsedKey<'_>> {
        self.0.iter().find(|watched| watched.digest == *digest).map(Watched::used)
    }

    /// The digests of the keys that are watched.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.0.iter().map(|watched| watched.digest)
    }

    /// The keys of a slot: the current one, then one that is retiring.
    pub fn slot(&self, slot: Slot) -> impl Iterator<Item = UsedKey<'_>> {
        self.0.iter().filter(move |watched| watched.slot == slot).map(Watched::used)
    }

    /// Whether a slot has not been used for this long, in whole seconds, as far as this process knows. A key that is
    /// retiring there counts: another regeneration stops it.
    ///
    /// # Errors
    /// [`NotIdle`], each variant as it says.
    pub fn idle_for(&self, slot: Slot, want: Duration, now: UnixSeconds) -> Result<(), NotIdle> {
        let want = want.as_secs();
        let seconds_since = |moment: UnixSeconds| now.0.saturating_sub(moment.0);
        if let Some(last) = self.slot(slot).filter_map(|key| key.usage.last_seen()).max()
            && seconds_since(last) < want
        {
            return Err(NotIdle::Used { slot, ago: seconds_since(last), want });
        }
        let since = self.slot(slot).map(|key| key.usage.since()).max().ok_or(NotIdle::NoKey { slot })?;
        let watched = seconds_since(since);
        if watched < want { Err(NotIdle::NotWatched { slot, watched, want }) } else { Ok(()) }
    }
}

impl Watched {
    fn used(&self) -> UsedKey<'_> {
        UsedKey { usage: &self.usage, slot: self.slot, age: self.age }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::NotIdle;
    use super::OwnerUsage;
    use crate::model::digest::Digest;
    use crate::model::name::Name;
    use crate::model::slot::Slot;
    use crate::model::slot::Slot::Primary;
    use crate::model::slot::Slot::Secondary;
    use crate::model::time::UnixSeconds;
    use crate::observe::usage::KeyAge;
    use crate::snapshot::Snapshot;
    use crate::snapshot::testing::Stage;
    use crate::store::record_key::Owner;
    use crate::store::slots::Regeneration;

    const CONFIG: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {contoso: {resource: /a/contoso}}
services: {iris: {upstream: model, auth: {key: {accounts: [contoso]}}}}
";

    #[tokio::test]
    async fn a_regeneration_begins_its_slot_anew_and_nothing_else() {
        let stage = Stage::new(CONFIG, &[]).await;
        let (live, store) = (stage.live.clone(), Arc::clone(&stage.store));
        let uses = |snapshot: &Snapshot| {
            let contoso = snapshot.account_named(&Name::parse("contoso").unwrap()).unwrap();
            [&snapshot.services[0].usage, &contoso.usage]
                .map(|usage| Slot::ALL.map(|slot| usage.slot(slot).map(|key| key.usage.uses()).collect::<Vec<_>>()))
        };
        let before = live.load();
        for usage in [&before.services[0].usage, &before.accounts().next().unwrap().usage] {
            Slot::ALL
                .into_iter()
                .flat_map(|slot| usage.slot(slot))
                .for_each(|key| key.usage.mark(None, UnixSeconds(5)));
        }
        assert_eq!(uses(&before), [[vec![1], vec![1]], [vec![1], vec![1]]]);
        let following = stage.follow().await;
        let grace = Regeneration { grace: Some(Duration::from_secs(600)), ..Regeneration::default() };
        for (owner, slot, how, want) in [
            (
                Owner::Service(Name::parse("iris").unwrap()),
                Secondary,
                &grace,
                [[vec![1], vec![0, 1]], [vec![1], vec![1]]],
            ),
            (
                Owner::Account(Name::parse("contoso").unwrap()),
                Primary,
                &Regeneration::default(),
                [[vec![1], vec![0, 1]], [vec![0], vec![1]]],
            ),
        ] {
            let revision = store.regenerate(&owner, slot, how, UnixSeconds::now()).await.unwrap();
            while live.load().store_revision < revision {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(uses(&live.load()), want, "{owner} {slot}");
        }
        following.abort();
    }

    fn key(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn uses(usage: &OwnerUsage, name: &str) -> Option<(KeyAge, u64)> {
        usage.of(&key(name)).map(|used| (used.age, used.usage.uses()))
    }

    #[test]
    fn a_new_key_begins_at_zero_and_the_retiring_one_goes_on_by_itself() {
        let first = OwnerUsage::follow(None, &[(Primary, key("a")), (Secondary, key("b"))], UnixSeconds(1));
        for name in ["a", "b", "b"] {
            first.of(&key(name)).unwrap().usage.mark(None, UnixSeconds(5));
        }
        let keys = [(Primary, key("a")), (Secondary, key("c")), (Secondary, key("b"))];
        let second = OwnerUsage::follow(Some(&first), &keys, UnixSeconds(9));
        // A request of the snapshot before still counts.
        first.of(&key("b")).unwrap().usage.mark(None, UnixSeconds(9));
        for (name, want) in [
            ("a", Some((KeyAge::Current, 1))),
            ("b", Some((KeyAge::Retiring, 3))),
            ("c", Some((KeyAge::Current, 0))),
            ("d", None),
        ] {
            assert_eq!(uses(&second, name), want, "{name}");
        }
        let slot: Vec<_> = second.slot(Secondary).map(|used| (used.age, used.usage.since().0)).collect();
        assert_eq!(slot, [(KeyAge::Current, 9), (KeyAge::Retiring, 1)]);
    }

    #[test]
    fn keys_that_cannot_be_read_for_a_while_lose_nothing() {
        let first = OwnerUsage::follow(None, &[(Primary, key("a"))], UnixSeconds(1));
        first.of(&key("a")).unwrap().usage.mark(None, UnixSeconds(5));
        let blind = OwnerUsage::follow(Some(&first), &[], UnixSeconds(6));
        let again = OwnerUsage::follow(Some(&blind), &[(Primary, key("a"))], UnixSeconds(7));
        assert_eq!(uses(&again, "a"), Some((KeyAge::Current, 1)));
    }

    #[test]
    fn a_slot_is_idle_when_nobody_used_it_for_so_long_and_somebody_looked() {
        let hour = 3600;
        let used = |ago| Err(NotIdle::Used { slot: Secondary, ago, want: hour });
        let not_watched = |watched| Err(NotIdle::NotWatched { slot: Secondary, watched, want: hour });
        // The last use of the current key, that of the retiring one, now; the keys are watched from 1000 and 1500 on.
        for (current, retiring, now, want) in [
            (None, None, 1600, not_watched(100)),
            (None, None, 1500 + hour, Ok(())),
            (Some(1600), None, 1600 + hour, Ok(())),
            (Some(1600), None, 1599 + hour, used(hour - 1)),
            (None, Some(1600), 1599 + hour, used(hour - 1)),
            (Some(1600), Some(1700), 1600 + hour, used(hour - 100)),
            (Some(1600), None, 1500, used(0)),
        ] {
            let old = OwnerUsage::follow(None, &[(Secondary, key("old"))], UnixSeconds(1000));
            let keys = [(Secondary, key("new")), (Secondary, key("old"))];
            let usage = OwnerUsage::follow(Some(&old), &keys, UnixSeconds(1500));
            for (name, at) in [("new", current), ("old", retiring)] {
                if let Some(at) = at {
                    usage.of(&key(name)).unwrap().usage.mark(None, UnixSeconds(at));
                }
            }
            let idle = usage.idle_for(Secondary, Duration::from_secs(hour), UnixSeconds(now));
            assert_eq!(idle, want, "{current:?} {retiring:?} at {now}");
        }
        let nothing = OwnerUsage::default().idle_for(Primary, Duration::ZERO, UnixSeconds(1));
        assert_eq!(nothing, Err(NotIdle::NoKey { slot: Primary }));
    }
}
