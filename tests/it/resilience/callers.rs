//! What one caller may have of a service, whatever it proves itself with.

use super::Patient;
use super::ask;
use super::told;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;

const RESOURCE: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts";

/// Two accounts, `one` with two keys, at a service whose callers are limited; and the same service for everybody.
fn limiting(upstream: &Patient, per_caller: &str, more: &str) -> Gateway {
    let directory = scratch();
    for name in ["primary", "secondary", "other", "own"] {
        std::fs::write(directory.path().join(name), format!("the-first-{name}-key")).unwrap();
    }
    let yaml = format!(
        "
workers: 2
upstreams: {{a: {{endpoints: ['{}']}}}}
accounts:
  one: {{resource: {RESOURCE}/one, keys: {{primary: {{key: 'file:$DIR/primary'}}, secondary: {{key: 'file:$DIR/secondary'}}}}}}
  two: {{resource: {RESOURCE}/two, keys: {{primary: {{key: 'file:$DIR/other'}}}}}}
services:
  model:
    match: [{{prefix: /model}}]
    upstream: a
    auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/own'}}}}, accounts: every}}}}
    limits: {{per_caller: {{{per_caller}}}}}
    {more}
  open: {{match: [{{prefix: /open}}], upstream: a, auth: {{public: a test}}, limits: {{per_caller: {{{per_caller}}}}}}}
",
        upstream.upstream.url()
    );
    Gateway::start_in(directory, &yaml)
}

fn with(gateway: &Gateway, key: &str) -> Answer {
    client::get(gateway.traffic(), "/model", &[("ocp-apim-subscription-key", key)])
}

#[test]
fn a_rate_is_the_accounts_own_and_a_rotation_neither_forgives_nor_doubles_it() {
    let upstream = Patient::start();
    upstream.answer(100);
    let gateway = limiting(&upstream, "requests: 4, per: 1h", "");
    for key in ["primary", "secondary", "primary"] {
        assert_eq!(with(&gateway, &format!("the-first-{key}-key")).status, 200);
    }
    gateway.write("primary", "the-second-primary-key");
    gateway.hangup();
    eventually("the new key opens", || (with(&gateway, "the-second-primary-key").status == 200).then_some(()));
    for key in ["the-second-primary-key", "the-first-secondary-key"] {
        let (status, code, message, retry_after) = {
            let answer = with(&gateway, key);
            let (status, code, message, after) = told(&answer);
            (status, code, message, after.map(str::to_owned))
        };
        assert_eq!(
            (status, code.as_str(), message.as_str()),
            (429, "rate_limited", "Rate limit is exceeded."),
            "{key}"
        );
        let wait: u64 = retry_after.unwrap().parse().unwrap();
        assert!((800..=900).contains(&wait), "a quarter of an hour at most, not {wait} s");
    }
    assert_eq!(with(&gateway, "the-first-other-key").status, 200, "another account");
    assert_eq!(with(&gateway, "the-first-own-key").status, 200, "the service's own key");
    assert_eq!(client::get(gateway.traffic(), "/open", &[]).status, 200, "another service");
    assert_eq!(with(&gateway, "nobody's").status, 401, "who is nobody is not counted");
}

#[test]
fn a_public_service_counts_by_address_and_a_face_speaks_as_face_does() {
    let upstream = Patient::start();
    upstream.answer(100);
    let gateway = limiting(&upstream, "requests: 1, per: 1h", "dialect: face");
    assert_eq!(client::get(gateway.traffic(), "/open", &[]).status, 200);
    assert_eq!(told(&client::get(gateway.traffic(), "/open", &[])).1, "rate_limited");
    assert_eq!(with(&gateway, "the-first-other-key").status, 200);
    let (_, code, message, _) = told(&with(&gateway, "the-first-other-key"));
    assert_eq!((code.as_str(), message.as_str()), ("429", "Rate limit is exceeded."));
}

#[test]
fn a_caller_has_so_many_under_way_and_the_others_theirs() {
    let upstream = Patient::start();
    let gateway = limiting(&upstream, "concurrency: 2", "");
    let key = |name: &str| format!("the-first-{name}-key");
    let begin = |name: &str| ask(&gateway, "/model", &[("ocp-apim-subscription-key", &key(name))]);
    let mut under_way = vec![begin("primary"), begin("secondary")];
    upstream.wait_for(2);
    let (status, code, _, retry_after) = {
        let answer = with(&gateway, &key("primary"));
        let (status, code, message, after) = told(&answer);
        (status, code, message, after.map(str::to_owned))
    };
    assert_eq!((status, code.as_str(), retry_after), (429, "caller_busy", None));
    under_way.push(begin("other"));
    upstream.wait_for(3);
    // Who leaves has nothing under way.
    drop(under_way.remove(0));
    let again = eventually("the first has left", || {
        upstream.answer(1);
        let answer = with(&gateway, &key("primary"));
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(again.text(), "/model");
    upstream.answer(3);
    for client in &mut under_way {
        assert_eq!(client.answer().status, 200);
    }
}
