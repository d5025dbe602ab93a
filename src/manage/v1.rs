//! Azure ML's v1 API, "MMS": what azureml-core speaks.

use http::HeaderValue;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::config::Auth;
use crate::config::Platform;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::auth_mode;
use crate::manage::keys;
use crate::manage::object::Object;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::manage::routes::V1;
use crate::snapshot::service::Service;

const BOTH_AT_DEPLOY: &str = "Invalid configuration, auth_enabled and token_auth_enabled cannot both be true.";

/// Answers a call.
///
/// # Errors
/// [`Refused`].
pub(super) async fn answer(manage: &Management, call: V1, asked: &Asked<'_>) -> Result<Reply, Refused> {
    match call {
        V1::List => Ok(list(manage, asked)),
        V1::Get => {
            let service = keys::service(asked.snapshot, asked)?;
            Ok(reply::json(StatusCode::OK, &body(manage, service, asked)))
        }
        V1::Deploy => Err(deploy(asked.body)),
        V1::Validate => Ok(reply::json(StatusCode::OK, &json!({}))),
        V1::Patch => auth_mode::patch(manage, asked).await,
        V1::Delete => match keys::service(asked.snapshot, asked) {
            Ok(_) => Err(Refused::conflict("gateway.yaml owns this service; take it out there")),
            Err(_absent) => Ok(reply::empty(StatusCode::NO_CONTENT)),
        },
        V1::ListKeys => {
            let keys = keys::list(manage, asked).await?;
            let document = json!({ "primaryKey": keys.primary.expose(), "secondaryKey": keys.secondary.expose() });
            Ok(reply::json(StatusCode::OK, &document))
        }
        V1::RegenerateKeys => {
            keys::regenerate(manage, asked).await?;
            accepted(manage, asked)
        }
        V1::Token => Ok(keys::token(manage, asked).await?.reply()),
        V1::Operation => operation(manage, asked),
    }
}

/// The change has been made; azureml-core polls for it all the same, by the last segment of this URL.
fn accepted(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let id = manage.operations().succeeded();
    let id = id.map_err(|_no_randomness| Refused::unavailable("the system gave no random bytes"))?;
    let workspace = asked.snapshot.management.workspace.as_str().trim_end_matches('/');
    let location = format!("{}/modelmanagement/v1.0{workspace}/operations/{id}", asked.base);
    let mut accepted = reply::empty(StatusCode::ACCEPTED);
    let location = HeaderValue::try_from(location)
        .map_err(|_bytes| Refused::unavailable("the workspace in gateway.yaml fits into no header"))?;
    accepted.headers_mut().insert("operation-location", location);
    Ok(accepted)
}

fn operation(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let id = asked.name.unwrap_or_default();
    if !manage.operations().knows(id) {
        return Err(Refused::not_found("there is no such operation here"));
    }
    Ok(reply::json(StatusCode::OK, &json!({ "id": id, "operationType": "Service", "state": "Succeeded" })))
}

fn list(manage: &Management, asked: &Asked<'_>) -> Reply {
    let mut parameters = asked.query.unwrap_or_default().split('&').filter_map(|parameter| parameter.split_once('='));
    let wanted = parameters.find(|(name, _)| name.eq_ignore_ascii_case("computeType")).map(|(_, value)| value);
    let services = asked.snapshot.services.iter().filter(|service| {
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(compute_type(service.settings.platform)))
    });
    let bodies: Vec<Value> = services.map(|service| body(manage, service, asked)).collect();
    // No nextLink: azureml-core would follow even null.
    reply::json(StatusCode::OK, &json!({ "value": bodies }))
}

const fn compute_type(platform: Platform) -> &'static str {
    match platform {
        Platform::Aks => "AKS",
        Platform::Aci => "ACI",
    }
}

/// A service as azureml-core reads it: nothing may be missing, and what it would crash on (`imageDetails`,
/// `updatedTime`) is left out.
pub(super) fn body(manage: &Management, service: &Service, asked: &Asked<'_>) -> Value {
    let settings = &service.settings;
    let scoring_uri = manage.scoring_uri(settings, asked);
    let milliseconds = u64::try_from(settings.timeouts.response.as_millis()).unwrap_or(u64::MAX);
    let mut body = json!({
        "id": settings.name,
        "name": settings.name,
        "description": "",
        "kvTags": {},
        "properties": {},
        "createdTime": manage.started,
        "computeType": compute_type(settings.platform),
        "appInsightsEnabled": false,
        "authEnabled": matches!(settings.auth, Auth::Key(_)),
        "scoringUri": scoring_uri,
        "state": if service.quarantined.is_some() { "Unhealthy" } else { "Healthy" },
    });
    let of_platform = match settings.platform {
        Platform::Aks => json!({
            "aadAuthEnabled": matches!(settings.auth, Auth::Token(_)),
            "computeName": "scoregate",
            "numReplicas": 1,
            "maxConcurrentRequestsPerContainer": 1,
            "maxQueueWaitMs": 500,
            "scoringTimeoutMs": milliseconds,
            "livenessProbeRequirements": null,
            "autoScaler": {
                "autoscaleEnabled": false,
                "minReplicas": 1,
                "maxReplicas": 1,
                "targetUtilization": 70,
                "refreshPeriodInSeconds": 1,
            },
            "containerResourceRequirements": {
                "cpu": 0.1,
                "cpuLimit": 0.1,
                "memoryInGB": 0.5,
                "memoryInGBLimit": 0.5,
                "gpu": 0,
            },
            "dataCollection": { "storageEnabled": false, "eventHubEnabled": false },
        }),
        Platform::Aci => json!({
            "cname": "",
            "location": "local",
            "publicIp": "",
            "sslCertificate": null,
            "sslEnabled": scoring_uri.starts_with("https:"),
            "sslKey": null,
            "containerResourceRequirements": { "cpu": 0.1, "memoryInGB": 0.5 },
        }),
    };
    if let (Value::Object(body), Value::Object(more)) = (&mut body, of_platform) {
        body.extend(more);
    }
    body
}

/// What matters of a deployment: whether it makes sense at all.
#[derive(Deserialize)]
struct Deployment {
    #[serde(rename = "authEnabled", default)]
    key: Option<bool>,
    #[serde(rename = "aadAuthEnabled", default)]
    token: Option<bool>,
}

fn deploy(body: &[u8]) -> Refused {
    match serde_json::from_slice::<Object<Deployment>>(body) {
        Ok(Object(Deployment { key: Some(true), token: Some(true) })) => Refused::bad_argument(BOTH_AT_DEPLOY),
        Ok(_) => Refused::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "scoregate stands in front of services and deploys none; start the server, then add it to gateway.yaml",
        ),
        Err(_quotes_body) => Refused::bad_argument("want the description of a service, a JSON object"),
    }
}
