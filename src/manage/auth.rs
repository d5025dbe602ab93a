//! Who is calling the management plane: the holder of one of its keys.

use http::HeaderMap;
use http::StatusCode;
use http::header::AUTHORIZATION;

use crate::manage::reply::Refused;
use crate::manage::routes::Access;
use crate::model::digest::Digest;
use crate::snapshot::management::Management;
use crate::snapshot::management::Operator;

/// Finds the holder of the key that a request shows.
///
/// # Errors
/// 401, the same for a key that is nobody's as for none.
pub(super) fn holder<'s>(keys: &'s Management, headers: &HeaderMap) -> Result<&'s Operator, Refused> {
    let message = "want `Authorization: Bearer <management key>`; the key of a service or an account is none";
    let refused = || Refused::new(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(refused()) };
    let (scheme, key) = line.to_str().ok().and_then(|line| line.split_once(' ')).ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() {
        return Err(refused());
    }
    keys.holder(&Digest::of(key.as_bytes())).ok_or_else(refused)
}

/// Holds a caller's role against what a call needs.
///
/// # Errors
/// 403.
pub(super) fn covers(operator: &Operator, access: Access) -> Result<(), Refused> {
    match access {
        Access::From(needed) if operator.role < needed => {
            let (has, needed) = (operator.role.as_str(), needed.as_str());
            let message = format!("this call needs the role {needed}; the management key's role is {has}");
            Err(Refused::new(StatusCode::FORBIDDEN, "Forbidden", message))
        }
        Access::From(_) | Access::Anyone => Ok(()),
    }
}
