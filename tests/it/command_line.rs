//! The commands that ask a running gateway: what they print, what they change, and how they fail.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use scoregate::model::refusal::Denied;
use scoregate::model::refusal::Failed;
use serde_json::Value;
use serde_json::json;

use crate::protocols::authority::Authority;
use crate::support::client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::PROGRAM;
use crate::support::gateway::Ran;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

const KEYS: [(&str, &str); 4] = [
    ("reader", "the-key-of-the-reader-0"),
    ("operator", "the-key-of-the-operator"),
    ("owner", "the-key-of-the-owner-00"),
    ("fixed", "the-key-of-a-service-00"),
];

const CONTOSO: &str = "/subscriptions/s/resourceGroups/g/providers/p/accounts/contoso";

fn yaml(upstream: &Upstream, management_tls: &str) -> String {
    format!(
        "
listeners:
  traffic: [{{address: $TRAFFIC}}]
  management: {{address: $MANAGEMENT{management_tls}}}
  health: {{address: $HEALTH}}
access_log: off
management_keys:
  watcher: {{key: 'file:$DIR/reader', role: reader}}
  oncall: {{key: 'file:$DIR/operator', role: operator}}
  boss: {{key: 'file:$DIR/owner', role: owner}}
upstreams: {{model: {{endpoints: ['{}']}}}}
accounts:
  vendor: {{resource: /a/vendor, may_issue: [Face.Identification]}}
services:
  iris: {{match: [{{prefix: /iris}}], upstream: model, auth: {{key: {{}}}}}}
  fixed: {{upstream: model, auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/fixed'}}}}}}}}}}
  dated: {{match: [{{prefix: /dated}}], upstream: model, auth: {{token: {{issuers: [own]}}}}}}
  face:
    match: [{{prefix: /face}}]
    upstream: model
    auth: {{key: {{keys: none, accounts: every}}}}
    features: {{preset: face}}
    issues_limited_access_tokens: true
",
        upstream.url()
    )
}

/// A gateway, its upstream, and commands to it.
struct Stage {
    gateway: Gateway,
    _upstream: Upstream,
}

impl Stage {
    fn start() -> Self {
        let upstream = Upstream::ok();
        let directory = scratch();
        for (file, key) in KEYS {
            std::fs::write(directory.path().join(file), key).unwrap();
        }
        let gateway = Gateway::start_in(directory, &yaml(&upstream, ""));
        Self { gateway, _upstream: upstream }
    }

    /// Runs a command with the key of a role.
    fn run_as(&self, role: &str, arguments: &[&str]) -> Ran {
        let url = format!("http://{}", self.gateway.management());
        let (_, key) = KEYS.iter().find(|(named, _)| *named == role).unwrap();
        run(self.gateway.directory(), &[("SCOREGATE_MANAGEMENT", &url), ("SCOREGATE_MANAGEMENT_KEY", key)], arguments)
    }

    /// What a command of the owner prints; it has to succeed.
    fn told(&self, arguments: &[&str]) -> String {
        let ran = self.run_as("owner", arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// The document that a command prints with `--json`.
    fn document(&self, arguments: &[&str]) -> Value {
        let text = self.told(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error} in {text}"))
    }

    fn key(&self, owner: &str, slot: &str) -> String {
        let document = self.document(&["keys", "list", owner]);
        document[format!("{slot}Key")].as_str().unwrap().to_owned()
    }

    /// How a request with this key or token is answered.
    fn call(&self, path: &str, credential: &str) -> u16 {
        client::get(self.gateway.traffic(), path, &[("authorization", &format!("Bearer {credential}"))]).status
    }
}

/// Runs the program to its end with these variables and no others of ours.
fn run(directory: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(PROGRAM);
    for name in ["MANAGEMENT", "MANAGEMENT_KEY", "MANAGEMENT_KEY_FILE", "TRAFFIC", "ACCOUNT_KEY", "CA", "LOG"] {
        command.env_remove(format!("SCOREGATE_{name}"));
    }
    let output = command
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Ran { code: output.status.code(), stdout, stderr }
}

/// The rows of a table, the header first, cut at the gaps between columns.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let cells = |line| str::split(line, "  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    table.lines().map(cells).collect()
}

#[test]
fn status_shows_both_slots_of_everything_and_no_key() {
    let stage = Stage::start();
    assert_eq!(stage.call("/iris", &stage.key("iris", "primary")), 200);
    let table = stage.told(&["keys", "status"]);
    let rows = rows(&table);
    assert_eq!(rows[0][..4], ["OWNER", "SLOT", "CREATED", "LAST SEEN"], "{table}");
    for (owner, slot, kept_in) in [
        ("services/iris", "primary", "store"),
        ("services/iris", "secondary", "store"),
        ("services/fixed", "primary", "references"),
        ("accounts/vendor", "primary", "store"),
        ("accounts/vendor", "secondary", "store"),
    ] {
        let row = rows.iter().find(|row| row[..2] == [owner, slot]);
        assert_eq!(row.and_then(|row| row.last()), Some(&kept_in), "{owner} {slot}\n{table}");
    }
    let secondary = rows.iter().find(|row| row[..2] == ["services/iris", "secondary"]).unwrap();
    assert_eq!(secondary[3], "never", "{table}");
    eventually("the use of the primary slot is seen", || {
        let document = stage.document(&["keys", "status", "iris"]);
        let primary = &document["slots"]["primary"];
        (primary["uses"] == 1 && primary["callers"] == 1 && primary["lastSeen"].is_u64()).then_some(())
    });
    let all = stage.document(&["keys", "status"]);
    assert!(all["value"].as_array().unwrap().iter().any(|one| one["owner"] == "services/iris"), "{all}");
    for slot in ["primary", "secondary"] {
        let key = stage.key("iris", slot);
        assert!(!table.contains(&key) && !all.to_string().contains(&key));
        assert!(stage.told(&["keys", "list", "services/iris"]).contains(&key));
    }
}

#[test]
fn regenerate_prints_the_new_key_alone_and_leaves_the_other_slot() {
    let stage = Stage::start();
    let [primary, secondary] = ["primary", "secondary"].map(|slot| stage.key("iris", slot));
    let ran = stage.run_as("operator", &["keys", "regenerate", "iris", "secondary"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let new = ran.stdout.trim_end();
    assert_eq!(stage.key("iris", "secondary"), new);
    assert!(ran.stderr.contains("services/iris secondary") && !ran.stderr.contains(new), "{}", ran.stderr);
    for (key, status) in [(primary.as_str(), 200), (&secondary, 401), (new, 200)] {
        assert_eq!(stage.call("/iris", key), status);
    }

    std::fs::write(stage.gateway.directory().join("chosen"), "a-key-that-somebody-chose\n").unwrap();
    let asked = ["keys", "regenerate", "iris", "primary", "--grace", "10m", "--expires", "2126-01-01T00:00:00Z"];
    let told = stage.document(&[&asked[..], &["--value-file", "chosen"]].concat());
    assert_eq!(told["key"], "a-key-that-somebody-chose");
    assert_eq!(told["expires"], json!(4_922_899_200_u64));
    for key in [&primary, "a-key-that-somebody-chose"] {
        assert_eq!(stage.call("/iris", key), 200, "within the grace both open");
    }
    let status = stage.told(&["keys", "status", "iris"]);
    assert!(status.contains("2126-01-01T00:00:00Z (in ") && status.contains(" min)"), "{status}");
}

#[test]
fn require_idle_refuses_while_the_slot_is_in_use() {
    let stage = Stage::start();
    let key = stage.key("iris", "primary");
    let regenerate =
        |idle| stage.run_as("operator", &["keys", "regenerate", "iris", "primary", "--require-idle", idle]);
    assert_eq!(stage.call("/iris", &key), 200);
    eventually("the use is seen", || {
        (stage.document(&["keys", "status", "iris"])["slots"]["primary"]["uses"] == 1).then_some(())
    });
    let refused = regenerate("1h");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("SlotInUse"), "{}", refused.stderr);
    assert_eq!(stage.call("/iris", &key), 200, "a refused regeneration changes nothing");
    eventually("the slot has been idle for two seconds", || (regenerate("2s").code == Some(0)).then_some(()));
    assert_eq!(stage.call("/iris", &key), 401);
}

#[test]
fn accounts_are_made_changed_and_taken_away() {
    let stage = Stage::start();
    let made = stage.told(&["accounts", "create", "contoso", "--resource", CONTOSO, "--approve", "Face.Verification"]);
    assert_eq!(rows(&made)[0], ["NAME", "APPROVALS", "MAY ISSUE", "CREATED", "KEPT IN", "RESOURCE"]);
    assert!(made.contains("contoso  Face.Verification"), "{made}");
    let set = ["accounts", "set", "contoso", "--approve-nothing"];
    let both = ["--may-issue", "Face.Identification", "--may-issue", "Face.Verification"];
    let account = stage.document(&[&set[..], &both].concat());
    assert_eq!(account["approvals"], json!([]));
    assert_eq!(account["mayIssue"], json!(["Face.Identification", "Face.Verification"]));
    let again = stage.document(&["accounts", "set", "contoso", "--approve", "Face.Verification"]);
    assert_eq!(again["mayIssue"], account["mayIssue"], "what is not named stays");
    let shown = stage.told(&["accounts", "show", "contoso"]);
    assert!(shown.contains(CONTOSO) && shown.contains("store"), "{shown}");
    assert_eq!(stage.key("accounts/contoso", "primary").len(), 43);
    let listed = stage.told(&["accounts", "list"]);
    assert!(listed.contains("vendor") && listed.contains("gateway.yaml") && listed.contains("contoso"), "{listed}");

    let gone = stage.run_as("owner", &["accounts", "delete", "contoso"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (Some(0), ""), "{gone:?}");
    let after = stage.run_as("owner", &["accounts", "show", "contoso"]);
    assert!(after.code == Some(1) && after.stderr.contains("NotFound"), "{after:?}");
    let fixed = stage.run_as("owner", &["accounts", "delete", "vendor"]);
    assert!(fixed.code == Some(1) && fixed.stderr.contains("gateway.yaml"), "{fixed:?}");
}

#[test]
fn a_token_is_printed_alone_and_opens_its_service() {
    let stage = Stage::start();
    let ran = stage.run_as("reader", &["tokens", "get", "dated"]);
    assert!(ran.code == Some(0) && ran.stderr.starts_with("Renew it after 20"), "{ran:?}");
    assert_eq!(stage.call("/dated", ran.stdout.strip_suffix('\n').unwrap()), 200);
    let document = stage.document(&["tokens", "get", "dated"]);
    assert_eq!(document["tokenType"], "Bearer");
    assert!(document["refreshAfter"].as_u64() < document["expiryOn"].as_u64(), "{document}");
}

#[test]
fn a_limited_access_token_is_issued_with_the_vendors_key_and_revoked() {
    let stage = Stage::start();
    stage.told(&["accounts", "create", "contoso", "--resource", CONTOSO]);
    let vendor = stage.key("accounts/vendor", "primary");
    let contoso = stage.key("accounts/contoso", "primary");
    let traffic = format!("http://{}", stage.gateway.traffic());
    let issue = |feature| {
        let variables = [("SCOREGATE_TRAFFIC", &*traffic), ("SCOREGATE_ACCOUNT_KEY", &vendor)];
        let arguments = ["tokens", "issue-limited", "--resource", CONTOSO, "--feature", feature, "--lifetime", "10m"];
        run(stage.gateway.directory(), &variables, &arguments)
    };
    let identify = |token: &str| {
        let headers = [("ocp-apim-subscription-key", &*contoso), ("limitedaccesstoken", &format!("Bearer {token}"))];
        client::post(stage.gateway.traffic(), "/face/v1.0/identify", &headers, "{}").status
    };
    let ran = issue("Face.Identification");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let token = ran.stdout.strip_suffix('\n').unwrap();
    assert_eq!(identify(token), 200);
    let above = issue("Face.Verification");
    assert!(above.code == Some(1) && above.stdout.is_empty() && above.stderr.contains("403"), "{above:?}");

    let revoked = stage.told(&["revoke", "isv", "vendor", "--why", "contract ended"]);
    assert!(revoked.contains("contract ended"), "{revoked}");
    assert_eq!(identify(token), 401, "a revocation is in force when it is answered");
    stage.told(&["revoke", "resource", CONTOSO]);
    let one = stage.document(&["revoke", "token", "urn:scoregate", "a-token"]);
    assert_eq!(one["token"], json!({ "issuer": "urn:scoregate", "jti": "a-token" }));
    let table = stage.told(&["revoke", "list"]);
    let listed = rows(&table);
    for (kind, whom) in [("isv", "vendor"), ("resource", CONTOSO), ("token", "urn:scoregate a-token")] {
        assert!(listed.iter().any(|row| row[..2] == [kind, whom]), "{kind} {whom}\n{table}");
    }
    assert_eq!(stage.document(&["revoke", "list"])["value"].as_array().unwrap().len(), 3);
}

#[test]
fn a_rotated_signing_key_signs_and_the_old_one_still_verifies() {
    let stage = Stage::start();
    let token = stage.told(&["tokens", "get", "dated"]);
    let before = stage.document(&["signing-keys", "list"]);
    let made = stage.document(&["signing-keys", "rotate"]);
    let table = stage.told(&["signing-keys", "list"]);
    let listed = rows(&table);
    assert_eq!(listed[0], ["KID", "ALGORITHM", "CREATED", "VERIFIES UNTIL", "SIGNS"]);
    for (kid, signs) in [(&before["value"][0]["kid"], "no"), (&made["kid"], "yes")] {
        let row = listed.iter().find(|row| *kid == row[0]);
        assert_eq!(row.and_then(|row| row.last()), Some(&signs), "{kid}\n{table}");
    }
    assert_eq!(stage.call("/dated", token.trim_end()), 200);
}

#[test]
fn a_refusal_is_explained_by_the_line_that_decided() {
    let stage = Stage::start();
    let answer = client::get(stage.gateway.traffic(), "/iris/score", &[("authorization", "Bearer no-key-of-anybodys")]);
    let id = answer.header("x-scoregate-decision-id").unwrap();
    let told = eventually("the refusal is remembered", || {
        Some(stage.run_as("reader", &["explain", id])).filter(|ran| ran.code == Some(0))
    })
    .stdout;
    let config = std::fs::read_to_string(stage.gateway.config()).unwrap();
    let line = 1 + config.lines().position(|line| line.starts_with("  iris:")).unwrap();
    for want in [
        format!("decision   {id}\n"),
        "verdict    refused: key_unknown (401)\n".to_owned(),
        format!("rule        gateway.yaml:{line} services.iris.match\n"),
        "saw         header authorization: 25 bytes\n".to_owned(),
        "store: services/iris primary, secondary".to_owned(),
        format!("To make it pass: {}\n", Denied::KeyUnknown.advice()),
    ] {
        assert!(told.contains(&want), "want {want:?} in\n{told}");
    }
    assert_eq!(stage.document(&["explain", &format!("urn:scoregate:decision:{id}")])["code"], "key_unknown");
    let forgotten = stage.run_as("reader", &["explain", "00000000000000000000000000000000"]);
    assert!(forgotten.code == Some(1) && forgotten.stderr.contains("the access log has its reason"), "{forgotten:?}");
    assert_eq!(stage.run_as("reader", &["explain", "this"]).code, Some(2));
}

/// Each command and option that an advice names is one.
#[test]
fn what_an_advice_tells_to_run_can_be_run() {
    let advices = Denied::ALL.iter().map(|why| why.advice()).chain(Failed::ALL.iter().map(|failed| failed.advice()));
    let mut seen = 0;
    for command in advices
        .flat_map(|advice| advice.split('`').skip(1).step_by(2))
        .filter_map(|code| code.strip_prefix("scoregate "))
    {
        let definition = scoregate::cli::definition();
        let mut at = &definition;
        for word in command.split(' ') {
            if let Some(option) = word.strip_prefix("--") {
                assert!(at.get_arguments().any(|argument| argument.get_long() == Some(option)), "{command}: {word}");
            } else {
                at = at.find_subcommand(word).unwrap_or_else(|| panic!("{command}: {word} is no command"));
            }
        }
        seen += 1;
    }
    assert!(seen >= 3, "{seen} commands");
}

#[test]
fn a_failure_is_one_sentence_and_exit_code_1_and_bad_usage_is_2() {
    let stage = Stage::start();
    for (role, arguments, code, want) in [
        ("reader", &["keys", "list", "iris"][..], 1, "403"),
        ("reader", &["keys", "regenerate", "iris", "primary"], 1, "403"),
        ("operator", &["accounts", "delete", "vendor"], 1, "403"),
        ("operator", &["signing-keys", "rotate"], 1, "403"),
        ("owner", &["keys", "list", "nobody"], 1, "NotFound"),
        ("owner", &["keys", "regenerate", "fixed", "primary"], 1, "Conflict"),
        ("owner", &["keys", "status", "--key-file", "missing"], 1, "missing could not be read"),
        ("owner", &["keys", "status", "--management", "http://10.0.0.1"], 1, "want https"),
        ("owner", &["keys", "regenerate", "iris"], 2, "<SLOT>"),
        ("owner", &["keys", "regenerate", "iris", "third"], 2, "want primary or secondary"),
        ("owner", &["keys", "regenerate", "iris", "primary", "--grace", "10"], 2, "want a duration"),
        ("owner", &["keys", "status", "--management", "127.0.0.1:8081"], 2, "want http://HOST:PORT"),
        ("owner", &["accounts", "set", "vendor"], 2, "--approve"),
    ] {
        let ran = stage.run_as(role, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{role} {arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(want), "{role} {arguments:?}: want {want:?} in {}", ran.stderr);
        assert!(code == 2 || ran.stderr.lines().count() == 1, "{ran:?}");
        assert!(KEYS.iter().all(|(_, key)| !ran.stderr.contains(key)), "{ran:?}");
    }
}

/// Exit codes are those of diff(1).
#[test]
fn two_configurations_are_compared_by_what_they_open() {
    let directory = scratch();
    let shipped = include_str!("../../gateway.yaml");
    let wider = shipped.replacen("        accounts: [door-software, door-maker]", "        accounts: every", 1);
    for (file, text) in [("old.yaml", shipped), ("new.yaml", &wider), ("broken.yaml", "listeners: [")] {
        std::fs::write(directory.path().join(file), text).unwrap();
    }
    let diff = |files: &[&str]| run(directory.path(), &[], &[&["diff"], files].concat());
    let same = diff(&["old.yaml", "old.yaml"]);
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), ""));
    let wider = diff(&["old.yaml", "new.yaml"]);
    assert_eq!(wider.code, Some(1));
    assert!(wider.stdout.starts_with("WIDENS   services.face.auth.key.accounts: "), "{}", wider.stdout);
    assert!(wider.stdout.ends_with("1 widen, 0 narrow, 0 otherwise\n"), "{}", wider.stdout);
    let back: Value = serde_json::from_str(&diff(&["--json", "new.yaml", "old.yaml"]).stdout).unwrap();
    assert_eq!((&back[0]["effect"], &back[0]["at"]), (&json!("narrows"), &json!("services.face.auth.key.accounts")));
    let broken = diff(&["old.yaml", "broken.yaml"]);
    assert_eq!((broken.code, broken.stdout.as_str()), (Some(2), ""));
    assert!(broken.stderr.contains("broken.yaml"), "{}", broken.stderr);
}

#[test]
fn whoever_does_not_answer_as_a_gateway_is_named() {
    let stage = Stage::start();
    let [gateway, nobody, other] = [
        stage.gateway.management().to_string(),
        free_address().to_string(),
        // A scoring server, say.
        stage.gateway.health().to_string(),
    ]
    .map(|address| format!("http://{address}"));
    let key = "SCOREGATE_MANAGEMENT_KEY";
    for (url, variables, wants) in [
        (&gateway, &[(key, "no-key-of-this-gateway")][..], &["401"][..]),
        (&gateway, &[], &["SCOREGATE_MANAGEMENT_KEY", "--key-file"]),
        (&nobody, &[(key, "any-key")], &[&*nobody, "start the gateway"]),
        (&other, &[(key, "any-key")], &[&*other, "want the URL"]),
    ] {
        let ran = run(stage.gateway.directory(), variables, &["keys", "status", "--management", url]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{url}: {ran:?}");
        assert!(wants.iter().all(|want| ran.stderr.contains(want)), "{url}: want {wants:?} in {}", ran.stderr);
        assert!(!ran.stderr.contains("any-key") && !ran.stderr.contains("no-key"), "{ran:?}");
    }
}

#[test]
fn a_key_is_sent_over_tls_to_a_listener_that_the_named_ca_vouches_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let directory = scratch();
    for (file, key) in KEYS {
        std::fs::write(directory.path().join(file), key).unwrap();
    }
    authority.certify("localhost").write(directory.path(), "server");
    for (file, pem) in [("ca.pem", &authority.pem), ("stranger.pem", &stranger.pem)] {
        std::fs::write(directory.path().join(file), pem).unwrap();
    }
    let upstream = Upstream::ok();
    let tls = ", tls: {certificate: $DIR/server.crt, private_key: $DIR/server.key}";
    let gateway = Gateway::start_in(directory, &yaml(&upstream, tls));
    let url = format!("https://localhost:{}", gateway.management().port());
    for (ca, code, want) in [("ca.pem", 0, ""), ("stranger.pem", 1, "no certificate that is trusted here")] {
        let arguments = ["accounts", "list", "--management", &url, "--ca", ca, "--key-file", "owner"];
        let ran = run(gateway.directory(), &[], &arguments);
        assert_eq!(ran.code, Some(code), "{ca}: {ran:?}");
        assert!(ran.stderr.contains(want), "{ca}: {ran:?}");
    }
}

#[test]
fn the_readme_lists_every_command() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    for command in scoregate::cli::definition().get_subcommands() {
        let written = format!("| `scoregate {}", command.get_name());
        assert!(readme.contains(&written), "README.md has no row that begins with {written}");
    }
}
