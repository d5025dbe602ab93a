//! `scoregate revoke`: tokens that are out are refused, one by one, by resource or by who issued them.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::cli::calls::Options;
use crate::cli::calls::Said;
use crate::cli::calls::ask;
use crate::cli::table::Table;
use crate::cli::table::moment_or;
use crate::cli::table::read_moment;
use crate::model::name::Name;
use crate::model::time::UnixSeconds;

const EXAMPLES: &str = "\
Examples:
  scoregate revoke isv contoso --why 'contract ended'
  scoregate revoke resource /subscriptions/s/resourceGroups/g/providers/p/accounts/fabrikam
  scoregate revoke token urn:scoregate 0197f3c2b1a54d6e
  scoregate revoke list

It holds for what was issued up to now, on every replica, within a second. Nothing takes a revocation back; new tokens
are not concerned: an account that is to get none any more loses its ceiling with `scoregate accounts set`.";

/// What can be chosen.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Asked {
    #[command(subcommand)]
    call: Call,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Call {
    /// Revoke one token.
    Token {
        /// Its `iss`.
        #[arg(value_name = "ISSUER")]
        issuer: String,
        /// Its `jti`.
        #[arg(value_name = "JTI")]
        jti: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Revoke every LimitedAccessToken for a resource.
    Resource {
        /// The resource.
        #[arg(value_name = "ID")]
        resource: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Revoke every LimitedAccessToken that an account has issued.
    Isv {
        /// The account.
        #[arg(value_name = "NAME", value_parser = Name::parse)]
        name: Name,
        #[command(flatten)]
        terms: Terms,
    },
    /// Show the revocations that some token may still run into.
    List,
}

#[derive(Debug, clap::Args)]
struct Terms {
    /// Why, for whoever reads the list.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Revoke what was issued before this moment. Default: now.
    #[arg(long, value_name = "TIME", value_parser = read_moment)]
    issued_before: Option<UnixSeconds>,
}

/// What the API tells of a revocation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revocation {
    token: Option<Token>,
    resource: Option<String>,
    isv: Option<String>,
    issued_before: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Token {
    issuer: String,
    jti: String,
}

#[derive(Debug, Deserialize)]
struct All {
    value: Vec<Revocation>,
}

/// Does what was asked.
pub(super) fn revoke(Asked { call, options }: Asked) -> ExitCode {
    ask(async move {
        let client = options.client()?;
        let document = match call {
            Call::List => {
                let answer = client.get("/api/v1/revocations").await?;
                return options.say(&answer, |All { value }| table(&value));
            }
            Call::Token { issuer, jti, terms } => terms.document("token", json!({ "issuer": issuer, "jti": jti })),
            Call::Resource { resource, terms } => terms.document("resource", json!(resource)),
            Call::Isv { name, terms } => terms.document("isv", json!(name)),
        };
        let answer = client.post("/api/v1/revocations", &document).await?;
        options.say(&answer, |made: Revocation| table(&[made]))
    })
}

impl Terms {
    fn document(&self, kind: &str, whom: Value) -> Value {
        let why = self.why.as_ref().map(|why| ("why", json!(why)));
        let before = self.issued_before.map(|before| ("issuedBefore", json!(before)));
        let members = [Some((kind, whom)), why, before].into_iter().flatten();
        Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

fn table(revocations: &[Revocation]) -> Said {
    let now = UnixSeconds::now();
    let mut table = Table::new(&["KIND", "REVOKED", "ISSUED BEFORE", "EXPIRES", "WHY"]);
    for Revocation { token, resource, isv, issued_before, expires, why } in revocations {
        let (kind, whom) = match (token, resource, isv) {
            (Some(Token { issuer, jti }), _, _) => ("token", format!("{issuer} {jti}")),
            (None, Some(resource), _) => ("resource", resource.clone()),
            (None, None, Some(isv)) => ("isv", isv.clone()),
            (None, None, None) => ("-", "-".to_owned()),
        };
        let why = why.clone().filter(|why| !why.is_empty()).unwrap_or_else(|| "-".to_owned());
        let moments = [moment_or("-", *issued_before, now), moment_or("never", *expires, now)];
        table.row([kind.to_owned(), whom].into_iter().chain(moments).chain([why]));
    }
    Said::only(table.text())
}
