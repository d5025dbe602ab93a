//! The tasks of HTTP/2 streams, each under watch. A client that gives a stream no room, and answers every ping, would
//! hold its answer and the upstream's connection for ever: hyper waits for room without a deadline.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;

use crate::upstream::timer::IdleTimer;

/// How many times as long a stream is waited for as the whole connection, which tells of every byte. A stream tells of
/// pieces, and one of 400 KiB takes a slow line its time.
const PIECES_ARE_SLOWER: u32 = 5;

/// What an answer's body did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing: it was not asked.
    Nothing,
    /// It waits for the upstream, whose deadline holds.
    Waits,
    /// It gave a piece.
    Gave,
}

thread_local! {
    /// What the body of the task that runs on this thread did last: one task runs at a time, so one note is enough.
    static LAST: Cell<Step> = const { Cell::new(Step::Nothing) };
}

/// Notes how a body answered.
pub(super) fn note<T>(answer: &Poll<T>) {
    LAST.set(if answer.is_pending() { Step::Waits } else { Step::Gave });
}

/// Spawns on the worker's own thread, and gives up a stream that has room for nothing more for too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams(Duration);

impl Streams {
    /// Where a client may take nothing at all for this long.
    pub(super) const fn of(write_within: Duration) -> Self {
        Self(write_within.saturating_mul(PIECES_ARE_SLOWER))
    }
}

impl<F: Future + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        drop(tokio::task::spawn_local(watched(stream, self.0)));
    }
}

/// Drives a stream to its end. Whoever is behind it waits for room when the body has given a piece and is not asked for
/// another; no clock is looked at before that.
async fn watched<F: Future>(stream: F, within: Duration) {
    let mut stream = pin!(stream);
    let mut timer = IdleTimer::new(within);
    let mut gave = false;
    poll_fn(|cx| {
        LAST.set(Step::Nothing);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match LAST.get() {
            Step::Nothing => {}
            step @ (Step::Waits | Step::Gave) => {
                gave = step == Step::Gave;
                timer.progressed();
            }
        }
        if gave { timer.poll_expired(cx) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::Instant;
    use tokio::time::sleep;
    use tokio::time::timeout;

    use super::note;
    use super::watched;

    const WITHIN: Duration = Duration::from_secs(300);
    const PIECE: Poll<()> = Poll::Ready(());

    /// What a body does when it is asked.
    async fn asked(answer: Poll<()>) {
        poll_fn(|_| {
            note(&answer);
            PIECE
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_room_is_given_up() {
        let begun = Instant::now();
        let stream = async {
            asked(PIECE).await;
            pending::<()>().await;
        };
        watched(stream, WITHIN).await;
        assert_eq!(begun.elapsed(), WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_takes_a_piece_now_and_then_is_waited_for() {
        let begun = Instant::now();
        let stream = async {
            for _ in 0..10 {
                asked(PIECE).await;
                sleep(WITHIN - Duration::from_secs(1)).await;
            }
        };
        watched(stream, WITHIN).await;
        assert!(begun.elapsed() > 9 * WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_upstream_is_not_held_against_the_client() {
        let stream = async {
            asked(PIECE).await;
            asked(Poll::Pending).await;
            pending::<()>().await;
        };
        timeout(10 * WITHIN, watched(stream, WITHIN)).await.unwrap_err();
    }
}
