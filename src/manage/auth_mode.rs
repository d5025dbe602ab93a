//! Changing how a service is called, as azureml-core's `update` asks for it: a JSON Patch of two flags.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::config;
use crate::config::Auth;
use crate::config::AuthMode;
use crate::config::Platform;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::keys;
use crate::manage::object::Object;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::manage::v1;
use crate::observe::audit::Act;

const BOTH: &str = "Error, cannot set both token_auth_enabled and auth_enabled.";
const TOKEN_BESIDE_KEY: &str =
    "Error, cannot set token_auth_enabled without disabling key auth (set auth_enabled to False).";
const KEY_BESIDE_TOKEN: &str =
    "Error, cannot set auth_enabled without disabling token auth (set token_auth_enabled to False).";
const NO_TOKENS_ON_ACI: &str = "ACI webservices do not support Token Authentication.";
const NEITHER: &str =
    "want one of authEnabled and aadAuthEnabled to stay true: nothing here opens a service to everybody";

/// One change of a JSON Patch (RFC 6902).
#[derive(Deserialize)]
struct Change {
    op: String,
    path: String,
    #[serde(default)]
    value: Value,
}

/// azureml-core tells with every update, unasked, of the git checkout that its user happens to be in.
const OF_THE_CHECKOUT: [&str; 2] = ["/properties/azureml.git.", "/properties/mlflow.source.git."];

/// What a patch asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Wanted {
    key: Option<bool>,
    token: Option<bool>,
    /// Something that no patch changes.
    other: Option<String>,
}

/// Puts a service in another mode, and returns it once the mode is in force.
///
/// # Errors
/// 404; 400 for what no service could be, in Azure's words; 409 for what `gateway.yaml` owns; 503.
pub(super) async fn patch(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let service = &keys::service(asked.snapshot, asked)?.settings;
    if let Some(mode) = mode(service, &wanted(asked.body)?)? {
        let set = manage.store.set_auth_mode(&service.name, mode, asked.now).await;
        let revision = set.map_err(|error| keys::refused(&error))?;
        let resource = format!("services/{}", asked.name.unwrap_or_default());
        manage.record(asked, Act::ChangeAuthMode, resource, json!({ "mode": mode.as_str() })).await?;
        manage.in_force(revision).await?;
    }
    let snapshot = manage.live.load();
    let service = keys::service(&snapshot, asked)?;
    Ok(reply::json(StatusCode::OK, &v1::body(manage, service, asked)))
}

fn wanted(body: &[u8]) -> Result<Wanted, Refused> {
    let Ok(changes) = serde_json::from_slice::<Vec<Object<Change>>>(body) else {
        return Err(Refused::bad_argument("want a JSON Patch (RFC 6902): a list of {op, path, value}"));
    };
    let mut wanted = Wanted::default();
    for Object(Change { op, path, value }) in changes {
        let flag = match path.as_str() {
            "/authEnabled" => &mut wanted.key,
            "/aadAuthEnabled" => &mut wanted.token,
            _ if OF_THE_CHECKOUT.iter().any(|prefix| path.starts_with(prefix)) => continue,
            _ => {
                wanted.other = Some(path);
                continue;
            }
        };
        match (op.as_str(), value) {
            ("replace" | "add", Value::Bool(value)) => *flag = Some(value),
            _ => return Err(Refused::bad_argument(format!("want {path} to be replaced by true or false"))),
        }
    }
    Ok(wanted)
}

/// The mode that a patch chooses, if it chooses one. What no service could be is refused before who owns it is told.
fn mode(service: &config::Service, wanted: &Wanted) -> Result<Option<AuthMode>, Refused> {
    let (is_key, is_token) = (matches!(service.auth, Auth::Key(_)), matches!(service.auth, Auth::Token(_)));
    match (wanted.key, wanted.token) {
        (Some(true), Some(true)) => return Err(Refused::bad_argument(BOTH)),
        (_, Some(true)) if service.platform == Platform::Aci => return Err(Refused::bad_argument(NO_TOKENS_ON_ACI)),
        (None, Some(true)) if is_key => return Err(Refused::bad_argument(TOKEN_BESIDE_KEY)),
        (Some(true), None) if is_token => return Err(Refused::bad_argument(KEY_BESIDE_TOKEN)),
        (Some(_) | None, Some(_) | None) => {}
    }
    let name = &service.name;
    if service.managed.is_none() {
        return Err(Refused::conflict(if wanted.key.is_none() && wanted.token.is_none() {
            "gateway.yaml owns this service; change it there".to_owned()
        } else {
            format!(
                "gateway.yaml owns how this service is called; change services.{name}.auth there, or let it be changed \
                 here by services.{name}.managed"
            )
        }));
    }
    if let Some(path) = &wanted.other {
        return Err(Refused::conflict(format!("gateway.yaml owns {path} of this service; nothing was changed")));
    }
    if wanted.key.is_none() && wanted.token.is_none() {
        return Ok(None);
    }
    match (wanted.key.unwrap_or(is_key), wanted.token.unwrap_or(is_token)) {
        (true, false) => Ok(Some(AuthMode::Key)),
        (false, true) => Ok(Some(AuthMode::Token)),
        (false, false) => Err(Refused::bad_argument(NEITHER)),
        (true, true) => Err(Refused::bad_argument(BOTH)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::mode;
    use super::wanted;
    use crate::config::AuthMode;
    use crate::config::Config;

    const CONFIG: &str = "\
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
services:
  aci: {upstream: model, platform: aci, auth: {key: {}}}
  fixed: {upstream: model, auth: {key: {}}}
  key: {upstream: model, auth: {key: {}}, managed: true}
  token: {upstream: model, auth: {token: {}}, managed: true}
";

    #[test]
    fn a_patch_chooses_exactly_one_mode_or_is_refused() {
        let config = Config::read(CONFIG).unwrap();
        let set = |path: &str, value: Value| json!({ "op": "replace", "path": path, "value": value });
        let key = |value: bool| set("/authEnabled", value.into());
        let token = |value: bool| set("/aadAuthEnabled", value.into());
        let tags = || set("/kvTags", json!({ "a": "b" }));
        let told = |property: &str| json!({ "op": "add", "path": format!("/properties/{property}"), "value": "x" });
        let [to_key, to_token] = [Ok(Some(AuthMode::Key)), Ok(Some(AuthMode::Token))];
        for (name, patch, want) in [
            ("key", json!([key(false), token(true)]), to_token),
            ("key", json!([token(true), key(false)]), to_token),
            ("key", json!([{ "op": "add", "path": "/aadAuthEnabled", "value": true }, key(false)]), to_token),
            ("key", json!([key(true), key(false), token(true)]), to_token),
            ("key", json!([key(true), token(false)]), to_key),
            ("key", json!([key(true)]), to_key),
            ("key", json!([token(false)]), to_key),
            ("token", json!([key(true), token(false)]), to_key),
            ("token", json!([token(true)]), to_token),
            ("token", json!([key(false)]), to_token),
            ("token", json!([]), Ok(None)),
            ("key", json!([key(true), token(true)]), Err(400)),
            ("key", json!([token(true)]), Err(400)),
            ("token", json!([key(true)]), Err(400)),
            ("key", json!([key(false)]), Err(400)),
            ("token", json!([token(false)]), Err(400)),
            ("token", json!([key(false), token(false)]), Err(400)),
            ("key", json!([set("/authEnabled", Value::Null)]), Err(400)),
            ("key", json!([set("/authEnabled", "false".into())]), Err(400)),
            ("key", json!([{ "op": "remove", "path": "/authEnabled" }]), Err(400)),
            ("key", json!([{ "path": "/authEnabled", "value": true }]), Err(400)),
            ("key", json!({ "authEnabled": false }), Err(400)),
            ("key", json!([["replace", "/authEnabled", false], ["replace", "/aadAuthEnabled", true]]), Err(400)),
            ("key", json!([key(false), token(true), told("azureml.git.dirty")]), to_token),
            ("key", json!([key(false), token(true), told("mlflow.source.git.commit")]), to_token),
            ("key", json!([told("azureml.git.branch")]), Ok(None)),
            ("key", json!([key(false), token(true), told("azureml.gitlike")]), Err(409)),
            ("key", json!([key(false), token(true), tags()]), Err(409)),
            ("key", json!([tags()]), Err(409)),
            ("fixed", json!([key(false), token(true)]), Err(409)),
            ("fixed", json!([token(true)]), Err(400)),
            ("fixed", json!([]), Err(409)),
            ("aci", json!([key(false), token(true)]), Err(400)),
            ("aci", json!([key(false)]), Err(409)),
        ] {
            let got = wanted(patch.to_string().as_bytes()).and_then(|wanted| mode(&config.services[name], &wanted));
            assert_eq!(got.map_err(|refused| refused.status.as_u16()), want, "{name} {patch}");
        }
    }
}
