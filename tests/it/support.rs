//! What the tests are made of: the gateway as a child process, upstreams that remember, clients that hide nothing.

pub(crate) mod client;
pub(crate) mod corpus;
#[cfg(feature = "etcd")]
pub(crate) mod etcd;
pub(crate) mod gateway;
#[cfg(feature = "etcd")]
pub(crate) mod island;
pub(crate) mod kubelet;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod neighbour;
pub(crate) mod python;
pub(crate) mod seeds;
pub(crate) mod summary;
pub(crate) mod template;
pub(crate) mod upstream;

use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Longest wait for anything that is to happen by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer, and fails the test when there is none for too long.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
