//! Whether a log is whole: every line in its place, none changed, and the signatures those of the key.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use super::chain;
use super::chain::CHECKPOINT;
use super::chain::End;
use super::chain::Link;
use super::chain::TORN;
use super::file::HEAD;
use super::key::PublicKey;
use super::read;
use super::read::LogFile;
use super::read::Piece;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Each file that was read, and its lines up to the fault.
    pub files: Vec<(PathBuf, u64)>,
    /// Good lines in all.
    pub lines: u64,
    /// Signatures that are right.
    pub checkpoints: u64,
    /// Good lines after the last of them: whoever can write the file could have rewritten these.
    pub unsigned: u64,
    /// Lines that a crash had cut off, and that the next start has set aside.
    pub torn: u64,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// In which file.
    pub file: PathBuf,
    /// In which of its lines, counted from 1.
    pub line: u64,
    /// What.
    pub what: Wrong,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is no line of the log.
    #[error("want a line of the log, found something else")]
    NotALine,
    /// It is longer than any line.
    #[error("want a line of at most 256 KiB")]
    TooLong,
    /// It has no end.
    #[error(
        "the line has no end: a crash or somebody has cut it off, or it is being written; the next start sets it aside"
    )]
    Torn,
    /// Lines are missing, doubled or out of order.
    #[error("want line number {want}, found {found}: lines are missing or out of order")]
    Order {
        /// The number that is due.
        want: u64,
        /// The number that is there.
        found: u64,
    },
    /// It hangs on another line than the one before.
    #[error("want the hash {want} of the line before, found {found}: one of the two lines was changed or exchanged")]
    Chain {
        /// The hash of the line before.
        want: String,
        /// The hash that is there.
        found: String,
    },
    /// A checkpoint was signed by another key.
    #[error("want a checkpoint signed by the key {want}, found {found}")]
    Key {
        /// The name of the key that verifies.
        want: String,
        /// The name that is there.
        found: String,
    },
    /// A checkpoint was changed after it was signed.
    #[error("the signature of this checkpoint does not fit it")]
    Signature,
    /// The log ends before a checkpoint that is known to have been made.
    #[error("the log ends before line number {0}, or has another line there: a copy of that checkpoint is known")]
    Lost(u64),
    /// The known checkpoint is none.
    #[error("this is no checkpoint of the key")]
    NotACheckpoint,
}

/// Reads a whole log, to the first thing that is wrong. `head` is a copy of a checkpoint that the log must hold, which
/// is how an end that was cut off at a line's end is found; its default is the copy beside the log, if there is one.
///
/// # Errors
/// When the directory or a file cannot be read.
pub fn verify(directory: &Path, key: &PublicKey, head: Option<&Path>) -> io::Result<Report> {
    let beside = directory.join(HEAD);
    let path = head.unwrap_or(&beside);
    let known = match fs::read(path) {
        Ok(known) => Some(known.trim_ascii_end().to_vec()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && head.is_none() => None,
        Err(error) => return Err(error),
    };
    let mut verifier = Verifier { key, known: None, end: End::START, report: Report::default() };
    let fault = |what| Some(Fault { file: path.to_owned(), line: 1, what });
    if let Some(line) = known {
        let number = parse(&line).map(|parsed| parsed.number);
        match number.filter(|_| verifier.is_signed(&line).is_ok()) {
            Some(number) => verifier.known = Some((number, line)),
            None => {
                verifier.report.fault = fault(Wrong::NotACheckpoint);
                return Ok(verifier.report);
            }
        }
    }
    read::files(directory, |file| verifier.file(file))?;
    if let (Some((number, _)), None) = (&verifier.known, &verifier.report.fault) {
        verifier.report.fault = fault(Wrong::Lost(*number));
    }
    Ok(verifier.report)
}

struct Verifier<'k> {
    key: &'k PublicKey,
    /// A checkpoint that has to come, with its number.
    known: Option<(u64, Vec<u8>)>,
    end: End,
    report: Report,
}

impl Verifier<'_> {
    fn file(&mut self, mut file: LogFile) -> io::Result<ControlFlow<()>> {
        let path = file.path.clone();
        let mut line = 0;
        let mut fault = None;
        while let (None, Some(piece)) = (&fault, file.next()?) {
            line += 1;
            let judged = match piece {
                Piece::Line(bytes) => self.line(bytes),
                Piece::Torn => Err(Wrong::Torn),
                Piece::TooLong => Err(Wrong::TooLong),
            };
            fault = judged.err().map(|what| Fault { file: path.clone(), line, what });
        }
        self.report.files.push((path, line - u64::from(fault.is_some())));
        self.report.fault = fault;
        Ok(if self.report.fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let Parsed { number, act, prev } = parse(bytes).ok_or(Wrong::NotALine)?;
        let want = self.end.seq + 1;
        if number != want {
            return Err(Wrong::Order { want, found: number });
        }
        let want = self.end.link.to_string();
        if prev != want {
            return Err(Wrong::Chain { want, found: prev });
        }
        if act == CHECKPOINT {
            self.is_signed(bytes)?;
            self.report.checkpoints += 1;
            self.report.unsigned = 0;
        } else {
            self.report.unsigned += 1;
        }
        if let Some((known, line)) = &self.known
            && *known == number
        {
            if line != bytes {
                return Err(Wrong::Lost(number));
            }
            self.known = None;
        }
        self.report.torn += u64::from(act == TORN);
        self.report.lines += 1;
        self.end = End { seq: number, link: Link::to(bytes) };
        Ok(())
    }

    fn is_signed(&self, line: &[u8]) -> Result<(), Wrong> {
        let (said, signature) = chain::signed(line).ok_or(Wrong::Signature)?;
        let found = serde_json::from_slice::<Value>(line).ok();
        let found = found.as_ref().and_then(|line| line.get("key")).and_then(Value::as_str).unwrap_or_default();
        let want = self.key.id();
        if found != want {
            return Err(Wrong::Key { want, found: found.to_owned() });
        }
        if self.key.verifies(said, &signature) { Ok(()) } else { Err(Wrong::Signature) }
    }
}

/// What places a line in the chain.
struct Parsed {
    number: u64,
    act: String,
    prev: String,
}

fn parse(line: &[u8]) -> Option<Parsed> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let text = |field: &str| line.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(Parsed { number: line.get("seq")?.as_u64()?, act: text("act")?, prev: text("prev")? })
}
