//! A client that minds its own business while a test does harm elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::protocols::wire::Wire;

/// Longest that a neighbour waits for an answer. The machine is shared with other tests; alone it is some milliseconds.
const NEIGHBOUR_WAITS: Duration = Duration::from_secs(3);

/// A client that minds its own business, until it is stopped.
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<Calls>,
}

/// What a neighbour has seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) slowest: Duration,
}

impl Calls {
    /// Whether the neighbour has noticed nothing.
    pub(crate) fn are_fine(self) -> bool {
        self.sent > 0 && self.failed == 0 && self.slowest < NEIGHBOUR_WAITS
    }
}

impl Neighbour {
    /// Calls an upstream that answers with the path, again and again on one connection.
    pub(crate) fn start(gateway: SocketAddr) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let told = Arc::clone(&stop);
        let calls = thread::spawn(move || {
            let mut client = Wire::connect(gateway);
            let mut calls = Calls { sent: 0, failed: 0, slowest: Duration::ZERO };
            // One call at least, however short the harm.
            while calls.sent == 0 || !told.load(Ordering::Relaxed) {
                let (begun, path) = (Instant::now(), format!("/canary/{}", calls.sent));
                let answer = client.get(&path, "");
                calls.sent += 1;
                calls.failed += u64::from((answer.status(), answer.text()) != (200, path));
                calls.slowest = calls.slowest.max(begun.elapsed());
                thread::sleep(Duration::from_millis(2));
            }
            calls
        });
        Self { stop, calls }
    }

    pub(crate) fn stop(self) -> Calls {
        self.stop.store(true, Ordering::Relaxed);
        self.calls.join().unwrap()
    }
}
