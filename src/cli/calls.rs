//! What the commands over the management API share: their options, one call after another, and how they say what came.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use http::Uri;

use crate::cli::client::Client;
use crate::cli::client::Credential;
use crate::cli::client::Unanswered;
use crate::cli::client::Wire;
use crate::cli::client::document;
use crate::cli::client::endpoint;
use crate::cli::client::listener_url;
use crate::cli::client::read_key;
use crate::cli::fail;
use crate::cli::print;
use crate::cli::run::control_runtime;
use crate::model::secret::Secret;
use crate::snapshot::target::Endpoint;

/// The environment variable that holds the management key.
const KEY_VARIABLE: &str = "SCOREGATE_MANAGEMENT_KEY";

/// Which gateway is asked, and how it is told.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Gateway")]
pub(super) struct Options {
    /// The management listener.
    #[arg(
        long,
        value_name = "URL",
        env = "SCOREGATE_MANAGEMENT",
        default_value = "http://127.0.0.1:8081",
        value_parser = listener_url,
        global = true
    )]
    management: Uri,
    /// The file of the management key. Default: the key itself stands in the variable `SCOREGATE_MANAGEMENT_KEY`.
    #[arg(long, value_name = "FILE", env = "SCOREGATE_MANAGEMENT_KEY_FILE", global = true)]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    wire: Wire,
    /// Print the API's document instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

/// What a command has to say.
pub(super) struct Said {
    /// What was asked for, to standard output.
    pub(super) text: Secret<String>,
    /// What is good to know, to standard error.
    pub(super) aside: String,
}

impl Said {
    /// Says what was asked for and no more.
    pub(super) fn only(text: String) -> Self {
        Self { text: Secret::new(text), aside: String::new() }
    }
}

impl Options {
    /// The client of the gateway that is meant.
    ///
    /// # Errors
    /// [`Unanswered`], where there is no key or it would be exposed.
    pub(super) fn client(&self) -> Result<Client, Unanswered> {
        let key = read_key(self.key_file.as_deref(), KEY_VARIABLE)?;
        Client::new(&self.management, &self.wire, Credential::Bearer(key))
    }

    /// The gateway's other listener, or what stands in front of it, over the same kind of connection.
    ///
    /// # Errors
    /// [`Unanswered`], where keys would be exposed or trust cannot be set up.
    pub(super) fn other(&self, url: &Uri) -> Result<Endpoint, Unanswered> {
        endpoint(url, &self.wire)
    }

    /// Where the gateway is managed.
    pub(super) const fn management(&self) -> &Uri {
        &self.management
    }

    /// Whether documents are printed.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Says an answer: as it came with `--json`, otherwise as `tell` tells it.
    ///
    /// # Errors
    /// [`Unanswered::Document`] when it is another document than `tell` reads.
    pub(super) fn say<T: serde::de::DeserializeOwned>(
        &self,
        answer: &Secret<String>,
        tell: impl FnOnce(T) -> Said,
    ) -> Result<Said, Unanswered> {
        if self.json {
            return Ok(Said::only(format!("{}\n", answer.expose())));
        }
        Ok(tell(document(answer)?))
    }
}

/// Makes the calls of a command on a runtime of its own, says what came of them, and tells the shell.
pub(super) fn ask(calls: impl Future<Output = Result<Said, Unanswered>>) -> ExitCode {
    let said = control_runtime().map_err(Unanswered::Runtime).and_then(|runtime| runtime.block_on(calls));
    match said {
        Ok(Said { text, aside }) => {
            // Nobody is left to be told when standard error is closed.
            drop(std::io::stderr().lock().write_all(aside.as_bytes()));
            print(text.expose())
        }
        Err(error) => fail(&error),
    }
}
