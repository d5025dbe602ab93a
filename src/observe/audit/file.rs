//! The log's files, as their one writer sees them: found again after a restart, appended to, closed when they are full.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::AuditError;
use super::chain::End;
use super::chain::Link;
use super::chain::Said;
use super::key::Signer;
use super::read;
use super::read::LONGEST_LINE;
use crate::config::AuditLog;
use crate::config::OnAuditFailure;

/// The file that is written. One that is full is renamed after the number of its first line.
pub(super) const CURRENT: &str = "audit.jsonl";

/// A copy of the last checkpoint: a log without that line has lost its end.
pub(super) const HEAD: &str = "audit.head";

/// What crashes left of lines that nobody was answered for.
const TORN_OFF: &str = "audit.torn";

/// Lines between two checkpoints.
const SIGN_EVERY: u64 = 1000;

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    max_bytes: u64,
    on_failure: OnAuditFailure,
    key: Signer,
    file: File,
    /// Bytes of `file` that are good.
    length: u64,
    /// Number of its first line.
    first: u64,
    end: End,
    unsigned: u64,
    state: FileState,
    /// Locked while this process writes.
    _directory: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileState {
    Good,
    /// A write has failed, and what stands after `length` is nobody's.
    Broken,
}

/// What a crash had cut off, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Torn(pub(super) u64);

impl Log {
    /// Finds the end of a log, or begins one. An unfinished last line is set aside.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(super) fn open(config: &AuditLog) -> Result<(Self, Torn), AuditError> {
        let directory = &config.directory;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| AuditError::File { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
        let mode = fs::metadata(directory).map_err(failed(directory))?.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(AuditError::DirectoryTooOpen { path: directory.clone(), mode });
        }
        let locked = File::open(directory).map_err(failed(directory))?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(directory.clone())),
            Err(TryLockError::Error(source)) => return Err(AuditError::File { path: directory.clone(), source }),
        }
        let key = Signer::open_or_create(directory)?;
        let path = directory.join(CURRENT);
        let mut file = open(&path).map_err(failed(&path))?;
        let torn = set_aside(&mut file, directory).map_err(failed(&path))?;
        let length = file.metadata().map_err(failed(&path))?.len();
        let before = if length == 0 { read::closed(directory).map_err(failed(directory))?.pop() } else { None };
        let end = match &before {
            Some(before) => File::open(before).and_then(|mut file| end_of(&mut file)).map_err(failed(before))?,
            None => end_of(&mut file).map_err(failed(&path))?,
        };
        let end = end.ok_or_else(|| AuditError::Unreadable(before.unwrap_or_else(|| path.clone())))?;
        let first = if length == 0 { Some(end.seq.saturating_add(1)) } else { first_of(&mut file) };
        let first = first.ok_or(AuditError::Unreadable(path))?;
        let log = Self {
            directory: directory.clone(),
            max_bytes: config.max_file_bytes,
            on_failure: config.on_failure,
            key,
            file,
            length,
            first,
            end,
            // Whether the last line is a checkpoint is not worth finding out: one more does no harm.
            unsigned: u64::from(end.seq > 0),
            state: FileState::Good,
            _directory: locked,
        };
        Ok((log, torn))
    }

    /// Lines that no checkpoint vouches for yet.
    pub(super) const fn unsigned(&self) -> u64 {
        self.unsigned
    }

    /// Appends lines, all or none, and closes the file when it is full. Where the configuration says `block`, they are
    /// durable when this returns.
    ///
    /// # Errors
    /// Whatever the system said. The next call begins by mending what a failed one left.
    pub(super) fn append(&mut self, said: &[Said<'_>], time: Duration) -> io::Result<()> {
        self.attempt(|log| {
            let (mut end, mut bytes) = (log.end, Vec::new());
            for said in said {
                end.append(&mut bytes, said, time)?;
            }
            log.put(&bytes, end, said.len() as u64)?;
            if log.on_failure == OnAuditFailure::Block {
                log.file.sync_data()?;
            }
            if log.unsigned >= SIGN_EVERY || log.length >= log.max_bytes { log.sign(time) } else { Ok(()) }
        })?;
        // The lines are there: that the next file cannot be begun is for the next call to find.
        if self.length >= self.max_bytes && self.close().is_err() {
            self.state = FileState::Broken;
        }
        Ok(())
    }

    /// Signs what is not signed yet; all of it is durable then.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(super) fn checkpoint(&mut self, time: Duration) -> io::Result<()> {
        self.attempt(|log| if log.unsigned > 0 { log.sign(time) } else { Ok(()) })
    }

    fn attempt(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.state == FileState::Broken || !self.is_in_place()? {
            self.mend()?;
        }
        let before = (self.length, self.end, self.unsigned);
        let outcome = work(self);
        if outcome.is_err() {
            (self.length, self.end, self.unsigned) = before;
            self.state = FileState::Broken;
        }
        outcome
    }

    /// An open file can be written long after somebody removed it, and nobody would read it.
    fn is_in_place(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match fs::metadata(self.directory.join(CURRENT)) {
            Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the file anew and cuts off what a failed write left. A directory that is gone is not made again: with it
    /// went the key. Nothing is ever cut off a file that is not the one that was written.
    fn mend(&mut self) -> io::Result<()> {
        self.state = FileState::Broken;
        let mut file = open(&self.directory.join(CURRENT))?;
        let (found, ours) = (file.metadata()?, self.file.metadata()?);
        if !found.is_file() {
            return Err(io::Error::other("a device or a pipe stands in the place of the file"));
        }
        let (mut length, mut first) = (found.len(), self.first);
        if length == 0 {
            first = self.end.seq.saturating_add(1);
        } else if (found.dev(), found.ino()) != (ours.dev(), ours.ino()) {
            // Somebody has put another one there. The chain goes on from what was written, and shows what that one lacks.
            set_aside(&mut file, &self.directory)?;
            length = file.metadata()?.len();
            first = first_of(&mut file).unwrap_or(first);
        } else if length >= self.length {
            file.set_len(self.length)?;
            length = self.length;
        } else {
            // Somebody has cut it, perhaps within a line; the chain shows it.
            file.write_all(b"\n")?;
            length = file.metadata()?.len();
        }
        file.sync_all()?;
        (self.file, self.length, self.first, self.state) = (file, length, first, FileState::Good);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], end: End, lines: u64) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.end = end;
        self.unsigned = self.unsigned.saturating_add(lines);
        Ok(())
    }

    fn sign(&mut self, time: Duration) -> io::Result<()> {
        let (mut end, mut line) = (self.end, Vec::new());
        end.sign(&mut line, &self.key, time)?;
        self.put(&line, end, 0)?;
        // The copy must not survive a power cut that the line does not survive.
        self.file.sync_data()?;
        let (new, head) = (self.directory.join("audit.head.new"), self.directory.join(HEAD));
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(&line)?;
        fs::rename(new, head)?;
        self.unsigned = 0;
        Ok(())
    }

    /// Ends the file under its own name, and begins the next.
    fn close(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let path = self.directory.join(CURRENT);
        fs::rename(&path, self.directory.join(format!("audit-{:012}.jsonl", self.first)))?;
        self.file = open(&path)?;
        (self.length, self.first) = (0, self.end.seq.saturating_add(1));
        File::open(&self.directory)?.sync_all()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Cuts off what stands after the last whole line, and keeps it in a file of its own.
fn set_aside(file: &mut File, directory: &Path) -> io::Result<Torn> {
    let tail = tail_of(file)?;
    let torn = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if torn.is_empty() {
        return Ok(Torn(0));
    }
    let mut aside = open(&directory.join(TORN_OFF))?;
    aside.write_all(torn)?;
    aside.write_all(b"\n")?;
    aside.sync_all()?;
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(torn.len() as u64))?;
    file.sync_all()?;
    Ok(Torn(torn.len() as u64))
}

/// Where the chain ends in a file of whole lines; `None` when the last one is none of ours.
fn end_of(file: &mut File) -> io::Result<Option<End>> {
    let tail = tail_of(file)?;
    let Some((b'\n', lines)) = tail.split_last() else { return Ok(tail.is_empty().then_some(End::START)) };
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(number_of(line).map(|seq| End { seq, link: Link::to(line) }))
}

/// The number of a file's first line.
fn first_of(file: &mut File) -> Option<u64> {
    let mut beginning = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    (&*file).take(LONGEST_LINE).read_to_end(&mut beginning).ok()?;
    number_of(beginning.split(|byte| *byte == b'\n').next()?)
}

fn number_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(line).ok()?.get("seq")?.as_u64()
}

/// The end of a file, longer than any line.
fn tail_of(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LONGEST_LINE)))?;
    let mut tail = Vec::new();
    (&*file).take(2 * LONGEST_LINE).read_to_end(&mut tail)?;
    Ok(tail)
}
