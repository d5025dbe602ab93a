//! The engine for many replicas: records under a prefix of an etcd, shared by all of them.
//!
//! A batch is one transaction, a revision is etcd's own. No call waits longer than [`CALL`]: a gateway whose
//! etcd is lost refuses changes and serves on with what it knows.

mod follow;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, KeyValue, ResponseHeader, Txn, TxnOp, TxnOpResponse,
};
use tokio::sync::mpsc;

pub use self::settings::{Settings, SettingsError};
use super::engine::{Action, Batch, CommitError, Contents, Engine, Expectation, Record, Revision, Unavailable, Watch};

/// Longest wait for an answer. An etcd that elects a new leader takes one to two seconds.
const CALL: Duration = Duration::from_secs(5);

/// Records that one answer carries. gRPC's limit is 4 MiB, and a record is below 2 KiB.
const PAGE: i64 = 1000;

/// How often reading everything starts again because the revision being read was compacted under it.
const READS: u32 = 3;

/// gRPC's status `OUT_OF_RANGE`, with which etcd refuses a revision that it has compacted.
const OUT_OF_RANGE: i32 = 11;

/// A connection to an etcd.
#[derive(Clone)]
pub struct Etcd {
    /// Three kilobytes of handles, cloned for each call as the crate wants it.
    client: Box<Client>,
    prefix: String,
}

impl fmt::Debug for Etcd {
    /// Leaves the client out: its options hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Connects.
    ///
    /// # Errors
    /// [`Unavailable`] when an endpoint is no URL, no member answers, or the user is refused.
    pub async fn connect(settings: &Settings) -> Result<Self, Unavailable> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CALL)
            .with_keep_alive(CALL, CALL)
            // A member that is cut off from the others would go on telling the past.
            .with_require_leader(true);
        if let Some((name, password)) = &settings.user {
            options = options.with_user(name, password.expose()).with_auto_token_refresh(true);
        }
        if let Some(tls) = &settings.tls {
            options = options.with_tls(tls.clone());
        }
        let client = answered(Client::connect(&settings.endpoints, Some(options))).await?;
        let connected = Self { client: Box::new(client), prefix: settings.prefix.clone() };
        // Connecting waits for nothing; asking does. No record has this key.
        connected.read("\0").await?;
        Ok(connected)
    }

    fn full(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    async fn read_pages(&self) -> Result<Contents, Unavailable> {
        let mut contents = Contents { records: Vec::new(), revision: Revision(0) };
        let mut start = self.full("");
        loop {
            let options = GetOptions::new()
                .with_range(end_of(&self.prefix))
                .with_limit(PAGE)
                // Zero is the newest, which the first page tells; the others are read at the same.
                .with_revision(signed(contents.revision));
            let page = answered(self.client.clone().get(start, Some(options))).await?;
            if contents.revision == Revision(0) {
                contents.revision = revision_of(page.header());
            }
            contents.records.extend(page.kvs().iter().map(|found| record(&self.prefix, found)));
            match page.kvs().last() {
                Some(last) if page.more() => start = [last.key(), &[0]].concat(),
                Some(_) | None => return Ok(contents),
            }
        }
    }
}

impl Engine for Etcd {
    async fn read_all(&self) -> Result<Contents, Unavailable> {
        let mut attempts = 1;
        loop {
            match self.read_pages().await {
                Err(Unavailable::Etcd(error)) if is_compacted(&error) && attempts < READS => attempts += 1,
                outcome => return outcome,
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Record>, Unavailable> {
        let found = answered(self.client.clone().get(self.full(key), None)).await?;
        Ok(found.kvs().first().map(|found| record(&self.prefix, found)))
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        let mut expected = Vec::new();
        let mut changes = Vec::new();
        let mut otherwise = Vec::new();
        for (key, change) in batch.iter() {
            let full = self.full(key);
            match change.expected {
                Expectation::Absent => expected.push(Compare::create_revision(full.clone(), CompareOp::Equal, 0)),
                Expectation::At(at) => expected.push(Compare::mod_revision(full.clone(), CompareOp::Equal, signed(at))),
                Expectation::Any => {}
            }
            otherwise.push(TxnOp::get(full.clone(), Some(GetOptions::new().with_keys_only())));
            changes.push(match &change.action {
                Action::Put(value) => TxnOp::put(full, value.clone(), None),
                Action::Delete => TxnOp::delete(full, None),
            });
        }
        let transaction = Txn::new().when(expected).and_then(changes).or_else(otherwise);
        let outcome = answered(self.client.clone().txn(transaction)).await?;
        if outcome.succeeded() {
            return Ok(revision_of(outcome.header()));
        }
        let found = outcome.op_responses();
        let key = batch.iter().zip(&found).find(|((_, change), found)| !is_met(change.expected, found));
        Err(CommitError::Conflict { key: key.map(|((key, _), _)| key.to_owned()).unwrap_or_default() })
    }

    async fn watch(&self, from: Revision) -> Result<Watch, Unavailable> {
        let (sender, events) = mpsc::channel(Watch::BUFFER);
        tokio::spawn(follow::follow(self.clone(), from, sender));
        Ok(Watch::new(events))
    }
}

/// Whether what a transaction found in place of its change is what the change expected.
fn is_met(expected: Expectation, found: &TxnOpResponse) -> bool {
    let TxnOpResponse::Get(found) = found else { return true };
    let at = found.kvs().first().map(|found| revision(found.mod_revision()));
    match expected {
        Expectation::Absent => at.is_none(),
        Expectation::At(revision) => at == Some(revision),
        Expectation::Any => true,
    }
}

/// Waits for an answer, but not for ever: without a member that can be reached the client would.
async fn answered<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Unavailable> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Unavailable::Etcd(Box::new(error))),
        Err(_elapsed) => Err(Unavailable::TimedOut { after: CALL }),
    }
}

fn is_compacted(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if i32::from(status.code()) == OUT_OF_RANGE)
}

/// The key after every key with this prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    // etcd's word for the end of all keys; also that of an empty prefix.
    vec![0]
}

/// Without the prefix. A key that is no text gets replacement characters, and is quarantined as unknown.
fn record_key(prefix: &str, found: &KeyValue) -> String {
    let key = found.key();
    String::from_utf8_lossy(key.strip_prefix(prefix.as_bytes()).unwrap_or(key)).into_owned()
}

fn record(prefix: &str, found: &KeyValue) -> Record {
    let (key, value) = (record_key(prefix, found), found.value().to_vec());
    Record { key, value, revision: revision(found.mod_revision()) }
}

fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    revision(header.map_or(0, ResponseHeader::revision))
}

/// etcd counts in signed numbers and never below zero.
fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
