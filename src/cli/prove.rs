//! `scoregate prove`: drives a change against a running gateway under load, and says on paper what came of it.

mod load;
mod report;
mod rotation;
mod target;

use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::HeaderName;
use http::Method;
use http::Uri;

use crate::cli::calls::Options;
use crate::cli::client::Unanswered;
use crate::cli::client::listener_url;
use crate::cli::fail;
use crate::cli::keys::Owner;
use crate::cli::keys::slot;
use crate::cli::print;
use crate::cli::prove::report::Report;
use crate::cli::run::control_runtime;
use crate::cli::run::told_to_stop;
use crate::config::read_duration;
use crate::model::slot::Slot;

const EXAMPLES: &str = "\
Examples:
  scoregate prove rotation iris --target http://127.0.0.1:8080 --body row.json --require-idle 1h
  scoregate prove rotation accounts/contoso --target https://gateway.example.com --path /face/v1.0/detect \\
      --body face.json --yes --report kept.json";

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(subcommand)]
    call: Call,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Call {
    /// Regenerate one slot of a service or an account again and again under load, and report whether anybody noticed.
    ///
    /// Half of the connections call with the other slot's key, as clients do who wait for a new one. The other half moves
    /// to each new key once it is answered. Proven means: no request failed, no connection was closed by the gateway, no
    /// stream ended, each old key was refused and each new one accepted from the answer on.
    ///
    /// WHOEVER HOLDS THE KEY OF THE SLOT IS REFUSED from the first regeneration on, and needs the new key: this is a real
    /// gateway with real keys. Choose the slot that nobody uses. Nothing is changed without --yes, or --require-idle,
    /// with which the gateway itself refuses while the slot is in use. The other slot is only called with, never changed.
    ///
    /// Exit code 0: proven. 1: not proven, or not begun; the report says why. 2: arguments that cannot be read.
    #[command(after_help = EXAMPLES)]
    Rotation(Box<Rotation>),
}

#[derive(Debug, clap::Args)]
#[group(id = "consent", required = true, multiple = true, args = ["yes", "require_idle"])]
struct Rotation {
    /// A service (`iris`, `services/iris`) or an account (`accounts/contoso`), whose keys are in the gateway's store.
    #[arg(value_name = "OWNER")]
    owner: Owner,
    /// The traffic listener that is called, or what stands in front of it.
    #[arg(long, value_name = "URL", value_parser = listener_url)]
    target: Uri,
    /// The slot that is regenerated. Its last key stays in force at the end, and `scoregate keys list` shows it.
    #[arg(long, value_name = "SLOT", value_parser = slot, default_value_t = Slot::Secondary)]
    slot: Slot,
    /// Go ahead: nobody needs the key that is in the slot.
    #[arg(long)]
    yes: bool,
    /// Go ahead if the gateway has not seen the slot used within this time.
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    require_idle: Option<Duration>,
    /// How many times the slot is regenerated.
    #[arg(long, value_name = "NUMBER", default_value = "20")]
    rotations: NonZeroU32,
    /// How long the load goes on after each rotation before the next one.
    #[arg(long, value_name = "DURATION", value_parser = read_duration, default_value = "500ms")]
    pause: Duration,
    /// How long old keys may be accepted, and new ones refused, after a regeneration is answered. More than nothing only
    /// for many gateways behind one target, of which the others hear of a change a moment later.
    #[arg(long, value_name = "DURATION", value_parser = read_duration, default_value = "0s")]
    settle: Duration,
    /// Longest time for all of it; then it is not proven.
    #[arg(long, value_name = "DURATION", value_parser = read_duration, default_value = "10m")]
    duration: Duration,
    /// Also write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    load: Load,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Load")]
struct Load {
    /// Connections that are kept open, HTTP/1.1.
    #[arg(long, value_name = "NUMBER", default_value = "8")]
    connections: NonZeroU32,
    /// Requests a second, over all connections.
    #[arg(long, value_name = "NUMBER", default_value = "50")]
    rate: NonZeroU32,
    /// Path and query of the call. Default: `/api/v1/service/NAME/score`, as services have it without `match`.
    #[arg(long, value_name = "PATH")]
    path: Option<http::uri::PathAndQuery>,
    /// Its method. Default: POST with a body, GET without.
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// A file with its body.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The media type of the body.
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: http::HeaderValue,
    /// The header that the key is shown in, without `Bearer`. Default: `Authorization: Bearer` for a service,
    /// `Ocp-Apim-Subscription-Key` for an account.
    #[arg(long, value_name = "NAME")]
    key_header: Option<HeaderName>,
    /// Path of a GET whose answer goes on, such as an event stream; it is held open and must not end.
    #[arg(long, value_name = "PATH")]
    stream: Option<http::uri::PathAndQuery>,
}

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
enum NotBegun {
    /// The gateway.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// A file that was named.
    #[error("{} cannot be used", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The path of the call.
    #[error("an account has no path of its own; want --path /…")]
    NoPath,
    /// What the gateway or the target said.
    #[error("nothing was changed: {0}")]
    Found(String),
}

/// Does what was asked.
pub(super) fn prove(Asked { call: Call::Rotation(asked), options }: Asked) -> ExitCode {
    let said = control_runtime().map_err(|error| NotBegun::Unanswered(Unanswered::Runtime(error)));
    let said = said.and_then(|runtime| runtime.block_on(prove_rotation(&asked, &options)));
    match said {
        Ok((report, kept)) => {
            let printed = print(&if options.is_json() { report.json() } else { report.text() });
            match kept {
                Err(error) => fail(&error),
                Ok(()) if report.is_proven => printed,
                Ok(()) => ExitCode::FAILURE,
            }
        }
        Err(error) => fail(&error),
    }
}

/// The report, and whether it could be kept.
async fn prove_rotation(asked: &Rotation, options: &Options) -> Result<(Report, Result<(), NotBegun>), NotBegun> {
    // A report that cannot be kept is known before anything is changed.
    let file =
        asked.report.as_ref().map(|path| File::create(path).map_err(|error| NotBegun::File(path.clone(), error)));
    let file = file.transpose()?;
    let report = rotation::prove(asked, options, told_to_stop()).await?;
    let kept = match (file, &asked.report) {
        (Some(mut file), Some(path)) => {
            file.write_all(report.json().as_bytes()).map_err(|error| NotBegun::File(path.clone(), error))
        }
        (None, _) | (_, None) => Ok(()),
    };
    Ok((report, kept))
}
