//! `scoregate diff`.

use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::fail;
use crate::cli::print;
use crate::cli::table::printable;
use crate::config::Config;
use crate::reload::read_config;
use crate::snapshot::difference;
use crate::snapshot::difference::Change;
use crate::snapshot::difference::Effect;

const EXAMPLES: &str = "\
Examples:
  scoregate diff gateway.yaml new.yaml
  git show HEAD:gateway.yaml > old.yaml && scoregate diff old.yaml gateway.yaml
  scoregate diff --json old.yaml gateway.yaml | jq -e 'all(.effect != \"widens\")'";

/// The exit code of diff(1) for trouble.
const TROUBLE: u8 = 2;

/// The two configurations.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Asked {
    /// The configuration as it is.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The configuration as it would be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print a JSON list.
    #[arg(long)]
    json: bool,
}

/// Tells what changes; 0 when nothing does.
pub(super) fn diff(asked: &Asked) -> ExitCode {
    let (Some(old), Some(new)) = (read(&asked.old), read(&asked.new)) else { return ExitCode::from(TROUBLE) };
    let changes = difference::between(&old, &new);
    let text = if asked.json { json(&changes) } else { text(&changes) };
    let printed = print(&text);
    if changes.is_empty() { printed } else { ExitCode::FAILURE }
}

fn read(file: &Path) -> Option<Config> {
    read_config(file).map_err(|error| fail(&error)).ok()
}

fn json(changes: &[Change]) -> String {
    serde_json::to_string_pretty(changes).map(|text| text + "\n").unwrap_or_default()
}

fn text(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change { effect, at, what } in changes {
        // What opens is to be seen at once.
        let mark = match effect {
            Effect::Widens => "WIDENS ",
            Effect::Narrows => "narrows",
            Effect::Changes => "changes",
        };
        let _cannot_fail = writeln!(text, "{mark}  {at}: {}", printable(what));
    }
    if !changes.is_empty() {
        let count = |effect: Effect| changes.iter().filter(|change| change.effect == effect).count();
        let (widen, narrow, rest) = (count(Effect::Widens), count(Effect::Narrows), count(Effect::Changes));
        let _cannot_fail = writeln!(text, "{widen} widen, {narrow} narrow, {rest} otherwise");
    }
    text
}
