//! `scoregate store`: what is done to a store itself. The embedded one must not be open in a gateway meanwhile.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;

use crate::cli::fail;
use crate::cli::print;
use crate::cli::run;
use crate::config;
use crate::config::SecretRef;
use crate::model::time::UnixSeconds;
use crate::reload::read_config;
use crate::store::backup;
use crate::store::backup::Moved;
use crate::store::reseal;
use crate::store::reseal::Resealed;

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(subcommand)]
    call: Call,
    /// The configuration that names the store.
    #[arg(long, value_name = "FILE", env = "SCOREGATE_CONFIG", default_value = "gateway.yaml", global = true)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Call {
    /// Seal everything anew, so that master keys from before can go.
    ///
    /// Without `store.master_key`, a new `master.key` takes the place of the one in the store's directory, which is
    /// kept beside it under its identifier. With it, everything is sealed under `store.master_key` that the keys in
    /// `store.previous_master_keys` have sealed.
    ///
    /// Exit code 0: everything is. 1: something could not be opened, or the store not used. It can be run again.
    #[command(after_help = "Rotating a configured master key:
  1. name the new key in store.previous_master_keys of every gateway, and restart them: they open what it seals
  2. name it as store.master_key and the old one in store.previous_master_keys, and restart them
  3. scoregate store reseal
  4. take the old one out of store.previous_master_keys
One gateway alone can begin with the second step. While an embedded store is sealed anew, its gateway is stopped.")]
    Reseal {
        /// Seal under this key, `file:<path>`, `env:<NAME>` or `credential:<name>`; `store.master_key` is to name it afterwards.
        #[arg(long, value_name = "REF", value_parser = secret_ref)]
        new_master_key: Option<SecretRef>,
    },
    /// Write every record into a new file. What is sealed stays sealed: keep the master key as well.
    Export {
        /// The file, which must not be there yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Read an export into an empty store, of whichever engine.
    Import {
        /// The export.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

fn secret_ref(text: &str) -> Result<SecretRef, String> {
    config::secret_ref(text).ok_or_else(|| "want file:<path>, env:<NAME> or credential:<name>".to_owned())
}

/// Does what is asked.
pub(super) fn store(asked: Asked) -> ExitCode {
    let Asked { call, config } = asked;
    let runtime = match run::control_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let settings = match read_config(&config) {
        Ok(read) => read.store,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        match call {
            Call::Reseal { new_master_key } => match reseal::reseal(&settings, new_master_key.as_ref()).await {
                Ok(resealed) => told(&resealed),
                Err(error) => fail(&error),
            },
            Call::Export { out } => match backup::export(&settings, &out, UnixSeconds::now()).await {
                Ok(moved) => print(&format!("{} holds {}\n", out.display(), counted(&moved))),
                Err(error) => fail(&error),
            },
            Call::Import { file } => match backup::import(&settings, &file).await {
                Ok(moved) => print(&format!("the store holds {}\n", counted(&moved))),
                Err(error) => fail(&error),
            },
        }
    })
}

fn told(resealed: &Resealed) -> ExitCode {
    let Resealed { anew, current, unreadable } = resealed;
    let mut text = format!("{anew} records sealed anew, {current} were already\n");
    for (key, why) in unreadable {
        let source = std::error::Error::source(why).map_or_else(String::new, |source| format!(": {source}"));
        let _cannot_fail = writeln!(text, "left as it is: {key}: {why}{source}");
    }
    let printed = print(&text);
    if unreadable.is_empty() { printed } else { ExitCode::FAILURE }
}

fn counted(moved: &Moved) -> String {
    let keys: Vec<&str> = moved.master_keys.iter().map(String::as_str).collect();
    match keys.as_slice() {
        [] => format!("{} records, none of them sealed", moved.records),
        keys => format!("{} records, sealed under the master key {}", moved.records, keys.join(" and ")),
    }
}
