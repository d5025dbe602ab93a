//! `scoregate check`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::fail;
use crate::cli::print;
use crate::config::Config;
use crate::config::report;
use crate::reload::ReloadError;
use crate::reload::read;
use crate::reload::read::Fetched;
use crate::reload::read_config;
use crate::snapshot::inputs::Inputs;

/// Reports what is wrong with a file, or what it exposes when nothing is.
pub(super) fn check(file: &Path, without_files: bool) -> ExitCode {
    let config = match read_config(file) {
        Ok(config) => config,
        Err(ReloadError::Invalid { path, problems }) => {
            print(&report::problems(&path.display().to_string(), &problems));
            return ExitCode::FAILURE;
        }
        Err(error) => return fail(&error),
    };
    let unread = if without_files { Vec::new() } else { unreadable(&config) };
    if unread.is_empty() {
        return print(&format!("{}: ok\n{}", file.display(), report::summary(&config)));
    }
    let mut text = String::new();
    for problem in &unread {
        let _cannot_fail = writeln!(text, "{}: {problem}", file.display());
    }
    print(&text);
    ExitCode::FAILURE
}

/// What `run` would not start with although the file itself is right.
fn unreadable(config: &Config) -> Vec<String> {
    let (_, problems) = read::read(config, &Inputs::default(), &Fetched::default());
    problems.iter().map(ToString::to_string).collect()
}
