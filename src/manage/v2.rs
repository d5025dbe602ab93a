//! Azure ML's v2 API: what azure-ai-ml speaks. It knows no public endpoints, so those are left out.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::config::Auth;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::keys;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::manage::routes::V2;
use crate::snapshot::service::Service;

/// Answers a call.
///
/// # Errors
/// [`Refused`].
pub(super) async fn answer(manage: &Management, call: V2, asked: &Asked<'_>) -> Result<Reply, Refused> {
    match call {
        V2::List => {
            let all = asked.snapshot.services.iter();
            let bodies: Vec<Value> = all.filter_map(|service| body(manage, service, asked)).collect();
            Ok(reply::json(StatusCode::OK, &json!({ "value": bodies })))
        }
        V2::Get => Ok(reply::json(StatusCode::OK, &endpoint(manage, asked)?)),
        V2::Deployments => {
            endpoint(manage, asked)?;
            Ok(reply::json(StatusCode::OK, &json!({ "value": [] })))
        }
        V2::ListKeys => {
            let keys = keys::list(manage, asked).await?;
            let document = json!({ "primaryKey": keys.primary.expose(), "secondaryKey": keys.secondary.expose() });
            Ok(reply::json(StatusCode::OK, &document))
        }
        V2::RegenerateKeys => {
            keys::regenerate(manage, asked).await?;
            Ok(reply::empty(StatusCode::OK))
        }
        V2::Token => {
            let granted = keys::token(manage, asked).await?;
            let document = json!({
                "accessToken": granted.jwt.expose(),
                "tokenType": "Bearer",
                "refreshAfterTimeUtc": granted.refresh_after,
                "expiryTimeUtc": granted.expires,
            });
            Ok(reply::json(StatusCode::OK, &document))
        }
    }
}

fn endpoint(manage: &Management, asked: &Asked<'_>) -> Result<Value, Refused> {
    let service = keys::service(asked.snapshot, asked)?;
    body(manage, service, asked)
        .ok_or_else(|| Refused::not_found("the service is public, which this API has no word for; the v1 API shows it"))
}

/// A service as azure-ai-ml reads it; `None` for a public one. `systemData` would have to be whole, so it is left out.
fn body(manage: &Management, service: &Service, asked: &Asked<'_>) -> Option<Value> {
    let settings = &service.settings;
    let auth_mode = match &settings.auth {
        Auth::Key(_) => "Key",
        Auth::Token(_) => "AMLToken",
        Auth::Public { .. } => return None,
    };
    let name = &settings.name;
    let workspace = asked.snapshot.management.workspace.as_str().trim_end_matches('/');
    let scoring_uri = manage.scoring_uri(settings, asked);
    let swagger_uri = scoring_uri.rsplit_once('/').map(|(above, _)| format!("{above}/swagger.json"));
    Some(json!({
        "id": format!("{workspace}/onlineEndpoints/{name}"),
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        "location": "local",
        "tags": {},
        "kind": "Managed",
        "properties": {
            "authMode": auth_mode,
            "scoringUri": scoring_uri,
            "swaggerUri": swagger_uri,
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "properties": {},
            "traffic": {},
            "mirrorTraffic": {},
        },
    }))
}
