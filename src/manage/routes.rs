//! Every call that the management plane answers: one table, a row each.

use http::Method;

use crate::config::Role;
use crate::model::resource::ResourceId;
use crate::model::slot::Slot;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody: nothing in the answer is anybody's.
    Anyone,
    /// This role, and those above it.
    From(Role),
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Page,
    Discovery,
    Jwks,
    OpenIdConfiguration,
    V1(V1),
    V2(V2),
    Native(Native),
}

/// Calls of Azure ML's v1 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum V1 {
    List,
    Get,
    Deploy,
    Validate,
    Patch,
    Delete,
    ListKeys,
    RegenerateKeys,
    Token,
    Operation,
}

/// Calls of Azure ML's v2 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum V2 {
    List,
    Get,
    Deployments,
    ListKeys,
    RegenerateKeys,
    Token,
}

/// Calls of the project's own API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Native {
    OpenApi,
    Gateway,
    EveryKeys,
    Keys(Kind),
    ListKeys(Kind),
    RegenerateKey(Kind),
    Token,
    Accounts,
    CreateAccount,
    Account,
    ChangeAccount,
    RemoveAccount,
    Revocations,
    Revoke,
    SigningKeys,
    RotateSigningKey,
    Audit,
    Overview,
    Decisions,
    Decision,
}

/// Whose keys a call of the project's own API is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Account,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// `{workspace}` stands for the eight segments of a workspace's identifier, `{name}` for any one, `{slot}` for
    /// `primary` or `secondary`.
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) call: Call,
}

const fn row(method: Method, path: &'static str, access: Access, call: Call) -> Route {
    Route { method, path, access, call }
}

const READER: Access = Access::From(Role::Reader);
const OPERATOR: Access = Access::From(Role::Operator);
const OWNER: Access = Access::From(Role::Owner);

/// The table. Of rows that fit a request the first one decides.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    row(Method::GET, "/", Access::Anyone, Call::Page),
    row(Method::GET, "/dashboard/{name}", Access::Anyone, Call::Page),
    row(Method::GET, "/discovery", Access::Anyone, Call::Discovery),
    row(Method::GET, "/.well-known/jwks.json", Access::Anyone, Call::Jwks),
    row(Method::GET, "/.well-known/openid-configuration", Access::Anyone, Call::OpenIdConfiguration),
    row(Method::GET, "/modelmanagement/v1.0/{workspace}/services", READER, Call::V1(V1::List)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services", OWNER, Call::V1(V1::Deploy)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services/validate", OPERATOR, Call::V1(V1::Validate)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services/validate/name/{name}", OPERATOR, Call::V1(V1::Validate)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services/validate/resource", OPERATOR, Call::V1(V1::Validate)),
    row(Method::GET, "/modelmanagement/v1.0/{workspace}/services/{name}", READER, Call::V1(V1::Get)),
    row(Method::PATCH, "/modelmanagement/v1.0/{workspace}/services/{name}", OPERATOR, Call::V1(V1::Patch)),
    row(Method::DELETE, "/modelmanagement/v1.0/{workspace}/services/{name}", OWNER, Call::V1(V1::Delete)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services/{name}/listkeys", OPERATOR, Call::V1(V1::ListKeys)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services/{name}/regenerateKeys", OPERATOR, Call::V1(V1::RegenerateKeys)),
    row(Method::POST, "/modelmanagement/v1.0/{workspace}/services/{name}/token", READER, Call::V1(V1::Token)),
    row(Method::GET, "/modelmanagement/v1.0/{workspace}/operations/{name}", READER, Call::V1(V1::Operation)),
    row(Method::GET, "/{workspace}/onlineEndpoints", READER, Call::V2(V2::List)),
    row(Method::GET, "/{workspace}/onlineEndpoints/{name}", READER, Call::V2(V2::Get)),
    row(Method::GET, "/{workspace}/onlineEndpoints/{name}/deployments", READER, Call::V2(V2::Deployments)),
    row(Method::POST, "/{workspace}/onlineEndpoints/{name}/listKeys", OPERATOR, Call::V2(V2::ListKeys)),
    row(Method::POST, "/{workspace}/onlineEndpoints/{name}/regenerateKeys", OPERATOR, Call::V2(V2::RegenerateKeys)),
    row(Method::POST, "/{workspace}/onlineEndpoints/{name}/token", READER, Call::V2(V2::Token)),
    row(Method::GET, "/api/v1/openapi.yaml", Access::Anyone, Call::Native(Native::OpenApi)),
    row(Method::GET, "/api/v1/gateway", READER, Call::Native(Native::Gateway)),
    row(Method::GET, "/api/v1/keys", READER, Call::Native(Native::EveryKeys)),
    row(Method::GET, "/api/v1/services/{name}/keys", READER, Call::Native(Native::Keys(Kind::Service))),
    row(Method::POST, "/api/v1/services/{name}/keys/list", OPERATOR, Call::Native(Native::ListKeys(Kind::Service))),
    row(Method::POST, "/api/v1/services/{name}/keys/{slot}/regenerate", OPERATOR, Call::Native(Native::RegenerateKey(Kind::Service))),
    row(Method::POST, "/api/v1/services/{name}/token", READER, Call::Native(Native::Token)),
    row(Method::GET, "/api/v1/accounts/{name}/keys", READER, Call::Native(Native::Keys(Kind::Account))),
    row(Method::POST, "/api/v1/accounts/{name}/keys/list", OPERATOR, Call::Native(Native::ListKeys(Kind::Account))),
    row(Method::POST, "/api/v1/accounts/{name}/keys/{slot}/regenerate", OPERATOR, Call::Native(Native::RegenerateKey(Kind::Account))),
    row(Method::GET, "/api/v1/accounts", READER, Call::Native(Native::Accounts)),
    row(Method::POST, "/api/v1/accounts", OWNER, Call::Native(Native::CreateAccount)),
    row(Method::GET, "/api/v1/accounts/{name}", READER, Call::Native(Native::Account)),
    row(Method::PATCH, "/api/v1/accounts/{name}", OWNER, Call::Native(Native::ChangeAccount)),
    row(Method::DELETE, "/api/v1/accounts/{name}", OWNER, Call::Native(Native::RemoveAccount)),
    row(Method::GET, "/api/v1/revocations", READER, Call::Native(Native::Revocations)),
    row(Method::POST, "/api/v1/revocations", OWNER, Call::Native(Native::Revoke)),
    row(Method::GET, "/api/v1/signing-keys", READER, Call::Native(Native::SigningKeys)),
    row(Method::POST, "/api/v1/signing-keys/rotate", OWNER, Call::Native(Native::RotateSigningKey)),
    row(Method::GET, "/api/v1/audit", OWNER, Call::Native(Native::Audit)),
    row(Method::GET, "/api/v1/overview", READER, Call::Native(Native::Overview)),
    row(Method::GET, "/api/v1/decisions", READER, Call::Native(Native::Decisions)),
    row(Method::GET, "/api/v1/decisions/{name}", READER, Call::Native(Native::Decision)),
];

/// A request that a row fits.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) route: &'static Route,
    pub(super) at: Placed,
}

/// What stands at the placeholders of a row.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The workspace in the path, where the row has one.
    pub(super) workspace: Option<ResourceId>,
    /// What stands at `{name}`, decoded once.
    pub(super) name: Option<String>,
    /// What stands at `{slot}`.
    pub(super) slot: Option<Slot>,
}

/// Why no row fits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// No row has this path.
    Path,
    /// Rows have this path, with these methods.
    Method(Vec<Method>),
}

/// Segments of a workspace's identifier: `subscriptions`, its value, and so on to the workspace's name.
const WORKSPACE_SEGMENTS: usize = 8;

/// Finds the row for a request; `HEAD` is answered as `GET`.
///
/// # Errors
/// [`NotFound`], each variant as it says.
pub(super) fn find(method: &Method, path: &str) -> Result<Found, NotFound> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut methods = Vec::new();
    for route in ROUTES {
        let Some(at) = fits(route.path, path) else { continue };
        if route.method == *method {
            return Ok(Found { route, at });
        }
        methods.push(route.method.clone());
    }
    Err(if methods.is_empty() { NotFound::Path } else { NotFound::Method(methods) })
}

/// What stands at the placeholders of a template. Letter case of the rest does not matter, as in Azure.
fn fits(template: &str, path: &str) -> Option<Placed> {
    let mut rest: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    rest.reverse();
    let mut at = Placed::default();
    for wanted in template.strip_prefix('/')?.split('/') {
        match wanted {
            "{workspace}" => {
                let first = rest.len().checked_sub(WORKSPACE_SEGMENTS)?;
                let segments: Vec<&str> = rest.drain(first..).rev().collect();
                if !segments.first()?.eq_ignore_ascii_case("subscriptions") {
                    return None;
                }
                at.workspace = Some(ResourceId::parse(&format!("/{}", segments.join("/"))).ok()?);
            }
            // One segment is an identifier as well: decoded once, nothing hidden in it. Letter case stays.
            "{name}" => {
                let written = rest.pop()?;
                ResourceId::parse(&format!("/{written}")).ok()?;
                at.name = Some(written.to_owned());
            }
            "{slot}" => {
                let written = rest.pop()?;
                at.slot = Some(Slot::ALL.into_iter().find(|slot| written.eq_ignore_ascii_case(slot.as_str()))?);
            }
            literal => {
                if !rest.pop()?.eq_ignore_ascii_case(literal) {
                    return None;
                }
            }
        }
    }
    rest.is_empty().then_some(at)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::Call;
    use super::Kind;
    use super::Native;
    use super::NotFound;
    use super::V1;
    use super::V2;
    use super::find;

    const WORKSPACE: &str =
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.MachineLearningServices/workspaces/w";

    #[test]
    fn a_path_is_found_by_its_row_and_by_no_other() {
        let v1 = format!("/modelmanagement/v1.0{WORKSPACE}");
        for (method, path, want) in [
            (Method::GET, format!("{v1}/services"), Some(Call::V1(V1::List))),
            (Method::GET, format!("{v1}/services/iris"), Some(Call::V1(V1::Get))),
            (Method::HEAD, format!("{v1}/services/iris"), Some(Call::V1(V1::Get))),
            (Method::POST, format!("{v1}/services/iris/listkeys"), Some(Call::V1(V1::ListKeys))),
            (Method::POST, format!("{v1}/services/iris/listKeys"), Some(Call::V1(V1::ListKeys))),
            (Method::POST, format!("{v1}/services/validate"), Some(Call::V1(V1::Validate))),
            (Method::GET, format!("{v1}/services/validate"), Some(Call::V1(V1::Get))),
            (Method::POST, format!("{v1}/services/validate/name/iris"), Some(Call::V1(V1::Validate))),
            (Method::POST, format!("{WORKSPACE}/onlineEndpoints/iris/listKeys"), Some(Call::V2(V2::ListKeys))),
            (
                Method::POST,
                format!("{}/onlineendpoints/iris/listkeys", WORKSPACE.to_lowercase()),
                Some(Call::V2(V2::ListKeys)),
            ),
            (Method::GET, "/api/v1/accounts/keys".to_owned(), Some(Call::Native(Native::Account))),
            (
                Method::POST,
                "/api/v1/services/iris/keys/Primary/regenerate".to_owned(),
                Some(Call::Native(Native::RegenerateKey(Kind::Service))),
            ),
            (Method::POST, "/api/v1/services/iris/keys/tertiary/regenerate".to_owned(), None),
            (Method::POST, "/api/v1/services/iris/keys//regenerate".to_owned(), None),
            (Method::GET, format!("{v1}/services/iris/"), None),
            (Method::GET, format!("{v1}/services/"), None),
            (Method::GET, format!("{v1}/services/a%2Fb"), None),
            (Method::GET, format!("{v1}/services/.."), None),
            (Method::GET, format!("{v1}//services"), None),
            (Method::GET, format!("{WORKSPACE}/services"), None),
            (Method::GET, "/modelmanagement/v1.0/services".to_owned(), None),
            (Method::GET, "/modelmanagement/v1.0/a/s/b/rg/c/d/e/w/services".to_owned(), None),
            (Method::GET, "/discovery/".to_owned(), None),
            (Method::GET, "/".to_owned(), Some(Call::Page)),
            (Method::GET, "/dashboard/app.js".to_owned(), Some(Call::Page)),
            (Method::GET, "/dashboard/".to_owned(), None),
            (Method::GET, "//".to_owned(), None),
            (Method::GET, String::new(), None),
        ] {
            let got = find(&method, &path).ok().map(|found| found.route.call);
            assert_eq!(got, want, "{method} {path}");
        }
    }

    #[test]
    fn another_method_is_told_those_that_are_taken() {
        let path = format!("/modelmanagement/v1.0{WORKSPACE}/services/iris");
        let refused = find(&Method::PUT, &path).unwrap_err();
        assert_eq!(refused, NotFound::Method(vec![Method::GET, Method::PATCH, Method::DELETE]));
    }
}
