//! `scoregate accounts`: callers with a resource of their own.

use std::process::ExitCode;

use http::Method;
use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::calls::Options;
use crate::cli::calls::Said;
use crate::cli::calls::ask;
use crate::cli::table::Table;
use crate::cli::table::list;
use crate::cli::table::moment_or;
use crate::model::name::Name;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;

const EXAMPLES: &str = "\
Examples:
  scoregate accounts list
  scoregate accounts create contoso --resource /subscriptions/s/resourceGroups/g/providers/p/accounts/contoso \\
      --approve Face.Identification
  scoregate accounts set contoso --may-issue Face.Identification --may-issue Face.Verification
  scoregate accounts delete contoso";

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
    /// Show all accounts, those of `gateway.yaml` among them.
    List,
    /// Show one account.
    Show {
        /// Its name.
        #[arg(value_name = "NAME", value_parser = Name::parse)]
        name: Name,
    },
    /// Make an account with two keys of its own. `scoregate keys list accounts/NAME` shows them.
    Create {
        /// Its name.
        #[arg(value_name = "NAME", value_parser = Name::parse)]
        name: Name,
        /// Its resource, which LimitedAccessTokens are issued for.
        #[arg(long, value_name = "ID")]
        resource: String,
        /// A feature that it may use itself; once for each.
        #[arg(long, value_name = "FEATURE")]
        approve: Vec<String>,
        /// A feature that it may put into tokens for others; once for each.
        #[arg(long, value_name = "FEATURE")]
        may_issue: Vec<String>,
    },
    /// Change what an account holds. In force at once, for tokens that are out as well.
    Set(Set),
    /// Take an account away, and its keys with it.
    Delete {
        /// Its name.
        #[arg(value_name = "NAME", value_parser = Name::parse)]
        name: Name,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["approve", "approve_nothing", "may_issue", "may_issue_nothing"]))]
struct Set {
    /// Its name.
    #[arg(value_name = "NAME", value_parser = Name::parse)]
    name: Name,
    /// All that it may use itself; once for each feature.
    #[arg(long, value_name = "FEATURE", conflicts_with = "approve_nothing")]
    approve: Vec<String>,
    /// It may use no gated feature itself.
    #[arg(long)]
    approve_nothing: bool,
    /// All that it may put into tokens for others; once for each feature.
    #[arg(long, value_name = "FEATURE", conflicts_with = "may_issue_nothing")]
    may_issue: Vec<String>,
    /// It may put nothing into tokens for others.
    #[arg(long)]
    may_issue_nothing: bool,
}

/// What the API tells of an account.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    name: String,
    resource: String,
    approvals: Vec<String>,
    may_issue: Vec<String>,
    owned_by: String,
    created: Option<UnixSeconds>,
}

#[derive(Debug, Deserialize)]
struct All {
    value: Vec<Account>,
}

/// Does what was asked.
pub(super) fn accounts(Asked { call, options }: Asked) -> ExitCode {
    ask(async move {
        let client = options.client()?;
        let one = |name: &Name| format!("/api/v1/accounts/{name}");
        let tell = |account: Account| table(&[account]);
        match call {
            Call::List => {
                let answer = client.get("/api/v1/accounts").await?;
                options.say(&answer, |All { value }| table(&value))
            }
            Call::Show { name } => options.say(&client.get(&one(&name)).await?, tell),
            Call::Create { name, resource, approve, may_issue } => {
                let account =
                    json!({ "name": name, "resource": resource, "approvals": approve, "mayIssue": may_issue });
                options.say(&client.post("/api/v1/accounts", &account).await?, tell)
            }
            Call::Set(set) => {
                let answer = client.call(Method::PATCH, &one(&set.name), Some(&set.document())).await?;
                options.say(&answer, tell)
            }
            Call::Delete { name } => {
                client.call(Method::DELETE, &one(&name), None).await?;
                Ok(Said {
                    text: Secret::new(String::new()),
                    aside: format!("The account {name} is gone, and its keys open nothing.\n"),
                })
            }
        }
    })
}

impl Set {
    fn document(&self) -> Value {
        let Self { name: _, approve, approve_nothing, may_issue, may_issue_nothing } = self;
        let mut members = Map::new();
        for (member, features, is_nothing) in
            [("approvals", approve, approve_nothing), ("mayIssue", may_issue, may_issue_nothing)]
        {
            if *is_nothing || !features.is_empty() {
                members.insert(member.to_owned(), json!(features));
            }
        }
        Value::Object(members)
    }
}

fn table(accounts: &[Account]) -> Said {
    let now = UnixSeconds::now();
    let mut table = Table::new(&["NAME", "APPROVALS", "MAY ISSUE", "CREATED", "KEPT IN", "RESOURCE"]);
    for Account { name, resource, approvals, may_issue, owned_by, created } in accounts {
        let created = moment_or("-", *created, now);
        table.row([name.clone(), list(approvals), list(may_issue), created, owned_by.clone(), resource.clone()]);
    }
    Said::only(table.text())
}
