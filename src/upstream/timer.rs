//! A deadline that progress pushes back without touching the runtime's timers.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

/// Expires when nothing has moved for a while.
///
/// Progress costs a clock read. A timer is registered only while somebody waits, and only then
/// moved on, so a body that streams without pausing never touches the timer wheel.
#[derive(Debug)]
pub struct IdleTimer {
    after: Duration,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl IdleTimer {
    /// Starts now.
    #[must_use]
    pub fn start(after: Duration) -> Self {
        Self { after, last: Instant::now(), sleep: None }
    }

    /// Something moved.
    pub fn progressed(&mut self) {
        self.last = Instant::now();
    }

    /// Ready once nothing has moved for the whole time. Call it when the thing waited for is pending.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let expires = self.last + self.after;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(expires)));
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= expires {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(expires);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::IdleTimer;

    #[tokio::test(start_paused = true)]
    async fn progress_pushes_the_deadline_back() {
        let begun = Instant::now();
        let mut timer = IdleTimer::start(Duration::from_secs(10));
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
