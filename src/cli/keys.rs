//! `scoregate keys`: both slots of services and accounts.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::calls::Options;
use crate::cli::calls::Said;
use crate::cli::calls::ask;
use crate::cli::client::Client;
use crate::cli::client::Unanswered;
use crate::cli::client::document;
use crate::cli::client::text_of;
use crate::cli::table::Table;
use crate::cli::table::moment;
use crate::cli::table::moment_or;
use crate::cli::table::read_moment;
use crate::config::SecretRef;
use crate::config::read_duration;
use crate::model::name::Name;
use crate::model::name::NotAName;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::store::slots::Keys;

const EXAMPLES: &str = "\
Examples:
  scoregate keys status                                        both slots of everything, and who still uses them
  scoregate keys list iris
  scoregate keys regenerate iris secondary --require-idle 1h   refused while somebody uses that slot
  scoregate keys regenerate accounts/contoso primary --grace 10m";

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
    /// Show both slots of everything: since when, last seen, uses, callers. Never a key.
    Status {
        /// Only this service (`iris`, `services/iris`) or account (`accounts/contoso`).
        #[arg(value_name = "OWNER")]
        owner: Option<Owner>,
    },
    /// Show both keys.
    List {
        /// A service (`iris`, `services/iris`) or an account (`accounts/contoso`).
        #[arg(value_name = "OWNER")]
        owner: Owner,
    },
    /// Put a new key into one slot and print it; the other slot goes on serving.
    Regenerate(Regenerate),
}

#[derive(Debug, clap::Args)]
struct Regenerate {
    /// A service (`iris`, `services/iris`) or an account (`accounts/contoso`).
    #[arg(value_name = "OWNER")]
    owner: Owner,
    /// `primary` or `secondary`.
    #[arg(value_name = "SLOT", value_parser = slot)]
    slot: Slot,
    /// How long the old key still opens. Default: it is refused at once.
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    grace: Option<Duration>,
    /// When the new key stops to open anything. Default: never.
    #[arg(long, value_name = "TIME", value_parser = read_moment)]
    expires: Option<UnixSeconds>,
    /// Refuse when the slot was used within this time.
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    require_idle: Option<Duration>,
    /// A file with the new key. Default: the gateway makes a random one.
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

/// Whose two slots, as the API's paths name them.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    /// A service.
    Service(Name),
    /// An account.
    Account(Name),
}

/// The text names no owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAnOwner {
    /// What stands before the slash.
    #[error("want a service's name, services/NAME or accounts/NAME")]
    Kind,
    /// The name.
    #[error(transparent)]
    Name(#[from] NotAName),
}

impl FromStr for Owner {
    type Err = NotAnOwner;

    fn from_str(text: &str) -> Result<Self, NotAnOwner> {
        match text.split_once('/') {
            None => Ok(Self::Service(Name::parse(text)?)),
            Some(("services", name)) => Ok(Self::Service(Name::parse(name)?)),
            Some(("accounts", name)) => Ok(Self::Account(Name::parse(name)?)),
            Some(_) => Err(NotAnOwner::Kind),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "services/{name}"),
            Self::Account(name) => write!(f, "accounts/{name}"),
        }
    }
}

/// Reads the name of a slot.
pub(super) fn slot(text: &str) -> Result<Slot, &'static str> {
    Slot::ALL.into_iter().find(|slot| slot.as_str() == text).ok_or("want primary or secondary")
}

/// What the API tells of an owner.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerKeys {
    owner: String,
    owned_by: String,
    slots: Slots,
}

#[derive(Debug, Deserialize)]
struct Slots {
    primary: Option<SlotStatus>,
    secondary: Option<SlotStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlotStatus {
    created: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
    retiring_until: Option<UnixSeconds>,
    retiring_last_seen: Option<UnixSeconds>,
    last_seen: Option<UnixSeconds>,
    #[serde(default)]
    uses: u64,
    #[serde(default)]
    callers: u64,
}

#[derive(Debug, Deserialize)]
struct All {
    value: Vec<OwnerKeys>,
}

/// Both keys of an owner, in the clear.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    primary_key: String,
    secondary_key: String,
}

/// A new key, in the clear.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Regenerated {
    owner: String,
    slot: String,
    key: String,
    expires: Option<UnixSeconds>,
    retiring_until: Option<UnixSeconds>,
}

/// Does what was asked.
pub(super) fn keys(Asked { call, options }: Asked) -> ExitCode {
    ask(async move {
        let client = options.client()?;
        match call {
            Call::Status { owner: None } => {
                let answer = client.get("/api/v1/keys").await?;
                options.say(&answer, |All { value }| status(&value))
            }
            Call::Status { owner: Some(owner) } => {
                let answer = client.get(&format!("/api/v1/{owner}/keys")).await?;
                options.say(&answer, |one: OwnerKeys| status(&[one]))
            }
            Call::List { owner } => {
                let answer = list(&client, &owner).await?;
                options.say(&answer, |Listed { primary_key, secondary_key }| {
                    Said::only(format!("primary    {primary_key}\nsecondary  {secondary_key}\n"))
                })
            }
            Call::Regenerate(asked) => {
                let wanted = Value::Object(asked.document()?);
                let answer = regenerate(&client, &asked.owner, asked.slot, &wanted).await?;
                options.say(&answer, regenerated)
            }
        }
    })
}

/// Asks for both keys of an owner, in the clear.
///
/// # Errors
/// [`Unanswered`].
pub(super) async fn both(client: &Client, owner: &Owner) -> Result<Keys, Unanswered> {
    let Listed { primary_key, secondary_key } = document(&list(client, owner).await?)?;
    Ok(Keys { primary: Secret::new(primary_key), secondary: Secret::new(secondary_key) })
}

/// Puts a new key into one slot, and returns it once it is the one that opens.
///
/// # Errors
/// [`Unanswered`].
pub(super) async fn regenerate(
    client: &Client,
    owner: &Owner,
    slot: Slot,
    asked: &Value,
) -> Result<Secret<String>, Unanswered> {
    client.post(&format!("/api/v1/{owner}/keys/{slot}/regenerate"), asked).await
}

async fn list(client: &Client, owner: &Owner) -> Result<Secret<String>, Unanswered> {
    client.post(&format!("/api/v1/{owner}/keys/list"), &json!({})).await
}

impl Regenerate {
    fn document(&self) -> Result<Map<String, Value>, Unanswered> {
        let Self { owner: _, slot: _, grace, expires, require_idle, value_file } = self;
        let value = value_file.as_ref().map(|file| text_of(&SecretRef::File(file.clone()))).transpose()?;
        let members = [
            ("graceSeconds", grace.map(|grace| json!(grace.as_secs()))),
            ("expires", expires.map(|expires| json!(expires))),
            ("requireIdleSeconds", require_idle.map(|idle| json!(idle.as_secs()))),
            ("value", value.map(|value| json!(value.expose()))),
        ];
        Ok(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }
}

fn status(owners: &[OwnerKeys]) -> Said {
    let now = UnixSeconds::now();
    let mut table = Table::new(&[
        "OWNER",
        "SLOT",
        "CREATED",
        "LAST SEEN",
        "USES",
        "CALLERS",
        "EXPIRES",
        "OLD KEY UNTIL",
        "OLD KEY SEEN",
        "KEPT IN",
    ]);
    for OwnerKeys { owner, owned_by, slots: Slots { primary, secondary } } in owners {
        for (slot, status) in [(Slot::Primary, primary), (Slot::Secondary, secondary)] {
            let cells = status.as_ref().map_or_else(|| ["-"; 7].map(str::to_owned), |status| status.cells(now));
            let [begin, end] = [[owner, slot.as_str()].map(str::to_owned).to_vec(), vec![owned_by.clone()]];
            table.row(begin.into_iter().chain(cells).chain(end));
        }
    }
    let aside = "Uses, callers and when a slot was last seen are what this gateway has counted.\n".to_owned();
    Said { text: Secret::new(table.text()), aside }
}

impl SlotStatus {
    fn cells(&self, now: UnixSeconds) -> [String; 7] {
        [
            moment_or("-", self.created, now),
            moment_or("never", self.last_seen, now),
            self.uses.to_string(),
            self.callers.to_string(),
            moment_or("never", self.expires, now),
            moment_or("-", self.retiring_until, now),
            moment_or(if self.retiring_until.is_some() { "never" } else { "-" }, self.retiring_last_seen, now),
        ]
    }
}

fn regenerated(Regenerated { owner, slot, key, expires, retiring_until }: Regenerated) -> Said {
    let now = UnixSeconds::now();
    let old = match retiring_until {
        None => "The old key is refused.".to_owned(),
        Some(until) => format!("The old key opens until {}.", moment(until, now)),
    };
    let new = expires.map(|expires| format!(" This one expires {}.", moment(expires, now))).unwrap_or_default();
    Said { text: Secret::new(format!("{key}\n")), aside: format!("New key of {owner} {slot}. {old}{new}\n") }
}

#[cfg(test)]
mod tests {
    use super::Owner;

    #[test]
    fn a_bare_name_is_a_service() {
        for (text, want) in [
            ("iris", Some("services/iris")),
            ("services/iris", Some("services/iris")),
            ("accounts/contoso", Some("accounts/contoso")),
            ("account/contoso", None),
            ("services/", None),
            ("services/a/b", None),
            ("../x", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Owner>().ok().map(|owner| owner.to_string()).as_deref(), want, "{text:?}");
        }
    }
}
