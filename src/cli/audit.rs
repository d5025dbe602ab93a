//! `scoregate audit`: whether the log is whole, and what it says. Both read its files, whether or not a gateway runs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::fail;
use crate::cli::print;
use crate::config;
use crate::model::time::UnixSeconds;
use crate::observe::audit::key::PUBLIC;
use crate::observe::audit::key::PublicKey;
use crate::observe::audit::query;
use crate::observe::audit::query::Filter;
use crate::observe::audit::verify;
use crate::observe::audit::verify::Report;
use crate::reload::read_config;

/// What is asked of the audit log.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Find the first line that was changed, is missing or stands in the wrong place. Exit code 1: there is one.
    #[command(
        after_help = "Example:\n  scoregate audit verify --config gateway.yaml --public-key kept/audit.pub --head kept/audit.head"
    )]
    Verify {
        #[command(flatten)]
        log: Log,
        /// A copy of the log's public key. Default: `audit.pub` in its directory.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
        /// A copy of a checkpoint that the log must hold. Default: `audit.head` in its directory.
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Print lines, oldest first.
    #[command(
        after_help = "Example:\n  scoregate audit query --resource /subscriptions/…/accounts/clinic --act limited_access_token.issue"
    )]
    Query {
        #[command(flatten)]
        log: Log,
        /// Only lines about this resource: its identifier, or `services/<name>`.
        #[arg(long, value_name = "ID")]
        resource: Option<String>,
        /// Only this act, such as `limited_access_token.issue`, `keys.regenerate` or `request.denied`.
        #[arg(long, value_name = "ACT")]
        act: Option<String>,
        /// Not before this time, such as `2027-01-31T00:00:00Z`.
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<UnixSeconds>,
        /// Print the lines as they stand in the log.
        #[arg(long)]
        json: bool,
    },
}

/// Where the log is.
#[derive(Debug, clap::Args)]
struct Log {
    /// The log's directory. Default: the one that the configuration names.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The configuration.
    #[arg(long, value_name = "FILE", env = "SCOREGATE_CONFIG", default_value = "gateway.yaml")]
    config: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("{} says audit: off; want --directory", .0.display())]
struct Off(PathBuf);

#[derive(Debug, thiserror::Error)]
#[error("the audit log in {} could not be read", .0.display())]
struct Unread(PathBuf, #[source] std::io::Error);

impl Log {
    fn directory(self) -> Result<PathBuf, ExitCode> {
        if let Some(directory) = self.directory {
            return Ok(directory);
        }
        match read_config(&self.config).map_err(|error| fail(&error))?.audit {
            config::Audit::On(log) => Ok(log.directory),
            config::Audit::Off => Err(fail(&Off(self.config))),
        }
    }
}

/// Does what is asked.
pub(super) fn audit(asked: Asked) -> ExitCode {
    let done = match asked.what {
        What::Verify { log, public_key, head } => verify(log, public_key, head.as_deref()),
        What::Query { log, resource, act, since, json } => {
            query(log, &Filter { resource, act, since, until: None }, json)
        }
    };
    done.unwrap_or_else(|code| code)
}

fn verify(log: Log, public_key: Option<PathBuf>, head: Option<&Path>) -> Result<ExitCode, ExitCode> {
    let directory = log.directory()?;
    let key = PublicKey::read(&public_key.unwrap_or_else(|| directory.join(PUBLIC))).map_err(|error| fail(&error))?;
    let report = verify::verify(&directory, &key, head);
    let Report { files, lines, checkpoints, unsigned, torn, fault } =
        report.map_err(|error| fail(&Unread(directory, error)))?;
    let mut text = String::new();
    for (path, lines) in files {
        let _cannot_fail = writeln!(text, "{}: {lines} good lines", path.display());
    }
    let _cannot_fail = writeln!(
        text,
        "{lines} lines, {checkpoints} checkpoints by the key {}, {unsigned} lines not signed yet, {torn} torn by a crash",
        key.id()
    );
    let Some(fault) = fault else {
        text.push_str("ok\n");
        return Ok(print(&text));
    };
    let _cannot_fail = writeln!(text, "{}:{}: {}", fault.file.display(), fault.line, fault.what);
    print(&text);
    Ok(ExitCode::FAILURE)
}

fn query(log: Log, filter: &Filter, json: bool) -> Result<ExitCode, ExitCode> {
    let directory = log.directory()?;
    let mut out = std::io::stdout().lock();
    let read = query::each(&directory, filter, |line| {
        let text = if json { line.to_string() } else { plain(&line) };
        match writeln!(out, "{text}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(_closed) => ControlFlow::Break(()),
        }
    });
    read.map_err(|error| fail(&Unread(directory, error)))?;
    Ok(ExitCode::SUCCESS)
}

fn plain(line: &Value) -> String {
    let text = |field: &str| line.get(field).and_then(Value::as_str).unwrap_or("-");
    let detail = line.get("detail").map(Value::to_string).unwrap_or_default();
    let fields = ["time", "act", "who", "resource", "rule", "decision_id"].map(text);
    format!("{} {detail}", fields.join(" "))
}

fn time(text: &str) -> Result<UnixSeconds, String> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    let seconds = time.ok().and_then(|time| u64::try_from(time.as_second()).ok());
    seconds.map(UnixSeconds).ok_or_else(|| "want a time such as 2027-01-31T00:00:00Z".to_owned())
}
