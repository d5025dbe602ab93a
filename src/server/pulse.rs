//! What a client connection is doing, and what it is late with. Kept by the stream and the requests, a store or two
//! each; looked at now and then by the connection, so that no request sets a timer.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Patience;
use crate::server::crowd::Place;
use crate::upstream::stream::Stream;

/// Where a connection is. HTTP/2 has many requests at once, and knows only whether there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come yet.
    Fresh = 0,
    /// Part of a request's head has.
    Head = 1,
    /// Between two requests.
    Idle = 2,
    /// A request is with the gateway, or its answer is under way.
    Asked = 3,
    /// hyper has all of the answer, and the client perhaps not.
    Answered = 4,
    /// It is HTTP no longer.
    Upgraded = 5,
}

/// Why a connection is not to go on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A head began to arrive and did not end in time.
    Head,
    /// Nothing came for too long.
    Idle,
    /// It has lived as long as it may, or the gateway wants to be rid of it.
    Leave,
}

/// What a connection is doing. Only its own thread uses it; it is atomic because hyper wants streams that could move.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    phase: AtomicU8,
    /// When it was last idle, or last began to read a head, in milliseconds after it began.
    since: AtomicU64,
    under_way: AtomicU32,
    is_http2: AtomicBool,
    is_unwanted: AtomicBool,
    is_old: AtomicBool,
    /// The status of an answer that was kept back; 0 for none.
    kept_back: AtomicU16,
    /// The stream and its place, once hyper has let go of them.
    left: Mutex<Option<(Stream, Place)>>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            phase: AtomicU8::new(Phase::Fresh as u8),
            since: AtomicU64::new(0),
            under_way: AtomicU32::new(0),
            is_http2: AtomicBool::new(false),
            is_unwanted: AtomicBool::new(false),
            is_old: AtomicBool::new(false),
            kept_back: AtomicU16::new(0),
            left: Mutex::default(),
        }
    }

    /// The next answer is the last one, and says so: a connection that is closed between two requests may lose the second.
    pub(super) fn grow_old(&self) {
        self.is_old.store(true, Ordering::Relaxed);
    }

    /// Whether the next answer is the last one.
    pub(super) fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Relaxed)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// A request was read.
    pub(super) fn asked(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.enter(Phase::Asked);
    }

    /// hyper has taken the last byte of an answer, or nobody wants it any longer.
    pub(super) fn answered(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        if self.is_http2() {
            self.enter_now(Phase::Idle);
        } else if self.is(Phase::Asked) {
            self.enter(Phase::Answered);
        }
    }

    /// What follows is no answer of HTTP.
    pub(super) fn upgraded(&self) {
        self.enter(Phase::Upgraded);
    }

    /// Whether it has carried no request yet, or a part of one.
    pub(super) fn may_be_about_to_ask(&self) -> bool {
        self.is(Phase::Fresh) || self.is(Phase::Head)
    }

    /// Whether what comes is HTTP no longer.
    pub(super) fn is_upgraded(&self) -> bool {
        self.is(Phase::Upgraded)
    }

    /// These bytes have come.
    pub(super) fn read(&self, bytes: &[u8]) {
        if bytes.is_empty() || !(self.is(Phase::Idle) || self.is(Phase::Fresh)) || self.is_http2() {
            return;
        }
        // No request of HTTP/1 begins like this (RFC 9113 §3.4).
        if self.is(Phase::Fresh) && bytes.starts_with(b"PRI * HT") {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        self.enter_now(Phase::Head);
    }

    /// hyper has nothing left to write.
    pub(super) fn flushed(&self) {
        if self.is(Phase::Answered) {
            self.enter_now(Phase::Idle);
        }
    }

    /// No further request is wanted on it.
    pub(super) fn end_soon(&self) {
        self.is_unwanted.store(true, Ordering::Relaxed);
    }

    /// Whether what hyper writes belongs to no answer of ours.
    pub(super) fn is_between_answers(&self) -> bool {
        self.phase.load(Ordering::Relaxed) < Phase::Asked as u8 && !self.is_http2()
    }

    pub(super) fn keep_back(&self, status: u16) {
        self.kept_back.store(status, Ordering::Relaxed);
    }

    /// The status that hyper would have answered by itself.
    pub(super) fn kept_back(&self) -> Option<u16> {
        Some(self.kept_back.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    pub(super) fn leave(&self, left: Option<(Stream, Place)>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    /// The stream, where hyper has let go of it.
    pub(super) fn left(&self) -> Option<(Stream, Place)> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until the connection is late with something, to about a quarter of the shortest patience.
    pub(super) async fn due(&self, patience: &Patience) -> Due {
        let pause = patience.head.min(patience.idle) / 4;
        let leaves = patience.lifetime.map(|lifetime| self.began + lifetime);
        let mut sleep = pin!(tokio::time::sleep(patience.lifetime.map_or(pause, |lifetime| pause.min(lifetime))));
        poll_fn(|cx| {
            loop {
                if self.is_unwanted.swap(false, Ordering::Relaxed) {
                    return Poll::Ready(Due::Leave);
                }
                ready!(sleep.as_mut().poll(cx));
                let now = Instant::now();
                let deadlines = [self.deadline(patience), leaves.map(|at| (at, Due::Leave))];
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

    /// What it will be late with, and when; `None` while it is not the client's turn.
    fn deadline(&self, patience: &Patience) -> Option<(Instant, Due)> {
        let since = self.began + Duration::from_millis(self.since.load(Ordering::Relaxed));
        if self.is_http2() {
            let is_idle = self.under_way.load(Ordering::Relaxed) == 0;
            let within = if self.is(Phase::Fresh) || self.is(Phase::Head) { patience.head } else { patience.idle };
            return is_idle.then_some((since + within, Due::Idle));
        }
        if self.is(Phase::Fresh) {
            Some((since + patience.head, Due::Idle))
        } else if self.is(Phase::Head) {
            Some((since + patience.head, Due::Head))
        } else if self.is(Phase::Idle) {
            Some((since + patience.idle, Due::Idle))
        } else {
            None
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn enter_now(&self, phase: Phase) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
        self.enter(phase);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}
