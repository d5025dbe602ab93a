//! Letting the worker's other tasks run, without waiting for anything.

use std::task::Poll;

/// Lets every task that is ready run once. The runtime's own yield would ask the kernel for events as well.
pub async fn next_turn() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
