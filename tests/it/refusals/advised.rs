//! Whoever follows the advice passes: for each reason, the call that is refused, what is changed, and the call again.

use std::fs;

use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Failed;
use scoregate::model::refusal::Refusal;
use serde_json::json;

use super::calls::CALLS;
use super::stage;
use super::stage::Stage;
use super::stage::corp_token;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::eventually;

/// What an advice comes to.
#[derive(Debug)]
enum Follow {
    /// The caller calls otherwise.
    Call(fn(&Stage) -> Answer),
    /// The operator writes something else, and the same call is made again.
    Write(&'static str, &'static str),
    /// It is shown elsewhere, or cannot be.
    Elsewhere,
}

use Follow::Call;
use Follow::Elsewhere;
use Follow::Write;

const fn of_denied(why: Denied) -> Follow {
    match why {
        Denied::HostInvalid | Denied::MethodRefused => Call(|on| get(on, "/open", &[])),
        Denied::PathAmbiguous => Call(|on| get(on, "/open/x", &[])),
        Denied::RequestMalformed => Call(|on| {
            client::raw(on.gateway.traffic(), "GET /open HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        }),
        Denied::HeadersTooLarge => Call(|on| get(on, "/open", &[("x-a", "1"); 3])),
        Denied::TargetTooLong => Call(|on| client::post(on.gateway.traffic(), "/open", &[], [b'a'; 1000])),
        Denied::BodyTooLarge => Write("max_body: 1KiB", "max_body: 1MiB"),
        Denied::BodyTimeout => Call(|on| client::post(on.gateway.traffic(), "/open", &[], b"0123456789")),
        Denied::BodyMalformed => Call(|on| {
            let chunks = b"5\r\nabcde\r\n0\r\n\r\n";
            client::post(on.gateway.traffic(), "/open", &[("transfer-encoding", "chunked")], chunks)
        }),
        Denied::NoService => Write(
            "\nservices:\n",
            "\nservices:\n  nowhere: {match: [{prefix: /nowhere}], upstream: open, auth: {public: a test}}\n",
        ),
        Denied::NoDeployment => Call(|on| get(on, "/split", &[("azureml-model-deployment", "blue")])),
        Denied::MethodNotAllowed => Write("methods: [GET]", "methods: [GET, POST]"),
        Denied::CredentialMissing | Denied::CredentialAmbiguous | Denied::CredentialMalformed | Denied::KeyUnknown => {
            Call(|on| bearer(on, "/keyed", stage::KEY))
        }
        Denied::KeyExpired => Write(", expires: 2001-01-01T00:00:00Z", ""),
        Denied::TokenKeyUnknown => Call(|on| {
            let token = on.done("/api/v1/services/own/token", "");
            bearer(on, "/own", token["accessToken"].as_str().unwrap_or_default())
        }),
        Denied::TokenMalformed
        | Denied::TokenAlgorithm
        | Denied::TokenSignature
        | Denied::TokenExpired
        | Denied::TokenNotYetValid
        | Denied::TokenIssuer
        | Denied::TokenAudience
        | Denied::TokenLifetime
        | Denied::TokenClaim
        | Denied::TokenRevoked => Call(|on| bearer(on, "/corp", &corp_token(&json!({})))),
        Denied::FeatureNotGranted => Write("  maker: {", "  maker: {approvals: [Face.Identification], "),
        Denied::LimitedTokenInvalid | Denied::LimitedTokenExpired | Denied::LimitedTokenResource => Call(|on| {
            let limited = format!("Bearer {}", issue(on, &vendors_key(on), stage::MAKER).text());
            let headers = [("ocp-apim-subscription-key", stage::MAKER_KEY), ("limitedaccesstoken", &*limited)];
            Client::connect(on.gateway.traffic()).request("POST", "/face/v1.0/identify", &headers, b"{}")
        }),
        Denied::IssueArgument => Call(|on| issue(on, &vendors_key(on), stage::MAKER)),
        Denied::IssueNotAllowed => Write("  maker: {", "  maker: {may_issue: [Face.Identification], "),
        // What a caller has used up outlives the change of its limit.
        Denied::HeadTimeout
        | Denied::AuthThrottled
        | Denied::RateLimited
        | Denied::CallerBusy
        | Denied::ServiceBusy
        // Questions of other proxies have tests of their own.
        | Denied::ForwardAuthPeer
        | Denied::ForwardAuthInvalid => Elsewhere,
    }
}

const fn of_failed(failed: Failed) -> Follow {
    match failed {
        Failed::UpstreamUnreachable => Write("upstream: closed, auth", "upstream: open, auth"),
        Failed::UpstreamConnectTimeout => Write("upstream: silent, auth", "upstream: open, auth"),
        Failed::UpstreamTls => Write("  plain: {endpoints: ['https://", "  plain: {endpoints: ['http://"),
        Failed::UpstreamClosed => Write("upstream: closing, auth", "upstream: open, auth"),
        Failed::UpstreamProtocol => Write("upstream: garbling, auth", "upstream: open, auth"),
        Failed::UpstreamTimeout => Write("timeouts: {response: 200ms}", "timeouts: {response: 20s}"),
        Failed::TotalTimeout => Write("timeouts: {total: 200ms}", "timeouts: {total: 20s}"),
        Failed::ServiceQuarantined => Call(|on| {
            on.gateway.write("nothing-here/primary", "a-key-that-was-put-back-there");
            on.reload();
            bearer(on, "/lacking", "a-key-that-was-put-back-there")
        }),
        Failed::NoEndpoint
        | Failed::QueueTimeout
        | Failed::IssuerUnavailable
        | Failed::AuditUnavailable
        | Failed::Internal => Elsewhere,
    }
}

#[test]
fn whoever_follows_the_advice_passes() {
    let stage = Stage::set();
    let denied = Denied::ALL.iter().map(|why| (Refusal::from(*why), of_denied(*why)));
    let all = denied.chain(Failed::ALL.iter().map(|failed| (Refusal::from(*failed), of_failed(*failed))));
    let mut followed = 0;
    for (refusal, follow) in all {
        let code = refusal.row().code;
        let Some(call) = CALLS.iter().find(|call| call.refusal == refusal) else {
            assert!(matches!(follow, Elsewhere), "{code}: nothing provokes it");
            continue;
        };
        let answer = match follow {
            Elsewhere => continue,
            Call(again) => {
                assert_eq!((call.make)(&stage).status, refusal.row().status, "{code}: {}", call.name);
                again(&stage)
            }
            Write(from, to) => {
                assert_eq!((call.make)(&stage).status, refusal.row().status, "{code}: {}", call.name);
                let text = fs::read_to_string(stage.gateway.config()).unwrap();
                assert!(text.contains(from), "{code}: {from}");
                stage.gateway.write("gateway.yaml", text.replacen(from, to, 1));
                stage.reload();
                let answer = (call.make)(&stage);
                // What one advice opens must not open for the next.
                stage.gateway.write("gateway.yaml", text);
                stage.reload();
                answer
            }
        };
        assert_eq!(answer.status, 200, "{code}: {}\nafter {}", answer.text(), refusal.advice());
        followed += 1;
    }
    assert!(followed >= 35, "{followed} advices were followed");
}

impl Stage {
    /// Brings what was written into force.
    fn reload(&self) {
        let before = self.gateway.generation();
        self.gateway.hangup();
        eventually("the change is in force", || (self.gateway.generation() > before).then_some(()));
    }

    /// Does what an owner may.
    fn done(&self, path: &str, body: &str) -> serde_json::Value {
        let key = fs::read_to_string(self.gateway.directory().join("store/management.key")).unwrap();
        let bearer = format!("Bearer {}", key.trim_end());
        client::request(self.gateway.management(), "POST", path, &[("authorization", &bearer)], body.as_bytes()).json()
    }
}

fn vendors_key(on: &Stage) -> String {
    on.done("/api/v1/accounts/vendor/keys/list", "")["primaryKey"].as_str().unwrap().to_owned()
}

fn issue(on: &Stage, key: &str, target: &str) -> Answer {
    let body = format!(r#"{{"featureFlags": ["Face.Identification"], "targetAzureResourceId": "{target}"}}"#);
    let path = "/sts/v1.0/issueLimitedAccessToken";
    Client::connect(on.gateway.traffic()).request("POST", path, &[("ocp-apim-subscription-key", key)], body.as_bytes())
}

fn get(on: &Stage, target: &str, headers: &[(&str, &str)]) -> Answer {
    client::get(on.gateway.traffic(), target, headers)
}

fn bearer(on: &Stage, target: &str, credential: &str) -> Answer {
    get(on, target, &[("authorization", &format!("Bearer {credential}"))])
}
