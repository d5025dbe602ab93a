//! The upstreams of `scoregate demo`, compiled into the binary so that the demonstration needs nothing else.
//!
//! [`scoring`] is a real, small model behind the routes of an Azure ML scoring server; [`face`] speaks the
//! wire format of a Face service and recognises nothing. Neither authenticates anyone: that is the
//! gateway's part, and what the demonstration is about. Bind them to loopback only.

pub mod events;
mod exchange;
pub mod face;
pub mod model;
pub mod scoring;
mod setting;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::demo::setting::Setting;
use crate::cli::fail;
use crate::cli::print;
use crate::cli::run::control_runtime;
use crate::cli::run::told_to_stop;

const EXAMPLES: &str = "\
Examples:
  scoregate demo                               prints curl lines to paste into another terminal
  scoregate demo --json                        prints one JSON object for scripts, then serves
  scoregate demo --traffic 127.0.0.1:0 --management 127.0.0.1:0 --health 127.0.0.1:0   any free ports
  scoregate demo --state /tmp/scoregate-demo   keeps keys from one start to the next";

/// What can be chosen about the demonstration.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Print one JSON object with addresses and credentials as the first line, instead of the story.
    #[arg(long)]
    json: bool,
    /// Keep the store and the configuration here; without it they go when the demonstration ends.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where clients come; port 0 is any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    traffic: std::net::SocketAddr,
    /// Where operators come.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    management: std::net::SocketAddr,
    /// Where probes and Prometheus come.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    health: std::net::SocketAddr,
}

/// Shows everything at once until it is interrupted.
pub(super) fn demo(options: Options) -> ExitCode {
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        let is_json = options.json;
        let setting = match Setting::start(options, told_to_stop()).await {
            Ok(setting) => setting,
            Err(error) => return fail(&error),
        };
        print(&if is_json { setting.props.json() } else { setting.props.story() });
        let Setting { running, .. } = setting;
        match running.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        }
    })
}
