//! The project's own API, for what Azure has no call for: accounts, slots with their times, revocations, signing keys, the audit log.
//!
//! `openapi.yaml` describes it, call by call, and is held against the table of routes.

mod accounts;
mod audit;
mod decisions;
mod keys;
mod overview;
mod revocations;
mod signing_keys;
#[cfg(test)]
mod tests;

use http::StatusCode;
use serde::Deserialize;
use serde::Deserializer;
use serde_json::json;

use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::object::Object;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::manage::routes::Native;
use crate::store::engine::Unavailable;

/// The description, for people and for what makes clients of it.
const OPENAPI: &str = include_str!("openapi.yaml");

/// Answers a call.
///
/// # Errors
/// [`Refused`].
pub(super) async fn answer(manage: &Management, call: Native, asked: &Asked<'_>) -> Result<Reply, Refused> {
    match call {
        Native::OpenApi => Ok(reply::public("application/yaml", OPENAPI.to_owned())),
        Native::Gateway => Ok(gateway(asked)),
        Native::EveryKeys => keys::every(manage, asked).await,
        Native::Keys(kind) => keys::of_one(manage, kind, asked).await,
        Native::ListKeys(kind) => keys::list(manage, kind, asked).await,
        Native::RegenerateKey(kind) => keys::regenerate(manage, kind, asked).await,
        Native::Token => keys::token(manage, asked).await,
        Native::Accounts => Ok(accounts::list(asked)),
        Native::CreateAccount => accounts::create(manage, asked).await,
        Native::Account => accounts::show(asked),
        Native::ChangeAccount => accounts::change(manage, asked).await,
        Native::RemoveAccount => accounts::remove(manage, asked).await,
        Native::Revocations => revocations::list(manage, asked).await,
        Native::Revoke => revocations::revoke(manage, asked).await,
        Native::SigningKeys => signing_keys::list(manage, asked).await,
        Native::RotateSigningKey => signing_keys::rotate(manage, asked).await,
        Native::Audit => audit::query(manage, asked).await,
        Native::Overview => Ok(overview::show(manage, asked)),
        Native::Decisions => decisions::list(manage, asked),
        Native::Decision => decisions::explain(manage, asked).await,
    }
}

/// Says which gateway answers, and which generation is in force on it.
fn gateway(asked: &Asked<'_>) -> Reply {
    let document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("SCOREGATE_COMMIT"),
        "generation": asked.snapshot.generation,
    });
    reply::json(StatusCode::OK, &document)
}

/// Reads a body. The parser's own message would quote it, and with it perhaps a key.
fn read<'b, T: Deserialize<'b>>(body: &'b [u8], want: &str) -> Result<T, Refused> {
    let read = serde_json::from_slice::<Object<T>>(body);
    read.map(|Object(members)| members).map_err(|_quotes_body| Refused::bad_argument(format!("want {want}")))
}

/// A member that may be missing, and is no null where it is there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn unreachable_store(why: &Unavailable) -> Refused {
    tracing::error!(error = %why, "the store could not show what an operator asked for");
    Refused::unavailable("the store cannot do that at the moment")
}
