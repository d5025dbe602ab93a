//! Files that differ in one thing, and what is said of it.

use super::Effect;
use super::between;
use crate::config::Config;

const BASE: &str = "
listeners:
  traffic: [{address: '127.0.0.1:8080'}]
  health: {address: '127.0.0.1:8082'}
features: [Custom.Flag]
trusted_proxies: [10.0.0.0/8]
issuers:
  corp: {issuer: 'https://corp/', keys: {file: /k/corp.json}, algorithms: [RS256], max_lifetime: 1h}
upstreams:
  model: {endpoints: ['http://127.0.0.1:5001']}
accounts:
  maker: {resource: /s/maker, approvals: [Custom.Flag]}
  vendor: {resource: /s/vendor, may_issue: [Custom.Flag]}
management_keys:
  ops: {key: 'env:OPS', role: operator}
services:
  docs: {match: [{path: /swagger.json, methods: [GET]}], upstream: model, auth: {public: a description}}
  face:
    match: [{prefix: /face}]
    upstream: model
    auth: {key: {keys: none, accounts: [maker]}}
    features: {rules: [{path: /face/identify, any_of: [Custom.Flag]}]}
  iris: {match: [{prefix: /score}], upstream: model, auth: {key: {}}}
  teams: {match: [{prefix: /teams}], upstream: model, auth: {token: {issuers: [corp], required_claims: {tid: '7'}}}}
";

const WIDENS: Effect = Effect::Widens;
const NARROWS: Effect = Effect::Narrows;
const CHANGES: Effect = Effect::Changes;

/// What is replaced by what; and what is said of it, the effect of which turns round on the way back.
type Row = (&'static str, &'static str, &'static [(Effect, &'static str, &'static str)]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("auth: {key: {}}", "auth: {public: why not}", &[(WIDENS, "services.iris.auth", "everybody may call it")]),
    ("auth: {key: {}}", "auth: {key: {accounts: every}}", &[(WIDENS, "services.iris.auth.key.accounts", "every account")]),
    ("auth: {key: {}}", "auth: {key: {accounts: [maker]}}", &[(WIDENS, "services.iris.auth.key.accounts", "+ the account maker may call it")]),
    ("auth: {key: {}}", "auth: {token: {}}", &[(CHANGES, "services.iris.auth", "the other credential")]),
    ("auth: {key: {}}", "auth: {key: {from: [bearer, {header: ocp-apim-subscription-key}, {query: k}]}}", &[(WIDENS, "services.iris.auth.key.from", "+ the query parameter k")]),
    ("accounts: [maker]}", "accounts: [maker, vendor]}", &[(WIDENS, "services.face.auth.key.accounts", "+ the account vendor")]),
    ("{issuers: [corp], req", "{issuers: [corp, own], req", &[(WIDENS, "services.teams.auth.token.issuers", "+ tokens of this gateway's own")]),
    ("required_claims: {tid: '7'}", "required_claims: {tid: '7', role: scorer}", &[(NARROWS, "services.teams.auth.token.required_claims", "role has to be \"scorer\"")]),
    ("    features: {rules: [{path: /face/identify, any_of: [Custom.Flag]}]}\n", "", &[(WIDENS, "services.face.features", "- /face/identify needs Custom.Flag")]),
    ("approvals: [Custom.Flag]", "approvals: []", &[(NARROWS, "accounts.maker.approvals", "- may use Custom.Flag")]),
    ("may_issue: [Custom.Flag]", "may_issue: [Custom.Flag, Face.Verification]", &[(WIDENS, "accounts.vendor.may_issue", "+ may lend Face.Verification")]),
    ("  vendor: {resource: /s/vendor, may_issue: [Custom.Flag]}\n", "", &[(NARROWS, "accounts.vendor", "removed: may call nothing; may use nothing; may lend Custom.Flag")]),
    ("  maker:", "  other: {resource: /s/other}\n  maker:", &[(WIDENS, "accounts.other", "added: may call nothing")]),
    ("max_lifetime: 1h", "max_lifetime: 2h", &[(WIDENS, "issuers.corp.max_lifetime", "1h -> 2h")]),
    ("algorithms: [RS256]", "algorithms: [RS256, ES256]", &[(WIDENS, "issuers.corp.algorithms", "+ tokens signed by Es256")]),
    ("file: /k/corp.json", "file: /k/other.json", &[(CHANGES, "issuers.corp.keys", "is different")]),
    ("role: operator", "role: owner", &[(WIDENS, "management_keys.ops.role", "operator -> owner")]),
    ("trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]", &[(WIDENS, "trusted_proxies", "0.0.0.0/0 is believed")]),
    ("features: [Custom.Flag]", "audit: off\nfeatures: [Custom.Flag]", &[(WIDENS, "audit", "+ what cannot be put on record"), (CHANGES, "audit", "is different")]),
    ("{address: '127.0.0.1:8080'}", "{address: '127.0.0.1:8080', limits: {connections: 5}}", &[(NARROWS, "listeners.traffic-0.limits.connections", "10000 -> 5")]),
    ("{address: '127.0.0.1:8080'}", "{address: '127.0.0.1:8080'}, {address: '127.0.0.1:1', forward_auth: {proxy: envoy, peers: [10.0.0.1]}}", &[(WIDENS, "listeners.traffic-1", "added: listens at 127.0.0.1:1")]),
    ("5001']}", "5001', 'http://127.0.0.1:5002']}", &[(CHANGES, "upstreams.model.endpoints", "+ 127.0.0.1:5002")]),
    ("methods: [GET]", "methods: [GET, PUT]", &[(WIDENS, "services.docs.match", "PUT any/swagger.json: nobody -> docs")]),
    ("prefix: /score}", "prefix: /score}, {prefix: /v2}", &[(WIDENS, "services.iris.match", "GET,POST any/v2: nobody -> iris"), (WIDENS, "services.iris.match", "GET,POST any/v2/any: nobody -> iris")]),
    ("prefix: /score}", "prefix: /score}, {path: /face/identify}", &[(CHANGES, "services.iris.match", "GET,POST any/face/identify: face -> iris")]),
    ("{path: /swagger.json, methods: [GET]}", "{path: /swagger.json, methods: [GET]}, {path: /score/help}", &[(WIDENS, "services.docs.match", "GET,POST any/score/help: iris -> docs")]),
    ("{path: /swagger.json, methods: [GET]}", "{path: /swagger.json, methods: [GET]}, {host: a.example, path: /x}", &[
        (WIDENS, "services.docs.match", "GET,POST a.example/x: nobody -> docs"),
        (NARROWS, "services.iris.match", "GET,POST a.example/score: iris -> nobody"),
        (NARROWS, "services.iris.match", "GET,POST a.example/score/any: iris -> nobody"),
        (NARROWS, "services.face.match", "GET,POST a.example/face: face -> nobody"),
        (NARROWS, "services.docs.match", "GET a.example/swagger.json: docs -> nobody"),
    ]),
    ("  docs:", "  more: {upstream: model, auth: {public: all of it}, match: [{prefix: /more}]}\n  docs:", &[(WIDENS, "services.more", "added: /more/**, PUBLIC: all of it")]),
    ("  iris: {match: [{prefix: /score}], upstream: model, auth: {key: {}}}\n", "", &[(NARROWS, "services.iris", "removed: /score/**, key")]),
    ("upstream: model, auth: {key: {}}", "upstream: model, max_body: none, upgrades: websocket, limits: {concurrency: 3}, auth: {key: {}}", &[
        (WIDENS, "services.iris.max_body", "67108864 bytes -> none"),
        (WIDENS, "services.iris.upgrades", "+ WebSocket passes"),
        (NARROWS, "services.iris.limits.concurrency", "no limit -> 3"),
    ]),
];

fn read(text: &str) -> Config {
    Config::read(text).unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"))
}

#[test]
fn each_change_is_told_by_whether_it_opens_or_closes() {
    let base = read(BASE);
    assert_eq!(between(&base, &base), []);
    for (from, to, want) in ROWS {
        assert_eq!(BASE.matches(from).count(), 1, "{from:?} must stand once in the file");
        let changed = read(&BASE.replacen(from, to, 1));
        let changes = between(&base, &changed);
        for (effect, at, what) in *want {
            let told = changes
                .iter()
                .any(|change| (change.effect, change.at.as_str()) == (*effect, at) && change.what.contains(what));
            assert!(told, "{from} -> {to}: want {effect:?} {at}: {what}, got {changes:#?}");
        }
        let widest = |changes: &[super::Change]| changes.iter().map(|change| change.effect).min();
        let expected = want.iter().map(|(effect, ..)| *effect).min();
        assert_eq!(widest(&changes), expected, "{from} -> {to}: nothing else opens: {changes:#?}");
        let back = between(&changed, &base);
        let turned: Vec<Effect> = want.iter().map(|(effect, ..)| effect.opposite()).collect();
        for effect in turned {
            assert!(
                back.iter().any(|change| change.effect == effect),
                "{to} -> {from}: want {effect:?}, got {back:#?}"
            );
        }
    }
}

#[test]
fn no_change_of_the_configuration_goes_untold() {
    let base = read(BASE);
    for (from, to, _) in ROWS {
        let changed = read(&BASE.replacen(from, to, 1));
        assert_eq!(between(&base, &changed).is_empty(), base == changed, "{from} -> {to}");
    }
}
