//! What the demonstration prints: curl lines with a sentence each, or one JSON object.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use crate::model::resource::ResourceId;
use crate::model::secret::Secret;
use crate::snapshot::compile::ISSUE_PATH;
use crate::store::slots::Keys;

/// What the story is told with.
#[derive(Debug)]
pub(super) struct Props {
    pub(super) traffic: String,
    pub(super) management: String,
    pub(super) health: String,
    pub(super) workspace: String,
    pub(super) management_token: Secret<String>,
    pub(super) key_service: Keys,
    pub(super) token: Secret<String>,
    pub(super) vendor: Account,
    pub(super) client: Account,
    pub(super) limited_access_token: Secret<String>,
    pub(super) configuration: PathBuf,
    pub(super) management_key_file: PathBuf,
}

/// A caller of the Face-like service.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) keys: Keys,
    pub(super) resource: ResourceId,
}

const ROW: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2], [6.5, 3.0, 5.5, 2.0]]}"#;
const JSON: &str = "-H 'Content-Type: application/json'";
const FACES: &str = r#"{"largePersonGroupId": "staff", "faceIds": ["c5c24a82-6845-8031-9d5d-978df9175426"], "maxNumOfCandidatesReturned": 1, "confidenceThreshold": 0.5}"#;

impl Props {
    /// One line of JSON, for scripts and tests.
    pub(super) fn json(&self) -> String {
        let document = json!({
            "traffic": self.traffic,
            "management": self.management,
            "health": self.health,
            "workspace": self.workspace,
            "management_token": self.management_token.expose(),
            "key_service": {
                "name": "iris",
                "scoring_uri": self.scoring_uri("iris"),
                "primary": self.key_service.primary.expose(),
                "secondary": self.key_service.secondary.expose(),
            },
            "token_service": {
                "name": "iris-token",
                "scoring_uri": self.scoring_uri("iris-token"),
                "token": self.token.expose(),
            },
            "face": {
                "endpoint": self.traffic,
                "isv_key": self.vendor.keys.primary.expose(),
                "client_key": self.client.keys.primary.expose(),
                "client_resource_id": self.client.resource.as_str(),
                "limited_access_token": self.limited_access_token.expose(),
            },
        });
        format!("{document}\n")
    }

    fn scoring_uri(&self, service: &str) -> String {
        format!("{}/api/v1/service/{service}/score", self.traffic)
    }

    /// The whole story.
    pub(super) fn story(&self) -> String {
        let (iris, iris_token) = (self.scoring_uri("iris"), self.scoring_uri("iris-token"));
        let primary = self.key_service.primary.expose();
        let secondary = self.key_service.secondary.expose();
        let token = self.token.expose();
        let client = self.client.keys.primary.expose();
        let limited = self.limited_access_token.expose();
        let identify = format!("{}/face/v1.0/identify", self.traffic);
        let group = format!("{}/face/v1.0/largepersongroups/staff", self.traffic);
        let json = JSON;
        let subscription = format!("-H 'Ocp-Apim-Subscription-Key: {client}'");
        let mut text = format!(
            "\
scoregate is running. Paste these into another terminal; Ctrl-C here ends the demonstration.

  traffic     {}
  management  {}
  health      {}
  config      {}

A service with key authentication: an iris classifier behind /api/v1/service/iris
",
            self.traffic,
            self.management,
            self.health,
            self.configuration.display()
        );
        let mut tell = |sentence: &str, line: &str| {
            let _cannot_fail = write!(text, "\n# {sentence}\n{line}\n");
        };
        tell(
            "Allowed: the primary key opens the service, and the model answers with a species for each row.",
            &format!("curl -s {iris} -H 'Authorization: Bearer {primary}' {json} -d '{ROW}'"),
        );
        tell(
            "Allowed: the secondary key is live at the same time, so that one can be replaced while the other serves.",
            &format!("curl -s {iris} -H 'Authorization: Bearer {secondary}' {json} -d '{ROW}'"),
        );
        tell(
            "Denied (401): no key, and the answer says what is wanted.",
            &format!("curl -si {iris} {json} -d '{ROW}'"),
        );
        tell(
            "Denied (401): a token is no key. A service takes one or the other, never both.",
            &format!("curl -si {iris} -H 'Authorization: Bearer {token}' {json} -d '{ROW}'"),
        );
        tell(
            "Allowed: the token service takes a short-lived JWT that the gateway issued for it.",
            &format!("curl -s {iris_token} -H 'Authorization: Bearer {token}' {json} -d '{ROW}'"),
        );
        tell(
            "Denied (401): a key is no token.",
            &format!("curl -si {iris_token} -H 'Authorization: Bearer {primary}' {json} -d '{ROW}'"),
        );
        tell(
            "Allowed: an ungated call of the Face-like service, with the customer's own key.",
            &format!("curl -si -X PUT {group} {subscription} {json} -d '{{\"name\": \"staff\"}}'"),
        );
        tell(
            "Denied (403): to identify is a gated feature that this customer has not been granted.",
            &format!("curl -si {identify} {subscription} {json} -d '{FACES}'"),
        );
        tell(
            "Allowed: the same call with a LimitedAccessToken that the vendor lent to this customer's resource.",
            &format!(
                "curl -si {identify} {subscription} -H 'LimitedAccessToken: Bearer {limited}' {json} -d '{FACES}'"
            ),
        );
        for (sentence, line) in self.managing(&identify) {
            tell(sentence, &line);
        }
        tell(
            "Metrics: every request above is counted, with the reasons of the refusals.",
            &format!(
                "curl -s {}/metrics | grep -E '^gateway_(http_requests|denials)_total' | grep -v ' 0$'",
                self.health
            ),
        );
        text
    }

    /// What the vendor does with its key, and the operator with the management key.
    fn managing(&self, identify: &str) -> [(&'static str, String); 5] {
        let issue = format!("{}{ISSUE_PATH}", self.traffic);
        let (vendor, client) = (self.vendor.keys.primary.expose(), self.client.keys.primary.expose());
        let flags = ["Face.Identification"];
        let loan = json!({ "targetAzureResourceId": self.client.resource.as_str(), "featureFlags": flags });
        let services = format!("{}/modelmanagement/v1.0{}/services", self.management, self.workspace);
        let management = format!("-H 'Authorization: Bearer {}'", self.management_token.expose());
        let regenerate = r#"{"keyType": "Primary"}"#;
        [
            (
                "Lending: the vendor asks for such a token with its own key, for an hour here, and the customer uses it.",
                format!(
                    "TOKEN=$(curl -s '{issue}?expiredTime=3600' -H 'Ocp-Apim-Subscription-Key: {vendor}' {JSON} -d '{loan}')\n\
                     curl -si {identify} -H 'Ocp-Apim-Subscription-Key: {client}' \
                     -H \"LimitedAccessToken: Bearer $TOKEN\" {JSON} -d '{FACES}'"
                ),
            ),
            (
                "Managing: a new token for the token service.",
                format!("curl -s -X POST {services}/iris-token/token {management}"),
            ),
            (
                "Managing: replace the primary key. The old one above is refused from the answer on; the secondary serves.",
                format!("curl -si {services}/iris/regenerateKeys {management} {JSON} -d '{regenerate}'"),
            ),
            ("Managing: show both keys.", format!("curl -s -X POST {services}/iris/listkeys {management}")),
            (
                "Command line: both slots of everything, and who has used them. `keys --help` has more.",
                format!(
                    "SCOREGATE_MANAGEMENT={} SCOREGATE_MANAGEMENT_KEY_FILE={} {} keys status",
                    self.management,
                    self.management_key_file.display(),
                    program()
                ),
            ),
        ]
    }
}

/// This program as another terminal finds it.
fn program() -> String {
    std::env::current_exe().map_or_else(|_unknown| "scoregate".to_owned(), |path| path.display().to_string())
}
