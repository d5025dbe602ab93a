//! A short stream of server-sent events, to show that the gateway passes each one on when it comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Interval, MissedTickBehavior};

/// The body of a `text/event-stream`: numbered events with a pause before each but the first.
#[derive(Debug)]
pub struct Events {
    sent: u32,
    of: u32,
    ticks: Interval,
}

impl Events {
    /// This many events, this far apart. `apart` is above zero.
    pub(super) fn new(of: u32, apart: Duration) -> Self {
        let mut ticks = tokio::time::interval(apart);
        // A reader that was slow gets the rest at the usual pace, not all at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { sent: 0, of, ticks }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(context));
        self.sent += 1;
        let event = format!("id: {0}\ndata: {{\"event\":{0},\"of\":{1}}}\n\n", self.sent, self.of);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.of
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::Events;

    #[tokio::test]
    async fn each_event_is_a_frame_of_its_own_and_the_last_ends_the_stream() {
        let mut events = Events::new(3, Duration::from_millis(1));
        let mut frames = Vec::new();
        while let Some(frame) = events.frame().await {
            frames.push(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
        }
        let want = [1, 2, 3].map(|n| format!("id: {n}\ndata: {{\"event\":{n},\"of\":3}}\n\n"));
        assert_eq!(frames, want);
    }
}
