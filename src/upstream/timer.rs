//! A deadline for each wait of many, which costs nothing while nobody has to wait.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

/// One timer for many deadlines, one after the other.
///
/// Moving a timer costs more than looking at it, so it is moved only to an earlier moment; when it fires too early for
/// the deadline that counts by then, it is set once more.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at `until`, or later.
    pub fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}

/// Expires when something has been waited for too long.
///
/// The time begins when somebody begins to wait, so that a pause of whoever takes the pieces is not held against
/// whoever sends them. A timer is registered only then, and moved on only when it fires: a body that streams without
/// pausing touches neither the clock nor the timer wheel.
#[derive(Debug)]
pub struct IdleTimer {
    after: Duration,
    waiting_since: Option<Instant>,
    alarm: Alarm,
}

impl IdleTimer {
    /// Nobody waits yet.
    #[must_use]
    pub const fn new(after: Duration) -> Self {
        Self { after, waiting_since: None, alarm: Alarm(None) }
    }

    /// Something came.
    pub const fn progressed(&mut self) {
        self.waiting_since = None;
    }

    /// Ready once the wait has taken the whole time. Call it when the thing waited for is pending.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let expires = *self.waiting_since.get_or_insert_with(Instant::now) + self.after;
        self.alarm.poll(expires, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::IdleTimer;

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_whoever_takes_the_pieces_does_not_count() {
        let mut timer = IdleTimer::new(Duration::from_secs(10));
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(timer.poll_expired(cx))).await;
            assert!(polled.is_pending());
            timer.progressed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_pushes_the_deadline_back() {
        let begun = Instant::now();
        let mut timer = IdleTimer::new(Duration::from_secs(10));
        for _ in 0..3 {
            let pause = tokio::time::sleep(Duration::from_secs(8));
            tokio::select! {
                () = pause => timer.progressed(),
                () = std::future::poll_fn(|cx| timer.poll_expired(cx)) => panic!("expired while things moved"),
            }
        }
        std::future::poll_fn(|cx| timer.poll_expired(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 34);
    }
}
