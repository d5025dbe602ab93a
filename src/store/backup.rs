//! Every record of a store in one file, and back: for backups, and for moving from one engine to the other.
//!
//! A line of JSON says what the file is, one a record holds its key and content as they are, and the last one has the
//! digest of those before it. What is sealed stays sealed: whoever restores needs the master key as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::engine::{Batch, CommitError, Engine as _, Expectation, Record, Revision, Unavailable};
use super::record_key::{digest_of_hex, hex};
use super::reseal::sealed_in;
use super::seal::{KeyId, Place, SealError, Sealer};
use super::{Engines, OpenError};
use crate::config;
use crate::model::digest::Digest;
use crate::model::time::UnixSeconds;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// There from the first to the last commit of an import. No gateway opens a store that has it.
pub(super) const MARKER: &str = "import-under-way";

/// Records of one commit. etcd refuses a transaction of more than 128 operations.
const PER_COMMIT: usize = 64;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    scoregate_export: u32,
    created: UnixSeconds,
    /// Which master keys sealed what is in it, by their identifiers.
    master_keys: Vec<String>,
}

/// The line of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    /// Base64: the content of a record that cannot be read is kept too, and need not be text.
    value: String,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    sha256: String,
}

/// What an export or import came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many records.
    pub records: usize,
    /// Which master keys sealed what is in them, by their identifiers.
    pub master_keys: BTreeSet<String>,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store could not be read.
    #[error("the store could not be read")]
    Unavailable(#[from] Unavailable),
    /// The file could not be written. One that is there already is left alone.
    #[error("the export {} could not be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why an import was not made, or not to its end. Trying again begins anew.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file could not be read.
    #[error("the export {} could not be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no export, or not all of one.
    #[error(
        "want an export as `scoregate store export` writes it; line {line} is not, or the file was changed or cut short"
    )]
    NoExport {
        /// Where reading stopped.
        line: usize,
    },
    /// Another version wrote the file.
    #[error("the export is of version {found}, want 1")]
    Version {
        /// Its version.
        found: u32,
    },
    /// The master key at hand does not open what is in it.
    #[error(
        "the record {key} does not open under store.master_key; name the key that sealed it there, or in store.previous_master_keys"
    )]
    OtherMasterKey {
        /// A record.
        key: String,
        /// Which key is missing.
        source: SealError,
    },
    /// There is something in the store.
    #[error("want an empty store, this one has {records} records; an import replaces nothing")]
    NotEmpty {
        /// How many.
        records: usize,
    },
    /// Somebody else wrote into the store at the same time.
    #[error(
        "the record {key} was changed by somebody else during the import; stop what uses this store, and import again"
    )]
    Disturbed {
        /// A record.
        key: String,
    },
    /// The store could not be used.
    #[error("the store could not be used; import again")]
    Unavailable(#[from] Unavailable),
}

/// Writes every record of the store into a new file of mode 0600.
///
/// # Errors
/// [`ExportError`], each variant as it says.
pub async fn export(config: &config::Store, to: &Path, now: UnixSeconds) -> Result<Moved, ExportError> {
    let engine = Engines::open_existing(config).await?;
    let contents = engine.read_all().await;
    engine.close().await;
    let records = contents?.records;
    let master_keys: BTreeSet<String> = records.iter().flat_map(sealed_by).map(|id| id.to_string()).collect();
    let header = Header { scoregate_export: VERSION, created: now, master_keys: master_keys.iter().cloned().collect() };
    let mut text = line(&header);
    for record in &records {
        text.push_str(&line(&Line { key: record.key.clone(), value: STANDARD.encode(&record.value) }));
    }
    let sha256 = hex(&Digest::of(text.as_bytes()));
    text.push_str(&line(&Footer { sha256 }));
    write_new(to, text.as_bytes()).map_err(|source| ExportError::File { path: to.to_owned(), source })?;
    Ok(Moved { records: records.len(), master_keys })
}

/// Reads every record of an export into an empty store, and checks that it holds them.
///
/// # Errors
/// [`ImportError`], each variant as it says. After one that comes in the middle no gateway opens the store until an
/// import has come to its end.
pub async fn import(config: &config::Store, from: &Path) -> Result<Moved, ImportError> {
    let text = fs::read_to_string(from).map_err(|source| ImportError::File { path: from.to_owned(), source })?;
    let records = parse(&text)?;
    let engine = Engines::open(config).await?;
    let outcome = import_into(config, &engine, &records).await;
    engine.close().await;
    outcome?;
    let master_keys = records.iter().flat_map(sealed_by).map(|id| id.to_string()).collect();
    Ok(Moved { records: records.len(), master_keys })
}

async fn import_into(config: &config::Store, engine: &Engines, records: &[Record]) -> Result<(), ImportError> {
    let sealer = super::sealer_at_hand(config)?;
    for record in records {
        opens(&sealer, record).map_err(|source| ImportError::OtherMasterKey { key: record.key.clone(), source })?;
    }
    clear_half_import(engine).await?;
    commit(engine, Batch::new().put(MARKER, Vec::new(), Expectation::Absent)).await?;
    for some in records.chunks(PER_COMMIT) {
        let batch = some.iter().fold(Batch::new(), |batch, record| {
            batch.put(record.key.clone(), record.value.clone(), Expectation::Absent)
        });
        commit(engine, batch).await?;
    }
    let written = engine.read_all().await?.records;
    let written: BTreeMap<&str, &[u8]> = written.iter().map(entry).filter(|(key, _)| *key != MARKER).collect();
    let wanted: BTreeMap<&str, &[u8]> = records.iter().map(entry).collect();
    let differs = |key: &&&str| written.get(**key) != wanted.get(**key);
    if let Some(key) = written.keys().chain(wanted.keys()).find(differs) {
        return Err(ImportError::Disturbed { key: (*key).to_owned() });
    }
    commit(engine, Batch::new().delete(MARKER, Expectation::Any)).await
}

/// Takes away what an import left that did not come to its end; refuses a store that holds anything else.
async fn clear_half_import(engine: &Engines) -> Result<(), ImportError> {
    let found = engine.read_all().await?.records;
    if found.is_empty() {
        return Ok(());
    }
    if !found.iter().any(|record| record.key == MARKER) {
        return Err(ImportError::NotEmpty { records: found.len() });
    }
    let rest: Vec<&Record> = found.iter().filter(|record| record.key != MARKER).collect();
    for some in rest.chunks(PER_COMMIT) {
        let delete =
            |batch: Batch, record: &&Record| batch.delete(record.key.clone(), Expectation::At(record.revision));
        commit(engine, some.iter().fold(Batch::new(), delete)).await?;
    }
    commit(engine, Batch::new().delete(MARKER, Expectation::Any)).await
}

async fn commit(engine: &Engines, batch: Batch) -> Result<(), ImportError> {
    match engine.commit(batch).await {
        Ok(_) => Ok(()),
        Err(CommitError::Conflict { key }) => Err(ImportError::Disturbed { key }),
        Err(CommitError::Unavailable(why)) => Err(why.into()),
    }
}

fn entry(record: &Record) -> (&str, &[u8]) {
    (&record.key, &record.value)
}

/// Which master keys sealed what is in a record. One that cannot be read tells none.
fn sealed_by(record: &Record) -> Vec<KeyId> {
    sealed_in(record).unwrap_or_default().iter().filter_map(|(_, sealed)| sealed.sealed_by()).collect()
}

fn opens(sealer: &Sealer, record: &Record) -> Result<(), SealError> {
    for (field, sealed) in sealed_in(record).unwrap_or_default() {
        sealer.open(Place { record: &record.key, field }, &sealed)?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Record>, ImportError> {
    let no_export = |line| ImportError::NoExport { line };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let [first, middle @ .., last] = lines.as_slice() else { return Err(no_export(1)) };
    let Header { scoregate_export, .. } = serde_json::from_str(first).map_err(|_quotes_text| no_export(1))?;
    if scoregate_export != VERSION {
        return Err(ImportError::Version { found: scoregate_export });
    }
    let Footer { sha256 } = serde_json::from_str(last).map_err(|_quotes_text| no_export(lines.len()))?;
    let before = text.len() - last.len();
    let digest = text.as_bytes().get(..before).map(Digest::of);
    if digest.is_none() || digest != digest_of_hex(&sha256) {
        return Err(no_export(lines.len()));
    }
    let records = (2..).zip(middle).map(|(number, line)| {
        let Line { key, value } = serde_json::from_str(line).map_err(|_quotes_text| no_export(number))?;
        let value = STANDARD.decode(value).map_err(|_quotes_bytes| no_export(number))?;
        Ok(Record { key, value, revision: Revision::default() })
    });
    records.collect()
}

#[expect(clippy::expect_used, reason = "texts and numbers have a JSON form")]
fn line<T: Serialize>(content: &T) -> String {
    serde_json::to_string(content).expect("it has a JSON form") + "\n"
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half of an export must not be taken for one; that it is none would be found out too late.
        fs::remove_file(path)?;
    }
    written
}

#[cfg(test)]
mod tests;
