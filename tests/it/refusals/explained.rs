//! Every refusal explained: by the call that provoked it, asked of the management plane afterwards.

use std::fs;

use scoregate::model::explanation::Explanation;
use scoregate::model::explanation::Outcome;
use scoregate::model::explanation::Step;
use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Refusal;

use super::calls::CALLS;
use super::calls::Call;
use super::stage;
use super::stage::Stage;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::eventually;

impl Stage {
    fn manage(&self, path: &str) -> Answer {
        let key = fs::read_to_string(self.gateway.directory().join("store/management.key")).expect("it was made");
        let bearer = format!("Bearer {}", key.trim_end());
        client::get(self.gateway.management(), path, &[("authorization", &bearer)])
    }

    /// The explanation of an answer.
    fn explain(&self, answer: &Answer) -> Explanation {
        let path = format!("/api/v1/decisions/{}", answer.header("x-scoregate-decision-id").unwrap_or_default());
        // The record ends with the answer's last byte, which the client may have before.
        let explained = eventually("the refusal is remembered", || {
            Some(self.manage(&path)).filter(|explained| explained.status == 200)
        });
        serde_json::from_slice(&explained.body).expect("an explanation is JSON")
    }
}

#[test]
fn every_refusal_is_explained_check_by_check() {
    let stage = Stage::set();
    for call in CALLS {
        let answer = (call.make)(&stage);
        let told = stage.explain(&answer);
        judge(call, &told);
        let text = told.to_string();
        let keys = [stage::KEY, stage::OTHER_KEY, stage::OLD_KEY, stage::MAKER_KEY, "a-key-of-nobody-at-all"];
        assert!(!keys.iter().any(|key| text.contains(key)), "{}: a key is told\n{text}", call.name);
        let shared = [&stage.limited.expired, &stage.limited.for_another];
        assert!(!shared.iter().any(|token| text.contains(token.as_str())), "{}: a token is told\n{text}", call.name);
    }
}

fn judge(call: &Call, told: &Explanation) {
    let (name, row, step) = (call.name, call.refusal.row(), Step::of(call.refusal));
    assert_eq!(told.code.as_deref(), Some(row.code), "{name}: {told}");
    assert_eq!(told.status, Some(row.status.as_u16()), "{name}");
    assert_eq!(told.advice.as_deref(), Some(call.refusal.advice()), "{name}");
    let place = told.checks.iter().position(|check| check.name == step.as_str());
    let place = place.unwrap_or_else(|| panic!("{name}: no check {step:?} in\n{told}"));
    for (at, check) in told.checks.iter().enumerate() {
        let want = match at.cmp(&place) {
            std::cmp::Ordering::Less => Outcome::Passed,
            std::cmp::Ordering::Equal => Outcome::Refused,
            std::cmp::Ordering::Greater => Outcome::NotReached,
        };
        assert_eq!(check.outcome, want, "{name}: {}\n{told}", check.name);
        assert_eq!(
            check.input.is_empty() && check.rule.is_empty(),
            check.outcome == Outcome::NotReached,
            "{name}: {told}"
        );
    }
    let refused = &told.checks[place];
    assert!(refused.finding.starts_with(call.refusal.about().trim()), "{name}: {}", refused.finding);
    // HTTP itself says what a request is; everything else stands in a line of the file or in the store.
    let has_line = refused.rule.contains("gateway.yaml:") || refused.rule.contains("store: ");
    assert_eq!(has_line, step != Step::Form, "{name}: {}", refused.rule);
}

#[test]
fn an_explanation_says_what_was_there_and_what_was_wanted() {
    let stage = Stage::set();
    let find = |name: &str| CALLS.iter().find(|call| call.name == name).expect("such a call");
    for (name, wanted) in [
        ("no key", &["no credential", "the header x-key", "the query parameter k"][..]),
        ("a key in the header and another in the query", &["header x-key: ", "query parameter k: "]),
        ("another scheme", &["header authorization: 10 bytes"]),
        ("an expired token", &["iss https://corp.test/", "exp 20", "aud corp", "alg HS256"]),
        ("a gated call without a token", &["needs Face.Identification", "maker holds no feature", "accounts.maker"]),
        (
            "a LimitedAccessToken for another resource",
            &["LimitedAccessToken: ", "isv vendor", "vendor may lend Face.Identification"],
        ),
        ("another method", &["At this path GET, HEAD can be called."]),
        ("no service", &["The services are away, closing, corp"]),
        ("keys that cannot be loaded", &["services.lacking", "Now: its keys could not be read."]),
        ("nobody listens", &["upstreams.closed"]),
        ("a body that says it is too large", &["services.open.max_body", "At most 1024 bytes"]),
    ] {
        let told = stage.explain(&(find(name).make)(&stage)).to_string();
        for want in wanted {
            assert!(told.contains(want), "{name}: want {want:?} in\n{told}");
        }
    }
}

#[test]
fn the_last_refusals_are_listed_newest_first_and_strangers_do_not_push_out_callers() {
    let stage = Stage::set();
    let refused = client::get(stage.gateway.traffic(), "/keyed", &[]);
    for _ in 0..500 {
        client::get(stage.gateway.traffic(), "/nowhere", &[]);
    }
    stage.explain(&refused);
    let listed = stage.manage("/api/v1/decisions?limit=1000").json();
    let listed = listed["value"].as_array().expect("a list");
    assert!(listed.len() < 200, "{} are remembered", listed.len());
    assert!(listed.is_sorted_by_key(|one| std::cmp::Reverse(one["at"].as_u64())), "newest first");
    let first = Refusal::from(Denied::CredentialMissing).row().code;
    assert_eq!(listed.iter().filter(|one| one["code"] == first && one["service"] == "keyed").count(), 1, "{listed:?}");
    for (path, status) in [
        ("/api/v1/decisions?limit=2", 200),
        ("/api/v1/decisions?limit=0", 400),
        ("/api/v1/decisions?of=2", 400),
        ("/api/v1/decisions/00000000000000000000000000000000", 404),
    ] {
        assert_eq!(stage.manage(path).status, status, "{path}");
    }
}
