//! Callers that never pause for long, each on one connection to one gateway, and must never be refused.

use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use super::SERVICES;
use super::bearer;
use crate::support::client::Client;
use crate::support::gateway::Gateway;

/// Callers of each service of each gateway.
const CALLERS: usize = 2;

/// What a caller does between two requests.
const THINKING: Duration = Duration::from_millis(2);

/// Running callers.
#[derive(Debug)]
pub(super) struct Load {
    /// The key of each service that callers use. Locked while a request with it is under way.
    used: Arc<[RwLock<String>]>,
    done: Arc<AtomicBool>,
    callers: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Calls every service of every gateway.
    pub(super) fn start<'g>(gateways: impl IntoIterator<Item = &'g Gateway>, keys: [String; SERVICES]) -> Self {
        let used: Arc<[RwLock<String>]> = keys.into_iter().map(RwLock::new).collect();
        let done = Arc::new(AtomicBool::new(false));
        let mut callers = Vec::new();
        for gateway in gateways {
            let address = gateway.traffic();
            for number in 0..SERVICES * CALLERS {
                let (used, done) = (Arc::clone(&used), Arc::clone(&done));
                let service = number % SERVICES;
                callers.push(thread::spawn(move || {
                    let mut connection = Client::connect(address);
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        let key = used[service].read().expect("nobody panics while it writes");
                        let headers = [("authorization", bearer(&key))];
                        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
                        let answer = connection.request("GET", &format!("/s{service}"), &headers, b"");
                        assert_eq!(answer.status, 200, "with {}: {}", *key, answer.text());
                        drop(key);
                        sent += 1;
                        thread::sleep(THINKING);
                    }
                    sent
                }));
            }
        }
        Self { used, done, callers }
    }

    /// Gives callers another key, once nobody uses the one before.
    pub(super) fn switch(&self, service: usize, key: &str) {
        key.clone_into(&mut self.used[service].write().expect("nobody panics while it writes"));
    }

    /// Ends, and tells how many requests there were. None of them has failed.
    pub(super) fn finish(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.callers.into_iter().map(JoinHandle::join).collect();
        let failed = ended.iter().filter(|ended| ended.is_err()).count();
        assert_eq!(failed, 0, "callers whose request failed");
        ended.into_iter().filter_map(Result::ok).sum()
    }
}
