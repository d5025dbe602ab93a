//! `scoregate tokens`: access tokens from the management plane, LimitedAccessTokens from the traffic plane.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;
use serde_json::json;

use crate::cli::calls::Options;
use crate::cli::calls::Said;
use crate::cli::calls::ask;
use crate::cli::client::Client;
use crate::cli::client::Credential;
use crate::cli::client::Unanswered;
use crate::cli::client::Wire;
use crate::cli::client::document;
use crate::cli::client::listener_url;
use crate::cli::client::read_key;
use crate::cli::table::moment;
use crate::config::read_duration;
use crate::model::name::Name;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;
use crate::snapshot::compile::ISSUE_PATH;

/// The environment variable that holds the key of the account that issues.
const KEY_VARIABLE: &str = "SCOREGATE_ACCOUNT_KEY";

const EXAMPLES: &str = "\
Examples:
  TOKEN=$(scoregate tokens get iris-token)
  TOKEN=$(scoregate tokens issue-limited --resource /subscriptions/s/…/accounts/contoso --feature Face.Identification)";

/// What can be chosen.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Asked {
    #[command(subcommand)]
    call: Call,
}

#[derive(Debug, clap::Subcommand)]
enum Call {
    /// Get a token that opens a service, and print it.
    Get {
        /// The service.
        #[arg(value_name = "SERVICE", value_parser = Name::parse)]
        service: Name,
        #[command(flatten)]
        options: Options,
    },
    /// Issue a LimitedAccessToken with the key of an account that may, and print it.
    IssueLimited(IssueLimited),
}

#[derive(Debug, clap::Args)]
struct IssueLimited {
    /// The resource that is to use the features.
    #[arg(long, value_name = "ID")]
    resource: String,
    /// A feature; once for each.
    #[arg(long, value_name = "FEATURE", required = true)]
    feature: Vec<String>,
    /// How long it is good for, from 60s to 24h. Default: what the gateway says.
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    lifetime: Option<Duration>,
    /// The traffic listener.
    #[arg(
        long,
        value_name = "URL",
        env = "SCOREGATE_TRAFFIC",
        default_value = "http://127.0.0.1:8080",
        value_parser = listener_url,
        help_heading = "Gateway"
    )]
    traffic: Uri,
    /// The file of the account's key. Default: the key itself stands in the variable `SCOREGATE_ACCOUNT_KEY`.
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    key_file: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Gateway")]
    wire: Wire,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: String,
    refresh_after: UnixSeconds,
    expiry_on: UnixSeconds,
}

/// Does what was asked.
pub(super) fn tokens(Asked { call }: Asked) -> ExitCode {
    ask(async move {
        match call {
            Call::Get { service, options } => {
                let answer = get(&options.client()?, &service).await?;
                options.say(&answer, got)
            }
            Call::IssueLimited(asked) => {
                let key = read_key(asked.key_file.as_deref(), KEY_VARIABLE)?;
                let client = Client::new(&asked.traffic, &asked.wire, Credential::Subscription(key))?;
                let token = issue_limited(&client, &asked.resource, &asked.feature, asked.lifetime).await?;
                Ok(Said::only(format!("{}\n", token.expose())))
            }
        }
    })
}

/// Asks the management plane for a token of a service.
///
/// # Errors
/// [`Unanswered`].
pub(super) async fn access_token(client: &Client, service: &Name) -> Result<Secret<String>, Unanswered> {
    let Token { access_token, .. } = document(&get(client, service).await?)?;
    Ok(Secret::new(access_token))
}

async fn get(client: &Client, service: &Name) -> Result<Secret<String>, Unanswered> {
    client.post(&format!("/api/v1/services/{service}/token"), &json!({})).await
}

/// Asks the traffic plane for a LimitedAccessToken; the answer is the token itself.
///
/// # Errors
/// [`Unanswered`].
pub(super) async fn issue_limited(
    client: &Client,
    resource: &str,
    features: &[String],
    lifetime: Option<Duration>,
) -> Result<Secret<String>, Unanswered> {
    let query = lifetime.map(|lifetime| format!("?expiredTime={}", lifetime.as_secs())).unwrap_or_default();
    let loan = json!({ "targetAzureResourceId": resource, "featureFlags": features });
    client.post(&format!("{ISSUE_PATH}{query}"), &loan).await
}

fn got(Token { access_token, refresh_after, expiry_on }: Token) -> Said {
    let now = UnixSeconds::now();
    let aside = format!("Renew it after {}; it expires {}.\n", moment(refresh_after, now), moment(expiry_on, now));
    Said { text: Secret::new(format!("{access_token}\n")), aside }
}
