//! Answers from the log: every line about a resource, of an act, of a time.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;

use super::read;
use super::read::Piece;
use crate::model::time::UnixSeconds;

/// Which lines are wanted; what is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The exact resource, letter case and a slash at its end aside.
    pub resource: Option<String>,
    /// The exact act, such as `limited_access_token.issue`.
    pub act: Option<String>,
    /// Not before.
    pub since: Option<UnixSeconds>,
    /// Not after.
    pub until: Option<UnixSeconds>,
}

impl Filter {
    /// Whether a line is wanted.
    #[must_use]
    pub fn wants(&self, line: &Value) -> bool {
        let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or_default();
        let plain = |resource: &str| resource.trim_end_matches('/').to_ascii_lowercase();
        let second = || text("time").parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
        let in_time = |bound: Option<UnixSeconds>, fits: fn(i64, i64) -> bool| {
            bound.is_none_or(|bound| fits(second(), i64::try_from(bound.0).unwrap_or(i64::MAX)))
        };
        self.act.as_ref().is_none_or(|act| text("act") == act)
            && self.resource.as_ref().is_none_or(|resource| plain(text("resource")) == plain(resource))
            && in_time(self.since, |time, since| time >= since)
            && in_time(self.until, |time, until| time <= until)
    }
}

/// Calls `found` with each line that is wanted, oldest first, until it has enough. Lines that cannot be read are left
/// out: what is wrong with them is for [`verify`](super::verify::verify) to say.
///
/// # Errors
/// When the directory or a file cannot be read.
pub fn each(directory: &Path, filter: &Filter, mut found: impl FnMut(Value) -> ControlFlow<()>) -> io::Result<()> {
    read::files(directory, |mut file| {
        while let Some(piece) = file.next()? {
            let Piece::Line(line) = piece else { continue };
            let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
            if filter.wants(&line) && found(line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The newest lines that are wanted, at most `limit`, oldest first. Reads the whole log: for a thread that may block.
///
/// # Errors
/// As [`each`].
pub fn newest(directory: &Path, filter: &Filter, limit: usize) -> io::Result<Vec<Value>> {
    let mut kept = VecDeque::new();
    each(directory, filter, |line| {
        if kept.len() >= limit {
            kept.pop_front();
        }
        kept.push_back(line);
        ControlFlow::Continue(())
    })?;
    kept.truncate(limit);
    Ok(kept.into())
}
