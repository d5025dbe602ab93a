//! Asking the control runtime to fetch a foreign issuer's keys, when a token was signed by one that is not known.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::name::Name;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;

/// Longest wait of a request for an issuer's keys: a discovery document and a key set, and a moment to bring them
/// into force.
const WITHIN: Duration = Duration::from_secs(12);

/// What a fetch has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The set is as new as it gets, and in force.
    Current,
    /// The issuer could not be reached, or its answer was no key set.
    Unavailable,
}

/// A worker's wish that an issuer's keys be fetched.
#[derive(Debug)]
pub struct KeysWanted {
    /// Whose.
    pub issuer: Name,
    /// Where to tell when it is done.
    pub done: oneshot::Sender<Fetched>,
}

/// How lately each issuer was asked, by all workers; read only when a token names an unknown key.
///
/// Tokens cause no fetch before the time that stands here, so that nobody can make the gateway ask an issuer
/// again and again by sending tokens with invented keys.
pub type Standing = Arc<DashMap<Name, (Fetched, Instant)>>;

/// The way from a worker to whoever fetches.
#[derive(Debug, Clone)]
pub struct KeyRequests {
    requests: mpsc::Sender<KeysWanted>,
    standing: Standing,
}

impl KeyRequests {
    /// Connects to the fetcher.
    #[must_use]
    pub const fn new(requests: mpsc::Sender<KeysWanted>, standing: Standing) -> Self {
        Self { requests, standing }
    }

    /// Has an issuer's keys fetched and waits for them, or answers at once within the cool-down. The set is then as
    /// new as it gets, and in force: it may have come into force since the token was judged.
    ///
    /// # Errors
    /// [`Failed::IssuerUnavailable`] when it could not be fetched, so that nobody can say.
    pub async fn fetch(&self, issuer: Name) -> Result<(), Refusal> {
        let standing = self.standing.get(&issuer).map(|entry| *entry);
        match standing {
            Some((Fetched::Current, until)) if Instant::now() < until => return Ok(()),
            Some((Fetched::Unavailable, until)) if Instant::now() < until => {
                return Err(Failed::IssuerUnavailable.into());
            }
            Some(_) | None => {}
        }
        let (done, told) = oneshot::channel();
        // A full queue means that the fetcher is behind: then the honest answer is that nobody can say now.
        if self.requests.try_send(KeysWanted { issuer, done }).is_err() {
            return Err(Failed::IssuerUnavailable.into());
        }
        match tokio::time::timeout(WITHIN, told).await {
            Ok(Ok(Fetched::Current)) => Ok(()),
            Ok(Ok(Fetched::Unavailable) | Err(_)) | Err(_) => Err(Failed::IssuerUnavailable.into()),
        }
    }
}
