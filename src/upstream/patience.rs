//! How long an answer is waited for.

use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::time::Instant;

use crate::config::Timeouts;
use crate::upstream::body::Progress;
use crate::upstream::timer::Alarm;

/// How long an answer may be waited for.
#[derive(Debug)]
pub struct Patience<'t> {
    timeouts: &'t Timeouts,
    progress: &'t Progress,
    begun: Instant,
}

impl<'t> Patience<'t> {
    /// From now on.
    pub fn begin(timeouts: &'t Timeouts, progress: &'t Progress) -> Self {
        Self { timeouts, progress, begun: Instant::now() }
    }

    /// Ready when an answer has been awaited for `response` since the request was complete, or when the upstream has
    /// taken nothing more of the request's body for `idle`. While the client is waited for, the body's own deadline
    /// holds.
    pub fn poll_over(&self, alarm: &mut Alarm, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Over HTTP/2 another task sends the body and tells nobody that it is complete, so it is looked at again.
            let look_again = || Instant::now() + self.timeouts.response.min(self.timeouts.idle);
            let (over, until) = match (self.progress.completed(), self.progress.unclaimed_since()) {
                (Some(completed), _) => {
                    let over = completed + self.timeouts.response;
                    (Some(over), over)
                }
                (None, Some(since)) => {
                    let over = since.max(self.begun) + self.timeouts.idle;
                    (Some(over), over.min(look_again()))
                }
                (None, None) => (None, look_again()),
            };
            ready!(alarm.poll(until, cx));
            if over.is_some_and(|over| over <= until) {
                return Poll::Ready(());
            }
        }
    }
}
