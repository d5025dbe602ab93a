//! Who is calling the management plane: the holder of one of its keys, or the subject of a foreign issuer's token.

use http::HeaderMap;
use http::StatusCode;
use http::header::AUTHORIZATION;

use crate::config::Role;
use crate::manage::reply::Refused;
use crate::manage::routes::Access;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::time::UnixSeconds;
use crate::snapshot::management::Management;
use crate::tokens::issuer::Rejected;

/// Somebody who may manage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The name of the key, or issuer and subject of the token.
    pub(super) name: String,
    pub(super) role: Role,
}

/// Why a caller is not known.
#[derive(Debug)]
pub(super) enum Unknown {
    /// It cannot be.
    Refused(Refused),
    /// This issuer's keys have to be fetched before its token can be judged.
    KeysWanted(Name),
}

/// Finds out who calls.
///
/// # Errors
/// 401, the same for a key that is nobody's as for none; 403 for a good token without a role.
pub(super) fn caller(keys: &Management, headers: &HeaderMap, now: UnixSeconds) -> Result<Caller, Unknown> {
    let presented = bearer(headers).ok_or_else(unauthorized)?;
    if let Some(operator) = keys.holder(&Digest::of(presented.as_bytes())) {
        return Ok(Caller { name: operator.name.as_str().to_owned(), role: operator.role });
    }
    let mut is_good = false;
    for door in &keys.doors {
        match door.verifier.verify(presented, now) {
            Ok(token) => {
                return Ok(Caller { name: format!("{}/{}", token.issuer, token.subject), role: door.role });
            }
            Err(Rejected::IssuerUnavailable(issuer) | Rejected::UnknownKey(issuer)) => {
                return Err(Unknown::KeysWanted(issuer));
            }
            // The claim is judged last: all the rest is right.
            Err(Rejected::Denied(why)) => is_good |= why == Denied::TokenClaim,
        }
    }
    if is_good {
        let message = "the token is valid, and has no role on the management plane";
        return Err(Unknown::Refused(Refused::new(StatusCode::FORBIDDEN, "Forbidden", message)));
    }
    Err(unauthorized())
}

fn unauthorized() -> Unknown {
    let message = "want `Authorization: Bearer <management key>`; the key of a service or an account is none";
    Unknown::Refused(Refused::new(StatusCode::UNAUTHORIZED, "Unauthorized", message))
}

/// The one credential of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, presented) = line.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !presented.is_empty()).then_some(presented)
}

/// Holds a caller's role against what a call needs.
///
/// # Errors
/// 403.
pub(super) fn covers(caller: &Caller, access: Access) -> Result<(), Refused> {
    match access {
        Access::From(needed) if caller.role < needed => {
            let (has, needed) = (caller.role.as_str(), needed.as_str());
            let message = format!("this call needs the role {needed}; the caller's role is {has}");
            Err(Refused::new(StatusCode::FORBIDDEN, "Forbidden", message))
        }
        Access::From(_) | Access::Anyone => Ok(()),
    }
}
