//! The cases of tests/wire/answers.yaml.

use scoregate::model::refusal::Failed;
use serde::Deserialize;

use super::caller::Outcome;

/// What an upstream does, and what its caller is to see of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) why: String,
    /// Where the rule stands.
    pub(super) source: String,
    #[serde(default)]
    pub(super) over: Over,
    #[serde(default)]
    pub(super) asks: Asks,
    #[serde(default)]
    pub(super) at: Moment,
    pub(super) answer: Vec<Step>,
    #[serde(default)]
    pub(super) then: Then,
    /// Reasons of which one is the answer's.
    #[serde(default)]
    pub(super) refused: Vec<String>,
    pub(super) relayed: Option<Relayed>,
    /// How the body begins that then breaks off.
    pub(super) cut: Option<String>,
    #[serde(default)]
    pub(super) connection: Connection,
}

/// What is spoken to the upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Over {
    #[default]
    Http1,
    Http2,
    Tls,
}

/// What the client sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Asks {
    #[default]
    Get,
    Head,
    Post,
    /// A head that announces a body, of which the first piece comes.
    Waits,
    /// A WebSocket, on a service that passes them.
    Upgrade,
}

impl Asks {
    pub(super) fn is_upgrade(self) -> bool {
        self == Self::Upgrade
    }
}

/// When the upstream begins to answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Moment {
    /// It does not listen.
    Never,
    /// Before it has read anything.
    Connect,
    /// When it has read the head.
    Head,
    /// When it has read the whole request.
    #[default]
    Request,
}

/// What the upstream does. A text is sent byte for byte, each character below U+0100 as one byte.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Step {
    Send(String),
    Repeat { repeat: String, times: usize },
    Pause { pause_ms: u64 },
    Forever { forever: String, every_ms: u64 },
}

/// What it does after that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Then {
    /// It waits for the gateway.
    #[default]
    Stay,
    Close,
    Reset,
}

/// Whether the connection to the upstream may be used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Connection {
    #[default]
    Gone,
    Kept,
}

/// A whole answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relayed {
    status: u16,
    #[serde(default)]
    body: String,
    /// Headers that it must not have.
    #[serde(default)]
    without: Vec<String>,
}

/// A text's bytes.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("a character stands for a byte")).collect()
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/answers.yaml")).unwrap();
    let cases: Vec<Case> = serde_yaml::from_str(&text).unwrap();
    for case in &cases {
        let wanted = !case.refused.is_empty() || case.relayed.is_some() || case.cut.is_some();
        assert!(wanted && !case.why.is_empty(), "{}: wants nothing", case.name);
    }
    cases
}

impl Case {
    /// What the upstream sends, the pauses left out.
    pub(super) fn sent(&self) -> Vec<u8> {
        let send = |step: &Step| match step {
            Step::Send(text) | Step::Forever { forever: text, .. } => bytes(text),
            Step::Repeat { repeat, times } => bytes(repeat).repeat(*times),
            Step::Pause { .. } => Vec::new(),
        };
        self.answer.iter().flat_map(send).collect()
    }

    /// Whether the caller got what is wanted.
    pub(super) fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        match outcome {
            Outcome::Whole { status, reason: Some(reason), .. } => {
                let row = Failed::ALL.iter().map(|failed| failed.row()).find(|row| row.code == *reason);
                let is_honest = row.is_some_and(|row| row.status.as_u16() == *status);
                if is_honest && self.refused.contains(reason) {
                    return Ok(());
                }
            }
            Outcome::Whole { status, reason: None, body, headers, .. } => {
                if let Some(relayed) = &self.relayed {
                    let has = |name: &String| headers.iter().any(|(known, _)| known == name);
                    if relayed.status == *status && bytes(&relayed.body) == *body && !relayed.without.iter().any(has) {
                        return Ok(());
                    }
                }
            }
            Outcome::Cut { body } => {
                if self.cut.as_ref().is_some_and(|begins| body.starts_with(&bytes(begins))) {
                    return Ok(());
                }
            }
            Outcome::Nothing => {}
        }
        Err(format!("got {outcome:.300?}"))
    }
}
