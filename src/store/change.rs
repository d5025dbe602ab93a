//! What every change of a typed record shares: reading it, failing, and trying again.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::Store;
use super::engine::{CommitError, Engine as _, Revision, Unavailable};
use super::record_key::RecordKey;
use super::records::{self, RecordError};
use super::seal::SealError;

/// How often a change is tried while others change the same record. With the pauses between, about two
/// seconds: whoever loses that often competes with a loop, not with an operator.
pub(super) const ATTEMPTS: u32 = 24;

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is nothing to change or show.
    #[error("the store has no record {key}")]
    NotFound {
        /// The record.
        key: String,
    },
    /// What was to be made is there already.
    #[error("the store has a record {key} already")]
    Exists {
        /// The record.
        key: String,
    },
    /// The chosen key is no key.
    #[error("want a key of 16 to 256 characters of A-Z, a-z, 0-9 and . _ ~ + / = -")]
    NotAKey,
    /// Another slot, of whatever owner, holds the chosen key.
    #[error("another slot holds this key")]
    KeyInUse,
    /// Others changed the same record again and again.
    #[error("the record {key} was changed by others each of {ATTEMPTS} times")]
    Contended {
        /// The record.
        key: String,
    },
    /// The record, or what is sealed in it, cannot be read. It is left as it is.
    #[error("the record {key} cannot be read")]
    Unreadable {
        /// The record.
        key: String,
        /// Why.
        source: RecordError,
    },
    /// A secret could not be made or sealed.
    #[error("a secret could not be made")]
    Crypto,
    /// The engine failed. Whether the change was made is not known.
    #[error("the store cannot be used at the moment")]
    Unavailable(#[from] Unavailable),
}

/// A record as it was found.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) record: T,
    pub(super) at: Revision,
}

/// What became of an attempt.
pub(super) enum Attempt {
    Made(Revision),
    /// This record is not as it was found.
    Beaten {
        key: String,
    },
}

impl Store {
    /// Reads one record; `None` when there is none.
    pub(super) async fn find<T: DeserializeOwned>(&self, key: &RecordKey) -> Result<Option<Found<T>>, ChangeError> {
        let Some(found) = self.engine.read(&key.to_string()).await? else { return Ok(None) };
        let record = records::decode(&found).map_err(|source| unreadable(key, source))?;
        Ok(Some(Found { record, at: found.revision }))
    }

    pub(super) async fn attempt(&self, batch: super::engine::Batch) -> Result<Attempt, ChangeError> {
        match self.engine.commit(batch).await {
            Ok(revision) => Ok(Attempt::Made(revision)),
            Err(CommitError::Conflict { key }) => Ok(Attempt::Beaten { key }),
            Err(CommitError::Unavailable(why)) => Err(why.into()),
        }
    }
}

/// Waits before attempt number `attempt` (the first is 0 and does not wait): a random part of a time that
/// doubles, so that those who compete spread out.
pub(super) async fn pause_before(attempt: u32) {
    let mut byte = [u8::MAX];
    // Without randomness everybody waits the longest: slower, not wrong.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let longest = LONGEST_PAUSE.min(Duration::from_millis(1).saturating_mul(1 << attempt.min(16)));
    if attempt > 0 {
        tokio::time::sleep(longest.mul_f32(f32::from(byte[0]) / f32::from(u8::MAX))).await;
    }
}

pub(super) fn unreadable(key: &RecordKey, source: impl Into<RecordError>) -> ChangeError {
    ChangeError::Unreadable { key: key.to_string(), source: source.into() }
}

impl From<SealError> for ChangeError {
    /// For sealing, which fails for one reason only; what fails to open is [`ChangeError::Unreadable`].
    fn from(_: SealError) -> Self {
        Self::Crypto
    }
}
