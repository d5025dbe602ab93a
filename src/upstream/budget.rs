//! How often requests may be sent again, so that an outage is not made worse by those who wait for its end.

use std::cell::Cell;

use tokio::time::Instant;

/// Seconds of the least rate that can be saved up.
const SAVED_SECONDS: f32 = 10.0;

/// Repeats that can be saved up from requests.
const MOST_SAVED: f32 = 100.0;

/// What one worker may send again of the requests that begin at one endpoint: a share of them, and so many a second.
#[derive(Debug)]
pub struct Budget {
    balance: Cell<f32>,
    /// When the second's share was last added. Only a repeat looks at the clock.
    since: Cell<Option<Instant>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { balance: Cell::new(0.0), since: Cell::new(None) }
    }
}

impl Budget {
    /// A request was sent for the first time.
    pub fn earn(&self, share: f32) {
        self.balance.set((self.balance.get() + share).min(MOST_SAVED));
    }

    /// Pays for a repeat, `false` where there is nothing to pay with. `a_second` is what every second adds.
    #[must_use]
    pub fn spend(&self, a_second: f32, now: Instant) -> bool {
        let passed = match self.since.replace(Some(now)) {
            Some(since) => now.saturating_duration_since(since).as_secs_f32(),
            None => SAVED_SECONDS,
        };
        let balance = self.balance.get() + passed.min(SAVED_SECONDS) * a_second;
        let balance = balance.min(MOST_SAVED.max(SAVED_SECONDS * a_second));
        let is_enough = balance >= 1.0;
        self.balance.set(if is_enough { balance - 1.0 } else { balance });
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Budget;

    #[test]
    fn a_share_of_the_requests_and_so_many_a_second_are_sent_again_and_no_more() {
        let (budget, begun) = (Budget::default(), Instant::now());
        let spent = |at: u64| (0..1000).filter(|_| budget.spend(1.0, begun + Duration::from_secs(at))).count();
        assert_eq!(spent(0), 10, "what ten seconds give, for a beginning");
        assert_eq!(spent(3), 3);
        (0..40).for_each(|_| budget.earn(0.25));
        assert_eq!(spent(3), 10);
        (0..4_000).for_each(|_| budget.earn(0.25));
        assert_eq!(spent(3), 100, "no more is saved up");
        assert_eq!(spent(1000), 10);
    }
}
