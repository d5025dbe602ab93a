//! The command line, and above all what it says to a file that will not do.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::Ran;
use crate::support::gateway::free_address;
use crate::support::gateway::run;
use crate::support::gateway::scratch;

/// A configuration that starts, with its parts to be replaced.
const GOOD: &str = "listeners:
  traffic: [{address: \"127.0.0.1:0\"}]
  health: {address: \"127.0.0.1:0\"}
store: {directory: store}
upstreams:
  a: {endpoints: [\"http://127.0.0.1:9\"]}
services:
  a: {match: [{prefix: /a}], upstream: a, auth: {public: a test}}
";

fn in_repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn with(text: &str) -> TempDir {
    let directory = scratch();
    fs::write(directory.path().join("gateway.yaml"), text).unwrap();
    directory
}

/// It ended as one who says no, not as one who broke.
fn assert_refused(what: &str, ran: &Ran, wants: &[&str]) {
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(1), "{what}: {said}");
    for want in wants {
        assert!(said.contains(want), "{what}: want {want:?} in:\n{said}");
    }
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{what}: {said}");
    assert!(said.len() < 4000, "{what}: {} bytes is more than anybody reads:\n{said}", said.len());
}

#[test]
fn run_and_check_refuse_a_file_that_will_not_do_and_say_why() {
    let large = format!("{GOOD}# {}\n", "a".repeat(2 * 1024 * 1024));
    let secret = "auth: {key: {keys: {primary: {key: 'file:no/such/file'}}}}";
    let variable = "auth: {key: {keys: {primary: {key: 'env:SCOREGATE_NO_SUCH_VARIABLE'}}}}";
    let public = "auth: {public: a test}";
    for (what, text, wants) in [
        ("an empty file", String::new(), &["gateway.yaml:1:1"][..]),
        ("2 MiB", large, &["1 MiB"]),
        ("no YAML", "a: [b\n".to_owned(), &["gateway.yaml:"]),
        ("an unknown field", GOOD.replace("health:", "heath:"), &["gateway.yaml:3:3", "heath", "health"]),
        ("a duplicate key", format!("{GOOD}store: {{}}\n"), &["gateway.yaml:9:1", "store"]),
        ("an unresolvable file", GOOD.replace(public, secret), &["services.a", "no/such/file"]),
        ("an unresolvable variable", GOOD.replace(public, variable), &["SCOREGATE_NO_SUCH_VARIABLE"]),
        ("a service without auth", GOOD.replace(public, "auth: {}"), &["gateway.yaml:8:", "services.a.auth"]),
        (
            "two auth modes",
            GOOD.replace(public, "auth: {public: a test, key: {}}"),
            &["gateway.yaml:8:", "services.a.auth"],
        ),
        ("an upstream that nobody defined", GOOD.replace("upstream: a,", "upstream: b,"), &["gateway.yaml:8:", "b"]),
    ] {
        let directory = with(&text);
        assert_refused(what, &run(directory.path(), &["run", "--config", "gateway.yaml"]), wants);
        assert_refused(what, &run(directory.path(), &["check", "gateway.yaml"]), wants);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = scratch();
    fs::create_dir(directory.path().join("folder")).unwrap();
    fs::write(directory.path().join("binary"), b"\xff\xfe\x00a").unwrap();
    for file in ["missing.yaml", "folder", "binary"] {
        assert_refused(file, &run(directory.path(), &["run", "--config", file]), &[file]);
        assert_refused(file, &run(directory.path(), &["check", file]), &[file]);
    }
}

#[test]
fn check_lists_every_problem_with_its_place() {
    let text = GOOD
        .replace("127.0.0.1:0\"}]", "nowhere\"}]")
        .replace("endpoints", "endpoint")
        .replace("{prefix: /a}", "{prefix: a}");
    let directory = with(&text);
    let ran = run(directory.path(), &["check", "gateway.yaml"]);
    assert_refused("three problems", &ran, &[]);
    for place in ["gateway.yaml:2:", "gateway.yaml:6:", "gateway.yaml:8:"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(place)), "{place} in:\n{}", ran.stdout);
    }
}

#[test]
fn a_port_in_use_ends_the_start_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for listener in ["  traffic: [{address: \"127.0.0.1:0\"}]", "  health: {address: \"127.0.0.1:0\"}"] {
        let text = GOOD.replace(listener, &listener.replace("127.0.0.1:0", &address));
        assert!(text.contains(&address));
        let ran = run(with(&text).path(), &["run", "--config", "gateway.yaml"]);
        assert_refused(listener, &ran, &[&address, "in use"]);
    }
}

#[test]
fn an_upstream_that_is_not_there_does_not_keep_the_gateway_from_starting() {
    let gateway = Gateway::start(&format!(
        "
upstreams: {{a: {{endpoints: [\"http://{}\"]}}}}
services: {{a: {{match: [{{prefix: /a}}], upstream: a, auth: {{public: a test}}}}}}
",
        free_address()
    ));
    let answer = client::get(gateway.traffic(), "/a", &[]);
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (502, Some("upstream_unreachable")));
    assert_eq!(client::get(gateway.health(), "/readyz", &[]).status, 200);
}

#[test]
fn a_wrong_command_line_is_code_2_and_help_is_code_0() {
    let directory = scratch();
    for arguments in [&["fly"][..], &["run", "--confg", "x"], &["demo", "--traffic", "nowhere"]] {
        let ran = run(directory.path(), arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("error:") && ran.stdout.is_empty(), "{arguments:?}: {}", ran.stderr);
    }
    for arguments in [&["--help"][..], &["run", "--help"], &["check", "--help"], &["demo", "--help"]] {
        let ran = run(directory.path(), arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}");
        assert!(ran.stdout.contains("Example"), "{arguments:?} shows examples: {}", ran.stdout);
    }
    let ran = run(directory.path(), &["--version"]);
    let (version, commit) = ran.stdout.trim_end().split_once(" (").unwrap();
    assert_eq!(version, concat!("scoregate ", env!("CARGO_PKG_VERSION")));
    assert!(commit.len() > 7, "a commit: {}", ran.stdout);
}

#[test]
fn schema_prints_the_schema_that_is_shipped() {
    let ran = run(scratch().path(), &["schema"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, in_repository("gateway.schema.json"));
}

#[test]
fn the_shipped_configuration_starts_as_it_is() {
    let shipped = in_repository("gateway.yaml");
    let directory = with(&shipped);
    let ran = run(directory.path(), &["check", "gateway.yaml"]);
    assert!(ran.code == Some(0) && ran.stdout.starts_with("gateway.yaml: ok"), "{}{}", ran.stdout, ran.stderr);
    // Other ports, since somebody may use these; nothing else is touched.
    let text = [("8080", "$TRAFFIC"), ("8081", "$MANAGEMENT"), ("8082", "$HEALTH")]
        .iter()
        .fold(shipped, |text, (port, plane)| {
            text.replace(&format!("address: 127.0.0.1:{port}"), &format!("address: {plane}"))
        });
    let gateway = Gateway::start(&text);
    assert_eq!(client::get(gateway.health(), "/readyz", &[]).status, 200);
    let score = client::post(gateway.traffic(), "/api/v1/service/iris/score", &[], b"{}");
    assert_eq!(score.status, 401, "{}", score.text());
    assert!(TcpListener::bind(gateway.management()).is_err(), "the management plane listens");
}

#[test]
fn every_example_of_the_documents_passes_check() {
    let text = in_repository("README.md");
    let mut blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut count = 0;
    for block in blocks.by_ref() {
        let directory = with(block);
        let ran = run(directory.path(), &["check", "--without-files", "gateway.yaml"]);
        assert_eq!(ran.code, Some(0), "{}\n{block}", ran.stdout);
        count += 1;
    }
    assert!(count > 0, "README.md shows a configuration");
}
