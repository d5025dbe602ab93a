//! `scoregate demo`: what it prints works as pasted, by curl.

use std::io::BufRead as _;
use std::io::BufReader;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::client;
use crate::support::gateway::PROGRAM;
use crate::support::gateway::scratch;

/// A demonstration on free ports, killed when dropped.
#[derive(Debug)]
pub(crate) struct Demo {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let free = "127.0.0.1:0";
        let mut child = Command::new(PROGRAM)
            .args(["demo", "--traffic", free, "--management", free, "--health", free])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens once the test has ended.
                sender.send(line).unwrap_or_default();
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the demonstration prints a line")
    }

    pub(crate) fn json(arguments: &[&str]) -> (Self, Value) {
        let demo = Self::start(&[&["--json"], arguments].concat());
        let line = demo.line();
        let document = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        (demo, document)
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_first_line_of_json_has_all_that_a_script_needs() {
    let (demo, document) = Demo::json(&[]);
    for pointer in [
        "/traffic",
        "/management",
        "/health",
        "/workspace",
        "/management_token",
        "/key_service/name",
        "/key_service/scoring_uri",
        "/key_service/primary",
        "/key_service/secondary",
        "/token_service/name",
        "/token_service/scoring_uri",
        "/token_service/token",
        "/face/endpoint",
        "/face/isv_key",
        "/face/client_key",
        "/face/client_resource_id",
    ] {
        let text = document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(!text.is_empty(), "{pointer} in {document}");
    }
    for plane in ["traffic", "management", "health"] {
        let address = document[plane].as_str().unwrap().strip_prefix("http://").unwrap();
        let address: SocketAddr = address.parse().unwrap();
        assert_ne!(address.port(), 0, "{plane}");
    }
    assert!(document["workspace"].as_str().unwrap().starts_with("/subscriptions/"));
    let health = document["health"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
    assert_eq!(client::get(health, "/readyz", &[]).status, 200);
    assert_eq!(demo.terminate(), Some(0));
}

#[test]
fn every_line_of_the_story_does_what_its_sentence_says() {
    let curl = Command::new("curl").arg("--version").output();
    assert!(curl.is_ok_and(|ran| ran.status.success()), "no curl; apt-get install curl");
    let demo = Demo::start(&[]);
    let mut told = Vec::new();
    let mut sentence = String::new();
    // The line about metrics is the last one.
    while told.last().is_none_or(|(sentence, _): &(String, String)| !sentence.starts_with("Metrics")) {
        let line = demo.line();
        if let Some(text) = line.strip_prefix("# ") {
            text.clone_into(&mut sentence);
        } else if ["curl ", "TOKEN=", "SCOREGATE_"].iter().any(|first| line.starts_with(first)) {
            told.push((std::mem::take(&mut sentence), line));
        } else if line.is_empty() {
            sentence.clear();
        }
        // A line that continues the one before is pasted with it.
        if let [.., (_, first), (continued, second)] = told.as_mut_slice()
            && continued.is_empty()
        {
            *first = format!("{first}\n{second}");
            told.pop();
        }
    }
    assert!(told.len() >= 10, "{told:?}");
    for (sentence, line) in told {
        if sentence.starts_with("Command line") {
            let ran = Command::new("bash").arg("-c").arg(&line).output().unwrap();
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(ran.status.success() && said.contains("services/iris"), "{sentence}\n{line}\n{said}");
            continue;
        }
        let (said, status) = paste(&line);
        match sentence.split([':', ' ']).next().unwrap() {
            "Allowed" | "Lending" => assert_eq!(status, "200", "{sentence}\n{line}\n{said}"),
            "Managing" => assert!(status.starts_with("20"), "{status}: {sentence}\n{line}\n{said}"),
            "Denied" => {
                let claimed = sentence.split(['(', ')']).nth(1).unwrap();
                assert_eq!(status, claimed, "{sentence}\n{line}\n{said}");
                assert!(said.contains(&format!(" {claimed}")), "the answer's head is shown: {said}");
            }
            "Metrics" => {
                assert!(
                    said.contains("gateway_denials_total") && said.contains("credential_missing"),
                    "{line}\n{said}"
                );
                assert!(said.contains("gateway_http_requests_total{code=\"200\""), "{line}\n{said}");
            }
            other => panic!("{other}: {sentence}"),
        }
        if sentence.contains("species") {
            assert!(said.contains("setosa"), "{said}");
        }
        if sentence.contains("the answer says what is wanted") {
            assert!(said.to_ascii_lowercase().contains("www-authenticate:"), "{said}");
        }
    }
}

/// What a pasted line prints, and the status of its answer. To learn that, the request is told to standard error as well:
/// what the line itself prints stays as it is.
fn paste(line: &str) -> (String, String) {
    let last = line.rfind("curl ").unwrap();
    let (before, call) = line.split_at(last);
    let asked = format!("{before}{}", call.replacen("curl ", "curl -w '%{stderr}%{http_code}' ", 1));
    let ran = Command::new("bash").arg("-c").arg(asked).output().unwrap();
    let [said, status] = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (said, status)
}

#[test]
fn kept_state_keeps_the_keys() {
    let directory = scratch();
    let state = directory.path().join("state");
    let arguments = ["--state", state.to_str().unwrap()];
    let keys = |document: &Value| {
        ["/key_service/primary", "/key_service/secondary", "/face/isv_key", "/face/client_key"]
            .map(|pointer| document.pointer(pointer).cloned().unwrap_or_default())
    };
    let (demo, first) = Demo::json(&arguments);
    assert_eq!(demo.terminate(), Some(0));
    assert!(Path::new(&state).join("gateway.yaml").exists(), "the configuration is kept");
    let (demo, second) = Demo::json(&arguments);
    assert_eq!(keys(&first), keys(&second));
    assert_eq!(demo.terminate(), Some(0));

    let (demo, other) = Demo::json(&[]);
    assert_ne!(keys(&other), keys(&first), "without a directory the keys are new");
    assert_eq!(demo.terminate(), Some(0));
}
