//! `scoregate signing-keys`: what the gateway signs its tokens with.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use crate::cli::calls::Options;
use crate::cli::calls::Said;
use crate::cli::calls::ask;
use crate::cli::table::Table;
use crate::cli::table::moment_or;
use crate::model::time::UnixSeconds;

const EXAMPLES: &str = "\
Examples:
  scoregate signing-keys list
  scoregate signing-keys rotate   tokens that are out stay good: the old key verifies until the last has expired";

/// What can be chosen.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Asked {
    #[command(subcommand)]
    call: Call,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Call {
    /// Show the key that signs and those that still verify. Never a private key.
    List,
    /// Make a new key that signs from now on.
    Rotate,
}

/// What the API tells of a signing key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SigningKey {
    kid: String,
    algorithm: String,
    created: Option<UnixSeconds>,
    verify_until: Option<UnixSeconds>,
    signs: bool,
}

#[derive(Debug, Deserialize)]
struct All {
    value: Vec<SigningKey>,
}

/// Does what was asked.
pub(super) fn signing_keys(Asked { call, options }: Asked) -> ExitCode {
    ask(async move {
        let client = options.client()?;
        match call {
            Call::List => {
                let answer = client.get("/api/v1/signing-keys").await?;
                options.say(&answer, |All { value }| table(&value))
            }
            Call::Rotate => {
                let answer = client.post("/api/v1/signing-keys/rotate", &json!({})).await?;
                options.say(&answer, |made: SigningKey| table(&[made]))
            }
        }
    })
}

fn table(keys: &[SigningKey]) -> Said {
    let now = UnixSeconds::now();
    let mut table = Table::new(&["KID", "ALGORITHM", "CREATED", "VERIFIES UNTIL", "SIGNS"]);
    for SigningKey { kid, algorithm, created, verify_until, signs } in keys {
        let moments = [moment_or("-", *created, now), moment_or("-", *verify_until, now)];
        let signs = if *signs { "yes" } else { "no" };
        table.row([kid.clone(), algorithm.clone()].into_iter().chain(moments).chain([signs.to_owned()]));
    }
    Said::only(table.text())
}
