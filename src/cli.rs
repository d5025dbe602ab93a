//! The command line: `run`, `check`, `health`, `schema`, `demo`, `store`, and the commands that ask a running gateway.

mod accounts;
mod audit;
mod calls;
mod check;
mod client;
pub mod demo;
mod diff;
mod explain;
mod health;
mod keys;
mod prove;
mod revoke;
mod run;
mod signing_keys;
mod store;
mod table;
mod tokens;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::Parser;
use clap::Subcommand;

use crate::config;
use crate::observe::logs;

/// What `--version` says.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SCOREGATE_COMMIT"), ")");

const EXAMPLES: &str = "\
Examples:
  scoregate demo                          a gateway with everything in front of two small services, on this machine
  scoregate check gateway.yaml            every problem of a file, with line and column
  scoregate run --config gateway.yaml     serve
  scoregate schema > gateway.schema.json  the file's JSON Schema, for editors
  scoregate keys status                   both slots of everything that a running gateway has

Commands that ask a running gateway find it by SCOREGATE_MANAGEMENT, and show it the key
in SCOREGATE_MANAGEMENT_KEY or in the file that SCOREGATE_MANAGEMENT_KEY_FILE names.

A running gateway reads its file again when it changes, and on SIGHUP. SIGTERM drains it.
Logs go to standard error (SCOREGATE_LOG=debug for more), the access log to standard output.";

/// An authenticating gateway in front of model-scoring services: keys or tokens, rotation, LimitedAccessTokens.
#[derive(Debug, Parser)]
#[command(name = "scoregate", version = VERSION, about, after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a configuration says.
    #[command(after_help = "Example:\n  scoregate run --config /etc/scoregate/gateway.yaml")]
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", env = "SCOREGATE_CONFIG", default_value = "gateway.yaml")]
        config: PathBuf,
    },
    /// Check a configuration by the rules of `run`, and list everything that is wrong with it.
    ///
    /// Exit code 0: nothing is. 1: something is; each problem is a line with file, line, column, field and what was wanted.
    #[command(
        after_help = "Examples:\n  scoregate check gateway.yaml\n  scoregate check --without-files gateway.yaml    \
                            on a machine that has no secrets and certificates"
    )]
    Check {
        /// The configuration.
        #[arg(value_name = "FILE", default_value = "gateway.yaml")]
        file: PathBuf,
        /// Leave out whether the secrets, certificates and key sets that it refers to can be read.
        #[arg(long)]
        without_files: bool,
    },
    /// Ask the gateway that runs with this configuration whether it takes traffic.
    ///
    /// Exit code 0: it does. 1: it does not, or does not answer.
    #[command(after_help = "Example:\n  scoregate health --config /etc/scoregate/gateway.yaml")]
    Health {
        /// The configuration; its `listeners.health` is asked.
        #[arg(long, value_name = "FILE", env = "SCOREGATE_CONFIG", default_value = "gateway.yaml")]
        config: PathBuf,
        /// What is asked.
        #[arg(long, value_enum, default_value_t = health::Probe::Ready)]
        probe: health::Probe,
    },
    /// Tell what changes from one configuration to another: who may do what nobody could, and who may not any longer.
    ///
    /// Exit code 0: nothing changes. 1: something does. 2: a configuration could not be read.
    Diff(diff::Asked),
    /// Print the JSON Schema of the configuration.
    #[command(after_help = "Example:\n  scoregate schema > gateway.schema.json")]
    Schema,
    /// Show and regenerate the keys of services and accounts.
    Keys(keys::Asked),
    /// Show, make and change accounts.
    Accounts(accounts::Asked),
    /// Get tokens, and issue LimitedAccessTokens.
    Tokens(tokens::Asked),
    /// Revoke tokens that are out.
    Revoke(revoke::Asked),
    /// Show and rotate the keys that sign the gateway's own tokens.
    SigningKeys(signing_keys::Asked),
    /// Look after the store itself: seal it anew, back it up, move it.
    Store(store::Asked),
    /// Verify and search the audit log.
    Audit(audit::Asked),
    /// Tell why a request was refused: each check, by which rule, and what would make it pass.
    Explain(explain::Asked),
    /// Drive a change against a running gateway under load, and report whether anybody noticed.
    Prove(prove::Asked),
    /// Try everything at once: a gateway, a scoring model and a Face-like service, on this machine only.
    Demo(demo::Options),
}

/// Reads the arguments, does what they say, and tells the shell how it went: 0, 1 for a failure, 2 for arguments
/// that cannot be read.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    crate::tokens::install_crypto_provider();
    // The only error is that a provider was chosen before, and then there is one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    if let Err(error) = logs::start(logs::Format::for_stderr()) {
        return fail(&error);
    }
    keep_memory_private();
    match arguments.command {
        Command::Run { config } => run::run(config),
        Command::Check { file, without_files } => check::check(&file, without_files),
        Command::Health { config, probe } => health::health(&config, probe),
        Command::Diff(asked) => diff::diff(&asked),
        Command::Schema => print(&format!("{:#}\n", config::schema())),
        Command::Keys(asked) => keys::keys(asked),
        Command::Accounts(asked) => accounts::accounts(asked),
        Command::Tokens(asked) => tokens::tokens(asked),
        Command::Revoke(asked) => revoke::revoke(asked),
        Command::SigningKeys(asked) => signing_keys::signing_keys(asked),
        Command::Store(asked) => store::store(asked),
        Command::Audit(asked) => audit::audit(asked),
        Command::Explain(asked) => explain::explain(asked),
        Command::Prove(asked) => prove::prove(asked),
        Command::Demo(options) => demo::demo(options),
    }
}

/// Keys are in memory and perhaps in the environment. The kernel writes no core file of them, and shows them in `/proc`
/// and to debuggers to no other process of the same user.
#[cfg(target_os = "linux")]
fn keep_memory_private() {
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a core file of this process would hold its keys");
    }
}

#[cfg(not(target_os = "linux"))]
const fn keep_memory_private() {}

/// Writes to standard output; whoever has closed it wants no more.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_closed) => ExitCode::FAILURE,
    }
}

/// Writes an error and its causes to standard error.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("scoregate: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text.push('\n');
    // Nobody is left to be told when standard error is closed.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
    ExitCode::FAILURE
}

/// The command line's own definition, for the tests that hold the documents against it.
#[must_use]
pub fn definition() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_holds_together() {
        super::definition().debug_assert();
    }
}
