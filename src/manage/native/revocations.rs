//! Revocations: tokens cut off before their time, one by one, by resource, or by the vendor that issued them.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::config::TokenIssuer;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::keys;
use crate::manage::native;
use crate::manage::native::accounts;
use crate::manage::object::Object;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Act;
use crate::snapshot::management;
use crate::store::record_key;
use crate::store::record_key::Owner;
use crate::store::records::RevocationRecord;
use crate::store::records::Revoked;

/// How far ahead tokens may be cut off, in seconds. What is revoked is never narrowed, so that a time in milliseconds
/// would stand for good.
const FARTHEST_AHEAD_SECONDS: u64 = 86_400;

/// Longest reason, in characters.
const LONGEST_WHY: usize = 1024;

/// Shows every revocation that a living token can meet.
///
/// # Errors
/// 503.
pub(super) async fn list(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let mut all = manage.store.revocations().await.map_err(|why| native::unreachable_store(&why))?;
    all.retain(|record| record.expires > asked.now);
    all.sort_by_cached_key(|record| *record.revoked.digest().as_bytes());
    Ok(reply::json(StatusCode::OK, &json!({ "value": all.iter().map(body).collect::<Vec<Value>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    #[serde(default, deserialize_with = "native::given")]
    token: Option<Object<Token>>,
    #[serde(default, deserialize_with = "native::given")]
    resource: Option<String>,
    #[serde(default, deserialize_with = "native::given")]
    isv: Option<String>,
    #[serde(default, deserialize_with = "native::given")]
    issued_before: Option<UnixSeconds>,
    #[serde(default, deserialize_with = "native::given")]
    why: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    issuer: String,
    jti: String,
}

/// Cuts tokens off, and returns once they open nothing.
///
/// # Errors
/// 400 for what cannot be meant, 404 for a vendor that is no account, 503.
pub(super) async fn revoke(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let want = "exactly one of {\"token\": {\"issuer\": text, \"jti\": text}}, {\"resource\": text} and {\"isv\": text}; \
                \"issuedBefore\" and \"why\" may be there";
    let Wanted { token, resource, isv, issued_before, why } = native::read(asked.body, want)?;
    let issuers = &asked.snapshot.management;
    let (revoked, longest_use) = match (token, resource, isv) {
        (Some(token), None, None) => one(issuers, token)?,
        (None, Some(resource), None) => {
            let resource = ResourceId::parse(&resource);
            let resource = resource.map_err(|why| Refused::bad_argument(format!("resource: {why}")))?;
            (Revoked::Resource(resource), issuers.longest_use_seconds(|_every| true))
        }
        (None, None, Some(isv)) => {
            let isv = Name::parse(&isv).map_err(|_not_one| accounts::unknown())?;
            asked.snapshot.account_named(&isv).ok_or_else(accounts::unknown)?;
            // LimitedAccessTokens are this gateway's own, and live no longer than its service tokens may.
            (Revoked::Isv(isv), issuers.longest_use_seconds(|issuer| *issuer.who() == TokenIssuer::Own))
        }
        (None, None, None) | (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(Refused::bad_argument(format!("want {want}")));
        }
    };
    let issued_before = issued_before.unwrap_or(asked.now);
    if issued_before > asked.now.plus(FARTHEST_AHEAD_SECONDS) {
        return Err(Refused::bad_argument("issuedBefore: want seconds since 1970, at most a day ahead"));
    }
    let why = why.unwrap_or_default();
    if why.chars().count() > LONGEST_WHY {
        return Err(Refused::bad_argument("why: want at most 1024 characters"));
    }
    let expires = issued_before.max(asked.now).plus(longest_use);
    let wanted = RevocationRecord { revoked, issued_before, expires, why };
    let (revision, record) = manage.store.revoke(&wanted).await.map_err(|error| keys::refused(&error))?;
    let resource = match &record.revoked {
        Revoked::Jti { iss, jti } => format!("tokens/{iss}/{jti}"),
        Revoked::Resource(resource) => resource.to_string(),
        Revoked::Isv(isv) => asked.resource_of(&Owner::Account(isv.clone())),
    };
    let detail = json!({ "issued_before": record.issued_before, "why": record.why });
    manage.record(asked, Act::Revoke, resource, detail).await?;
    manage.in_force(revision).await?;
    Ok(reply::json(StatusCode::CREATED, &body(&record)))
}

fn one(issuers: &management::Management, Object(token): Object<Token>) -> Result<(Revoked, u64), Refused> {
    let Token { issuer: iss, jti } = token;
    if jti.is_empty() {
        return Err(Refused::bad_argument("token.jti: want the `jti` of a token"));
    }
    // Taken for a name it would cut nothing off, and stand in the store and the audit log.
    if jti.starts_with("eyJ") && jti.contains('.') {
        return Err(Refused::bad_argument("token.jti: want the `jti` of a token, not the token itself"));
    }
    if !issuers.issuers.iter().any(|issuer| issuer.issuer() == iss) {
        let known: Vec<&str> = issuers.issuers.iter().map(|issuer| issuer.issuer()).collect();
        return Err(Refused::bad_argument(format!("token.issuer: want one of {}", known.join(", "))));
    }
    let longest_use = issuers.longest_use_seconds(|issuer| issuer.issuer() == iss);
    Ok((Revoked::Jti { iss, jti }, longest_use))
}

fn body(record: &RevocationRecord) -> Value {
    let (kind, what) = match &record.revoked {
        Revoked::Jti { iss, jti } => ("token", json!({ "issuer": iss, "jti": jti })),
        Revoked::Resource(resource) => ("resource", json!(resource.as_str())),
        Revoked::Isv(isv) => ("isv", json!(isv)),
    };
    json!({
        "id": record_key::hex(&record.revoked.digest()),
        kind: what,
        "issuedBefore": record.issued_before,
        "expires": record.expires,
        "why": record.why,
    })
}
