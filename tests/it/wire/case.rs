//! A case as it is written: bytes to send, and what may come of them. `tests/wire/README.md` describes the form.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    /// Whether the gateway closes, where a case does not say it.
    closes: bool,
    cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) source: String,
    /// A head, line by line, and the empty line after it.
    #[serde(default)]
    lines: Vec<Pieces>,
    /// What follows the lines, or everything where there are none.
    #[serde(default)]
    send: Pieces,
    /// One answer of one of these statuses, and nothing for the upstream.
    refused: Option<Status>,
    /// One 200, and this for the upstream.
    forwarded: Option<Expected>,
    /// Where there are several requests: an answer for each.
    #[serde(default)]
    answers: Vec<Status>,
    /// What the upstream gets of several requests.
    #[serde(default)]
    upstream: Vec<Expected>,
    /// The upstream may have been sent a beginning that is no whole request to anybody.
    #[serde(default)]
    pub(super) begun: bool,
    closes: Option<bool>,
}

/// The statuses that will do.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Status {
    One(u16),
    Any(Vec<u16>),
}

/// What the upstream has to receive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    #[serde(default = "get")]
    pub(super) method: String,
    target: Pieces,
    #[serde(default = "gateway_test")]
    pub(super) host: String,
    #[serde(default)]
    body: Pieces,
    /// Headers with their values, all values of a name joined by `, `.
    #[serde(default)]
    pub(super) has: BTreeMap<String, String>,
    /// Names that it must not have.
    #[serde(default)]
    pub(super) lacks: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Pieces {
    One(String),
    Many(Vec<Piece>),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Repeat { repeat: String, times: usize },
    Pause { pause: u64 },
    End { end: bool },
}

/// What a client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Sends no more, and says so.
    End,
}

fn get() -> String {
    "GET".to_owned()
}

fn gateway_test() -> String {
    "gateway.test".to_owned()
}

/// The cases of an area.
pub(super) fn of(area: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(area).with_extension("yaml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let Area { closes, mut cases } = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{area}: {error}"));
    let mut names = BTreeSet::new();
    for case in &mut cases {
        assert!(names.insert(case.name.clone()), "{area}: two cases are called {}", case.name);
        let expectations = [case.refused.is_some(), case.forwarded.is_some(), !case.answers.is_empty()];
        let expected = expectations.iter().filter(|expects| **expects).count();
        assert_eq!(expected, 1, "{area}: {}: want one of refused, forwarded, answers", case.name);
        case.closes.get_or_insert(closes);
    }
    cases
}

impl Default for Pieces {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Status {
    pub(super) fn takes(&self, status: u16) -> bool {
        match self {
            Self::One(one) => *one == status,
            Self::Any(any) => any.contains(&status),
        }
    }
}

impl Expected {
    pub(super) fn target(&self) -> String {
        self.target.bytes().into_iter().map(char::from).collect()
    }

    pub(super) fn body(&self) -> Vec<u8> {
        self.body.bytes()
    }
}

impl Case {
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for line in &self.lines {
            steps.extend(line.steps());
            steps.push(Step::Send(b"\r\n".to_vec()));
        }
        if !self.lines.is_empty() {
            steps.push(Step::Send(b"\r\n".to_vec()));
        }
        steps.extend(self.send.steps());
        joined(steps)
    }

    /// All that is sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        sent(self.steps())
    }

    /// An answer for each request that gets one.
    pub(super) fn answers(&self) -> Vec<Status> {
        match (&self.refused, &self.forwarded) {
            (Some(refused), _) => vec![refused.clone()],
            (None, Some(_)) => vec![Status::One(200)],
            (None, None) => self.answers.clone(),
        }
    }

    /// What the upstream has to receive, in order.
    pub(super) fn upstream(&self) -> Vec<&Expected> {
        self.forwarded.iter().chain(&self.upstream).collect()
    }

    pub(super) fn closes(&self) -> bool {
        self.closes == Some(true)
    }
}

impl Pieces {
    fn bytes(&self) -> Vec<u8> {
        sent(self.steps())
    }

    fn steps(&self) -> Vec<Step> {
        match self {
            Self::One(text) => vec![Step::Send(bytes(text))],
            Self::Many(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => Step::Send(bytes(text)),
                    Piece::Repeat { repeat, times } => Step::Send(bytes(repeat).repeat(*times)),
                    Piece::Pause { pause } => Step::Wait(Duration::from_millis(*pause)),
                    Piece::End { end } => {
                        assert!(*end, "want `end: true`");
                        Step::End
                    }
                })
                .collect(),
        }
    }
}

/// A character is a byte: `\xff` in the file is the byte 255.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap_or_else(|_| panic!("{char:?} of {text:?} is no byte"))).collect()
}

/// All bytes of these steps.
fn sent(steps: Vec<Step>) -> Vec<u8> {
    steps.into_iter().flat_map(|step| if let Step::Send(bytes) = step { bytes } else { Vec::new() }).collect()
}

/// Neighbours that are sent are sent at once.
fn joined(steps: Vec<Step>) -> Vec<Step> {
    let mut together: Vec<Step> = Vec::new();
    for step in steps {
        match (together.last_mut(), step) {
            (Some(Step::Send(before)), Step::Send(after)) => before.extend(after),
            (_, step) => together.push(step),
        }
    }
    together
}
