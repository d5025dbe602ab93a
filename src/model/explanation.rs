//! A decision as it is told to people: each check in its order, what it looked at, by which rule, and what would make
//! the request pass.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::time::UnixSeconds;

/// The checks of a request, in their order. A refusal belongs to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// What arrived is a request, and has one reading.
    Form,
    /// A service matches it.
    Service,
    /// The service has everything that it needs.
    Readiness,
    /// There is exactly one credential, where the service reads it.
    Credential,
    /// The credential is somebody's, now.
    Caller,
    /// The address has not failed too often.
    Attempts,
    /// The caller may use the features that the call needs.
    Features,
    /// The caller may issue what it asks for; in place of what follows and of [`Step::Features`].
    Issue,
    /// The body is what was announced and within bounds.
    Body,
    /// The caller and the service are within their limits.
    Limits,
    /// What has to be on record is.
    Record,
    /// The upstream answers.
    Upstream,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 12] = [
        Self::Form,
        Self::Service,
        Self::Readiness,
        Self::Credential,
        Self::Caller,
        Self::Attempts,
        Self::Features,
        Self::Issue,
        Self::Body,
        Self::Limits,
        Self::Record,
        Self::Upstream,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Service => "service",
            Self::Readiness => "readiness",
            Self::Credential => "credential",
            Self::Caller => "caller",
            Self::Attempts => "attempts",
            Self::Features => "features",
            Self::Issue => "issue",
            Self::Body => "body",
            Self::Limits => "limits",
            Self::Record => "record",
            Self::Upstream => "upstream",
        }
    }

    /// What it asks.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Form => "Is it a request with one reading, within the listener's limits?",
            Self::Service => "Does a service match its host, path and method?",
            Self::Readiness => "Has the service everything that it needs?",
            Self::Credential => "Is there exactly one credential where the service reads it?",
            Self::Caller => "Whose is it, and does it open this service now?",
            Self::Attempts => "Has this address shown few bad credentials in the last minute?",
            Self::Features => "May the caller use the features that the call needs?",
            Self::Issue => "May the caller issue this LimitedAccessToken?",
            Self::Body => "Is the body as it was announced, and within bounds?",
            Self::Limits => "Are the caller and the service within their limits?",
            Self::Record => "Is on record what has to be?",
            Self::Upstream => "Does the upstream answer?",
        }
    }

    /// The step at which a refusal stops a request.
    #[must_use]
    pub const fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied { why, .. } => Self::of_denied(why),
            Refusal::Failed(failed) => Self::of_failed(failed),
        }
    }

    const fn of_denied(why: Denied) -> Self {
        match why {
            Denied::HostInvalid
            | Denied::PathAmbiguous
            | Denied::MethodRefused
            | Denied::RequestMalformed
            | Denied::HeadTimeout
            | Denied::HeadersTooLarge
            | Denied::TargetTooLong => Self::Form,
            Denied::ForwardAuthPeer | Denied::ForwardAuthInvalid => Self::Form,
            Denied::NoService | Denied::NoDeployment | Denied::MethodNotAllowed => Self::Service,
            Denied::CredentialMissing | Denied::CredentialAmbiguous | Denied::CredentialMalformed => Self::Credential,
            Denied::KeyUnknown
            | Denied::KeyExpired
            | Denied::TokenMalformed
            | Denied::TokenAlgorithm
            | Denied::TokenKeyUnknown
            | Denied::TokenSignature
            | Denied::TokenExpired
            | Denied::TokenNotYetValid
            | Denied::TokenIssuer
            | Denied::TokenAudience
            | Denied::TokenLifetime
            | Denied::TokenClaim
            | Denied::TokenRevoked => Self::Caller,
            Denied::AuthThrottled => Self::Attempts,
            Denied::FeatureNotGranted
            | Denied::LimitedTokenInvalid
            | Denied::LimitedTokenExpired
            | Denied::LimitedTokenResource => Self::Features,
            Denied::IssueArgument | Denied::IssueNotAllowed => Self::Issue,
            Denied::BodyTooLarge | Denied::BodyTimeout | Denied::BodyMalformed => Self::Body,
            Denied::RateLimited | Denied::CallerBusy | Denied::ServiceBusy => Self::Limits,
        }
    }

    const fn of_failed(failed: Failed) -> Self {
        match failed {
            Failed::ServiceQuarantined => Self::Readiness,
            Failed::IssuerUnavailable => Self::Caller,
            Failed::QueueTimeout => Self::Limits,
            Failed::AuditUnavailable => Self::Record,
            Failed::UpstreamUnreachable
            | Failed::UpstreamConnectTimeout
            | Failed::UpstreamTls
            | Failed::UpstreamClosed
            | Failed::UpstreamProtocol
            | Failed::UpstreamTimeout
            | Failed::TotalTimeout
            | Failed::NoEndpoint
            | Failed::Internal => Self::Upstream,
        }
    }
}

/// A decision, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Its identifier; none where no request was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// When the request ended, seconds since 1970.
    pub at: Option<UnixSeconds>,
    /// The generation that decided.
    pub generation: Option<u64>,
    /// The service that matched.
    pub service: Option<String>,
    /// The reason's code; none where the request passed.
    pub code: Option<String>,
    /// The status that the gateway answered with; none where the upstream's is passed on.
    pub status: Option<u16>,
    /// The checks, in their order.
    pub checks: Vec<Check>,
    /// What makes the request pass; none where it did.
    pub advice: Option<String>,
    /// What is to be known of the explanation itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One check of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The step's name.
    pub name: String,
    /// What the step asks.
    pub question: String,
    /// What of the request it looked at. Credentials are told by their place and length alone.
    pub input: String,
    /// By which rule: `gateway.yaml:12 services.iris.auth`, `store: accounts/clinic`; empty where HTTP itself says so.
    pub rule: String,
    /// What came of it.
    pub outcome: Outcome,
    /// That in words.
    pub finding: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The request went on.
    Passed,
    /// The request ended here.
    Refused,
    /// It had ended before.
    NotReached,
}

impl Check {
    /// A check of a step, nothing of it told yet.
    #[must_use]
    pub fn of(step: Step, outcome: Outcome) -> Self {
        Self {
            name: step.as_str().to_owned(),
            question: step.question().to_owned(),
            input: String::new(),
            rule: String::new(),
            outcome,
            finding: String::new(),
        }
    }
}

impl fmt::Display for Explanation {
    /// For a terminal, a line or two a check.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(decision) = &self.decision {
            writeln!(f, "decision   {}", plain(decision))?;
        }
        if let Some(service) = &self.service {
            writeln!(f, "service    {}", plain(service))?;
        }
        match (&self.code, self.status) {
            (None, _) => writeln!(f, "verdict    allowed")?,
            (Some(code), None) => writeln!(f, "verdict    refused: {}", plain(code))?,
            (Some(code), Some(status)) => writeln!(f, "verdict    refused: {} ({status})", plain(code))?,
        }
        writeln!(f)?;
        for check in &self.checks {
            write!(f, "{check}")?;
        }
        for (label, text) in [("To make it pass", &self.advice), ("Note", &self.note)] {
            if let Some(text) = text {
                writeln!(f, "\n{label}: {}", plain(text))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, question, input, rule, outcome, finding } = self;
        let mark = match outcome {
            Outcome::Passed => "ok",
            Outcome::Refused => "NO",
            Outcome::NotReached => "-",
        };
        writeln!(f, "{mark:<3} {:<11} {}", plain(name), plain(question))?;
        for (label, text) in [("saw", input), ("rule", rule), ("", finding)] {
            if !text.is_empty() {
                writeln!(f, "    {label:<11} {}", plain(text))?;
            }
        }
        Ok(())
    }
}

/// A text in which each control character is one sign: a request's own words must not steer a terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::Check;
    use super::Explanation;
    use super::Outcome;
    use super::Step;
    use crate::model::refusal::Denied;
    use crate::model::refusal::Failed;
    use crate::model::refusal::Refusal;
    use crate::model::refusal::Shown;

    fn every_refusal() -> impl Iterator<Item = (&'static str, Refusal)> {
        let denied = Denied::ALL.iter().map(|why| (why.about(), Refusal::from(*why)));
        denied.chain(Failed::ALL.iter().map(|failed| (failed.about(), Refusal::from(*failed))))
    }

    #[test]
    fn an_advice_is_a_sentence_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for (_, refusal) in every_refusal() {
            let (code, advice) = (refusal.row().code, refusal.advice());
            assert!(advice.ends_with('.') && advice.starts_with(char::is_uppercase), "{code}: {advice}");
            assert!(advice.matches('`').count() % 2 == 0, "{code}: {advice}");
            assert!(seen.insert(advice), "{code} has another's advice: {advice}");
        }
    }

    #[test]
    fn a_step_has_a_refusal_and_the_steps_stand_in_their_order() {
        for step in Step::ALL {
            assert!(every_refusal().any(|(_, refusal)| Step::of(refusal) == step), "{step:?}");
        }
        assert!(Step::ALL.is_sorted());
    }

    #[test]
    fn the_words_of_a_request_do_not_steer_a_terminal() {
        let mut check = Check::of(Step::Form, Outcome::Refused);
        check.input = "GET /\u{1b}[2J\n".to_owned();
        let explanation = Explanation {
            decision: None,
            at: None,
            generation: None,
            service: None,
            code: Some("path_ambiguous".to_owned()),
            status: Some(400),
            checks: vec![check],
            advice: Some("Send it plainly.".to_owned()),
            note: None,
        };
        assert_eq!(
            explanation.to_string(),
            "verdict    refused: path_ambiguous (400)\n\n\
             NO  form        Is it a request with one reading, within the listener's limits?\n    \
             saw         GET /\u{fffd}[2J\u{fffd}\n\n\
             To make it pass: Send it plainly.\n"
        );
    }

    #[test]
    fn docs_refusals_md_lists_every_row() {
        const BEGIN: &str = "<!-- Written by `UPDATE=1 cargo test`: from here -->\n";
        const END: &str = "<!-- to here -->\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/refusals.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the table's first line");
        let (written, after) = rest.split_once(END).expect("the line after the table");
        let table = table();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, [before, BEGIN, &table, END, after].concat()).unwrap();
        } else {
            assert_eq!(written, table, "run UPDATE=1 cargo test");
        }
    }

    fn table() -> String {
        let mut table =
            "| code | check | status | gRPC | caller learns it | what happened | what makes it pass |\n|---|---|---|---|---|---|---|\n"
                .to_owned();
        for (about, refusal) in every_refusal() {
            let row = refusal.row();
            let shown = match row.shown {
                Shown::Exactly => "yes",
                Shown::AsUnauthenticated => "no",
            };
            let (code, status, grpc) = (row.code, row.status.as_u16(), row.grpc as u16);
            let (step, about, advice) = (Step::of(refusal).as_str(), about.trim(), refusal.advice());
            writeln!(table, "| `{code}` | {step} | {status} | {grpc} | {shown} | {about} | {advice} |").unwrap();
        }
        table
    }
}
