//! `scoregate explain`: why a request was refused.

use std::process::ExitCode;

use crate::cli::calls::Options;
use crate::cli::calls::Said;
use crate::cli::calls::ask;
use crate::cli::table::moment_or;
use crate::model::explanation::Explanation;
use crate::model::time::UnixSeconds;

const EXAMPLES: &str = "\
Examples:
  scoregate explain 7c9e6679f3a84d0ab2c5d1e0f4b38a16   the x-scoregate-decision-id of the answer
  scoregate explain --json 7c9e6679f3a84d0ab2c5d1e0f4b38a16";

/// What is to be explained.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Asked {
    /// The decision's identifier: the header `x-scoregate-decision-id` of the answer, `scoregate.decision_id` in the
    /// access log.
    #[arg(value_name = "DECISION_ID", value_parser = decision)]
    decision: String,
    #[command(flatten)]
    options: Options,
}

/// Asks the gateway that decided.
pub(super) fn explain(asked: Asked) -> ExitCode {
    let Asked { decision, options } = asked;
    ask(async {
        let client = options.client()?;
        let answer = client.get(&format!("/api/v1/decisions/{decision}")).await?;
        options.say(&answer, |explanation: Explanation| {
            let when = moment_or("-", explanation.at, UnixSeconds::now());
            Said::only(format!("when       {when}\n{explanation}"))
        })
    })
}

/// Reads an identifier, with or without what it is called in an answer's `instance`.
fn decision(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix("urn:scoregate:decision:").unwrap_or(text);
    let fits = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { Ok(digits.to_ascii_lowercase()) } else { Err("want 32 hexadecimal digits") }
}
