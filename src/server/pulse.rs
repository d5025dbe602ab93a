//! What an HTTP/2 connection is doing, and what it is late with. Kept by its requests, a store or two each; looked at now
//! and then by the connection, so that no request sets a timer.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::task::ready;

use tokio::time::Instant;

use crate::config::Patience;
use crate::observe::metrics::ConnectionEnd;

/// Why a connection is not to go on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing came for too long.
    Idle,
    /// It has lived as long as it may, or the gateway leaves or wants to be rid of it.
    Leave(ConnectionEnd),
}

/// What a connection is doing: how many requests it has under way.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    is_new: Cell<bool>,
    /// When it was last idle.
    since: Cell<Instant>,
    under_way: Cell<u32>,
    is_unwanted: Cell<bool>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            is_new: Cell::new(true),
            since: Cell::new(now),
            under_way: Cell::new(0),
            is_unwanted: Cell::new(false),
        }
    }

    /// A request was read.
    pub(super) fn asked(&self) {
        self.is_new.set(false);
        self.under_way.set(self.under_way.get() + 1);
    }

    /// hyper has taken the last byte of an answer, or nobody wants it any longer.
    pub(super) fn answered(&self) {
        self.under_way.set(self.under_way.get() - 1);
        self.since.set(Instant::now());
    }

    /// Whether it has carried no request yet.
    pub(super) const fn is_new(&self) -> bool {
        self.is_new.get()
    }

    /// No further request is wanted on it.
    pub(super) fn end_soon(&self) {
        self.is_unwanted.set(true);
    }

    /// Waits until the connection is late with something, to about a quarter of the shortest patience.
    pub(super) async fn due(&self, patience: &Patience) -> Due {
        let pause = patience.head.min(patience.idle) / 4;
        let leaves = patience.lifetime.map(|lifetime| self.began + lifetime);
        let mut sleep = pin!(tokio::time::sleep(patience.lifetime.map_or(pause, |lifetime| pause.min(lifetime))));
        poll_fn(|cx| {
            loop {
                if self.is_unwanted.replace(false) {
                    return Poll::Ready(Due::Leave(ConnectionEnd::Closed));
                }
                ready!(sleep.as_mut().poll(cx));
                let now = Instant::now();
                let deadlines = [self.idles(patience), leaves.map(|at| (at, Due::Leave(ConnectionEnd::Closed)))];
                let next = deadlines.into_iter().flatten().min_by_key(|(at, _)| *at);
                match next {
                    Some((at, due)) if at <= now => return Poll::Ready(due),
                    Some((at, _)) => sleep.as_mut().reset(at.min(now + pause)),
                    None => sleep.as_mut().reset(now + pause),
                }
            }
        })
        .await
    }

    /// When it has idled for too long; `None` while it is not the client's turn.
    fn idles(&self, patience: &Patience) -> Option<(Instant, Due)> {
        let within = if self.is_new() { patience.head } else { patience.idle };
        (self.under_way.get() == 0).then_some((self.since.get() + within, Due::Idle))
    }
}
