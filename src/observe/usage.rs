//! How much a key is used: how often, when last, and by how many callers. It outlives snapshots.
//!
//! A request marks a use with relaxed atomics: no lock, no allocation but with
//! the first one of a key, and no cost that grows with what was counted.

use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;

/// What is known of the uses of one key, by this process.
#[derive(Debug)]
pub struct KeyUsage {
    since: UnixSeconds,
    uses: AtomicU64,
    /// Zero is never: nobody used a key in 1970.
    last_seen: AtomicU64,
    /// Made by the first use: many keys are never used, and this is most of what one of them takes.
    callers: OnceLock<Box<Callers>>,
}

/// Whether a key is the one that its slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAge {
    /// It is.
    Current,
    /// It was replaced, and still opens for a while.
    Retiring,
}

/// The key that opened something.
#[derive(Debug, Clone, Copy)]
pub struct UsedKey<'a> {
    /// Where its uses are counted.
    pub usage: &'a KeyUsage,
    /// The slot that it sits in.
    pub slot: Slot,
    /// Whether the slot holds another one by now.
    pub age: KeyAge,
}

impl KeyUsage {
    /// A key that is watched from `since` on.
    #[must_use]
    pub fn new(since: UnixSeconds) -> Self {
        Self { since, uses: AtomicU64::new(0), last_seen: AtomicU64::new(0), callers: OnceLock::new() }
    }

    /// Counts a use; `caller` is `None` where a caller has no address.
    pub fn mark(&self, caller: Option<IpAddr>, now: UnixSeconds) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        if self.last_seen.load(Ordering::Relaxed) < now.0 {
            self.last_seen.fetch_max(now.0, Ordering::Relaxed);
        }
        if let Some(caller) = caller {
            self.callers.get_or_init(|| Box::new(Callers::new())).add(caller);
        }
    }

    /// Since when uses are counted.
    #[must_use]
    pub const fn since(&self) -> UnixSeconds {
        self.since
    }

    /// How often the key opened something.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// When it last did.
    #[must_use]
    pub fn last_seen(&self) -> Option<UnixSeconds> {
        let last_seen = self.last_seen.load(Ordering::Relaxed);
        (last_seen > 0).then_some(UnixSeconds(last_seen))
    }

    /// From how many addresses, about: up to ten are told to within one or two, many with a standard error of 9 %.
    #[must_use]
    pub fn callers(&self) -> u64 {
        self.callers.get().map_or(0, |callers| callers.estimate())
    }
}

/// A `HyperLogLog` (Flajolet and others, 2007): what is kept of a set of any size is 128 bytes. The hash is keyed, so
/// that nobody can choose addresses that count as few.
struct Callers {
    hasher: RandomState,
    /// For each share of the addresses, the longest run of zeros in a hash, plus one.
    registers: [AtomicU8; Self::REGISTERS],
}

impl Callers {
    /// Bits of a hash that say to which share it belongs.
    const BITS: u32 = 7;
    const REGISTERS: usize = 1 << Self::BITS;

    fn new() -> Self {
        Self { hasher: RandomState::new(), registers: [const { AtomicU8::new(0) }; Self::REGISTERS] }
    }

    fn add(&self, caller: IpAddr) {
        let hash = self.hasher.hash_one(caller.to_canonical());
        let share = usize::try_from(hash >> (u64::BITS - Self::BITS)).unwrap_or_default();
        let run = u8::try_from(hash.trailing_zeros().min(u64::BITS - Self::BITS) + 1).unwrap_or(u8::MAX);
        if let Some(register) = self.registers.get(share)
            && register.load(Ordering::Relaxed) < run
        {
            register.fetch_max(run, Ordering::Relaxed);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate is not negative, and below 2^64"
    )]
    fn estimate(&self) -> u64 {
        let shares = f64::from(1_u32 << Self::BITS);
        let mut empty = 0.0;
        let mut sum = 0.0;
        for register in &self.registers {
            let run = register.load(Ordering::Relaxed);
            sum += 0.5_f64.powi(i32::from(run));
            empty += if run == 0 { 1.0 } else { 0.0 };
        }
        let raw = 0.7213 / (1.0 + 1.079 / shares) * shares * shares / sum;
        let estimate = if raw <= 2.5 * shares && empty > 0.0 { shares * (shares / empty).ln() } else { raw };
        estimate.round() as u64
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callers({})", self.estimate())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::net::Ipv4Addr;
    use std::net::Ipv6Addr;

    use super::KeyUsage;
    use crate::model::time::UnixSeconds;

    #[test]
    fn a_key_that_nobody_uses_says_so() {
        let usage = KeyUsage::new(UnixSeconds(7));
        assert_eq!((usage.since(), usage.uses(), usage.last_seen(), usage.callers()), (UnixSeconds(7), 0, None, 0));
    }

    #[test]
    fn the_last_use_stands_also_when_the_clock_goes_back() {
        let usage = KeyUsage::new(UnixSeconds(7));
        for now in [10, 12, 11] {
            usage.mark(None, UnixSeconds(now));
        }
        assert_eq!((usage.uses(), usage.last_seen(), usage.callers()), (3, Some(UnixSeconds(12)), 0));
    }

    #[test]
    fn a_caller_counts_once_however_often_it_calls_and_however_its_address_is_written() {
        let usage = KeyUsage::new(UnixSeconds(7));
        let address = Ipv4Addr::new(192, 0, 2, 1);
        for caller in [IpAddr::V4(address), IpAddr::V6(address.to_ipv6_mapped()), IpAddr::V4(address)] {
            usage.mark(Some(caller), UnixSeconds(10));
        }
        assert_eq!((usage.uses(), usage.callers()), (3, 1));
    }

    #[test]
    fn callers_are_estimated_as_the_documentation_says() {
        // Four standard errors, so that chance fails this once in ten thousand runs at most.
        for (callers, least, most) in
            [(1, 1, 1), (2, 1, 2), (10, 5, 11), (1000, 630, 1370), (200_000, 126_000, 274_000)]
        {
            let usage = KeyUsage::new(UnixSeconds(7));
            for number in 0..callers {
                usage.mark(Some(IpAddr::V6(Ipv6Addr::from_bits(number))), UnixSeconds(10));
            }
            let told = usage.callers();
            assert!((least..=most).contains(&told), "{callers} callers are told as {told}");
        }
    }
}
