//! Reading the log: its files oldest first, and their lines one at a time.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use super::file::CURRENT;

/// Longest line that is read, in bytes. What an event can say is far shorter.
pub(super) const LONGEST_LINE: u64 = 256 * 1024;

/// A file of the log, open.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    lines: BufReader<File>,
    buffer: Vec<u8>,
}

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'l> {
    /// A line, without its end.
    Line(&'l [u8]),
    /// What has no end: a crash or somebody else has cut it off, or it is being written.
    Torn,
    /// Longer than any line.
    TooLong,
}

impl LogFile {
    fn new(path: PathBuf, file: File) -> Self {
        Self { path, lines: BufReader::new(file), buffer: Vec::new() }
    }

    /// The next piece, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.buffer.clear();
        let read = self.lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.buffer)?;
        Ok(match self.buffer.split_last() {
            None => None,
            Some((b'\n', line)) => Some(Piece::Line(line)),
            Some(_) if read as u64 == LONGEST_LINE => Some(Piece::TooLong),
            Some(_) => Some(Piece::Torn),
        })
    }
}

/// Files of closed parts of the log, oldest first: the number of the first line is in the name.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn closed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".jsonl"));
        if let Some(first) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((first, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Calls `each` with every file, oldest first, and stops at the first that it has seen enough of.
///
/// # Errors
/// When the directory or a file cannot be read.
pub(super) fn files(
    directory: &Path,
    mut each: impl FnMut(LogFile) -> io::Result<std::ops::ControlFlow<()>>,
) -> io::Result<()> {
    // The current file is opened before the others are listed: closed meanwhile, it is the last of them and read once.
    let current = directory.join(CURRENT);
    let open = match File::open(&current) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let identity = open.as_ref().map(File::metadata).transpose()?.map(|known| (known.dev(), known.ino()));
    for path in closed(directory)? {
        let file = File::open(&path)?;
        let known = file.metadata()?;
        if identity != Some((known.dev(), known.ino())) && each(LogFile::new(path, file))?.is_break() {
            return Ok(());
        }
    }
    match open {
        Some(file) => each(LogFile::new(current, file)).map(drop),
        None => Ok(()),
    }
}
