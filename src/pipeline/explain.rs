//! A decision in words: each check in its order, what it looked at, by which rule, and what would make it pass.
//!
//! The facts are those of the decision, the rules those in force when somebody asks; where they have changed in between
//! the explanation says so. Nothing here decides anything.

mod caller;

use http::Method;

use crate::config::Traffic;
use crate::config::Written;
use crate::model::explanation::Check;
use crate::model::explanation::Explanation;
use crate::model::explanation::Outcome;
use crate::model::explanation::Step;
use crate::model::host::Host;
use crate::model::path::NormalPath;
use crate::model::refusal::Denied;
use crate::model::refusal::Refusal;
use crate::model::time::UnixSeconds;
use crate::observe::decisions::Decision;
use crate::snapshot::Snapshot;
use crate::snapshot::service::Service;

/// Services that are named where none matched.
const LISTED: usize = 8;

/// Explains a decision by the rules of a snapshot, which stand in `written`.
#[must_use]
pub fn explanation(decision: &Decision, snapshot: &Snapshot, written: &Written) -> Explanation {
    let named = |name| snapshot.services.iter().find(|service| service.settings.name == name);
    let service = decision.service.as_ref().and_then(|name| named(name.clone()));
    let telling = Telling { decision, snapshot, written, service: service.map(AsRef::as_ref) };
    let row = decision.refusal.map(Refusal::row);
    Explanation {
        decision: decision.id.map(|id| id.to_string()),
        at: decision.id.map(|_| UnixSeconds(decision.at.as_secs())),
        generation: decision.generation,
        service: decision.service.as_ref().map(ToString::to_string),
        code: row.map(|row| row.code.to_owned()),
        status: row.map(|row| row.status.as_u16()),
        checks: Step::ALL.into_iter().filter(|step| telling.includes(*step)).map(|step| telling.check(step)).collect(),
        advice: decision.refusal.map(|refusal| telling.advice(refusal)),
        note: telling.note(),
    }
}

/// What an explanation is told from.
struct Telling<'d> {
    decision: &'d Decision,
    snapshot: &'d Snapshot,
    written: &'d Written,
    /// The service, as it is now.
    service: Option<&'d Service>,
}

/// What a check says in words.
#[derive(Default)]
struct Told {
    input: String,
    rule: String,
    finding: String,
}

impl Telling<'_> {
    /// Where the request stopped; `None` where it passed.
    fn stopped(&self) -> Option<Step> {
        self.decision.refusal.map(Step::of)
    }

    /// Where it failed first: who fails too often has failed before at a credential.
    fn failed(&self) -> Option<Step> {
        self.decision.evidence.throttled.map(|why| Step::of(why.into())).or(self.stopped())
    }

    fn includes(&self, step: Step) -> bool {
        let stopped = self.stopped();
        let is_issuing = stopped == Some(Step::Issue);
        match step {
            Step::Form | Step::Service | Step::Readiness | Step::Credential | Step::Caller | Step::Body => true,
            Step::Attempts | Step::Issue | Step::Limits | Step::Record => stopped == Some(step),
            Step::Features => {
                let has_rules = |service: &Service| !service.settings.feature_rules.is_empty();
                !is_issuing && (stopped == Some(step) || self.service.is_some_and(has_rules))
            }
            Step::Upstream => !is_issuing,
        }
    }

    fn outcome(&self, step: Step) -> Outcome {
        let (Some(stopped), Some(failed)) = (self.stopped(), self.failed()) else { return Outcome::Passed };
        if step == stopped || step == failed {
            Outcome::Refused
        } else if step < failed {
            Outcome::Passed
        } else {
            Outcome::NotReached
        }
    }

    fn check(&self, step: Step) -> Check {
        let outcome = self.outcome(step);
        let told = match outcome {
            Outcome::NotReached => Told::default(),
            Outcome::Passed | Outcome::Refused => self.told(step),
        };
        Check {
            input: told.input,
            rule: told.rule,
            finding: self.finding(step, told.finding),
            ..Check::of(step, outcome)
        }
    }

    /// What happened in the words of the table, before what is known besides.
    fn finding(&self, step: Step, known: String) -> String {
        let refusal = match self.decision.evidence.throttled {
            Some(why) if step != Step::Attempts => Some(why.into()),
            Some(_) | None => self.decision.refusal,
        };
        match refusal {
            Some(refusal) if self.outcome(step) == Outcome::Refused => {
                let about = refusal.about().trim();
                if known.is_empty() { about.to_owned() } else { format!("{about} {known}") }
            }
            Some(_) | None => known,
        }
    }

    fn told(&self, step: Step) -> Told {
        match step {
            Step::Form => Told { input: self.call(), ..Told::default() },
            Step::Service => self.matching(),
            Step::Readiness => self.readiness(),
            Step::Credential => self.credential(),
            Step::Caller => self.caller(),
            Step::Attempts => Told {
                input: self.decision.client.map(|client| client.to_string()).unwrap_or_default(),
                rule: self.written.rule("listeners.traffic[0].limits.failed_authentications"),
                finding: String::new(),
            },
            Step::Features => self.features(),
            Step::Issue => self.issue(),
            Step::Limits => Told { input: self.who(), rule: self.rule_of_service("limits"), finding: String::new() },
            Step::Body => self.body(),
            Step::Record => Told { rule: self.written.rule("audit"), ..Told::default() },
            Step::Upstream => self.upstream(),
        }
    }

    /// Method, host and path: what the access log has of a request.
    fn call(&self) -> String {
        let Decision { method, host, path, .. } = self.decision;
        format!("{method} {}{path}", host.as_deref().unwrap_or_default())
    }

    fn matching(&self) -> Told {
        let (input, refused) = (self.call(), self.stopped() == Some(Step::Service));
        match &self.decision.service {
            Some(name) => Told {
                input,
                rule: self.rule_of_service("match"),
                finding: if refused { String::new() } else { format!("It is for the service {name}.") },
            },
            None => Told { input, rule: self.written.rule("services"), finding: self.unmatched() },
        }
    }

    /// What would have matched.
    fn unmatched(&self) -> String {
        let taken = self.methods_taken();
        if !taken.is_empty() {
            return format!("At this path {} can be called.", taken.join(", "));
        }
        let services = &self.snapshot.services;
        let listed: Vec<&str> = services.iter().take(LISTED).map(|service| service.settings.name.as_str()).collect();
        let more = if services.len() > listed.len() { ", …" } else { "" };
        format!("The services are {}{more}; `scoregate check` prints their matches.", listed.join(", "))
    }

    /// Methods that a service takes at this host and path.
    fn methods_taken(&self) -> Vec<&str> {
        let Decision { host, path, .. } = self.decision;
        let (Some(Ok(host)), Ok(path)) = (host.as_deref().map(Host::read), NormalPath::read(path)) else {
            return Vec::new();
        };
        self.snapshot.routes.methods_at(&host, &path).map(Method::as_str).collect()
    }

    fn readiness(&self) -> Told {
        let finding = match (self.service, self.stopped()) {
            (Some(Service { quarantined: Some(why), .. }), _) => format!("Now: {why}."),
            (Some(_), Some(Step::Readiness)) => "It is ready now.".to_owned(),
            (Some(_) | None, _) => String::new(),
        };
        Told { rule: self.rule_of_service(""), finding, ..Told::default() }
    }

    fn issue(&self) -> Told {
        let resource = self.decision.evidence.resource.as_ref();
        Told {
            input: resource.map(|resource| format!("a token for {}", resource.as_str())).unwrap_or_default(),
            rule: self.rule_of_account("may_issue"),
            finding: String::new(),
        }
    }

    fn body(&self) -> Told {
        let (field, limit) = match (self.decision.refusal, self.service) {
            (Some(Refusal::Denied { why: Denied::BodyTimeout, .. }), Some(service)) => {
                let idle = service.settings.timeouts.idle;
                ("timeouts.idle", format!("The service waits {} s for the next piece.", idle.as_secs_f64()))
            }
            (_, Some(Service { settings, .. })) => {
                let most = settings.max_body_bytes;
                (
                    "max_body",
                    most.map_or_else(|| "It has no limit.".to_owned(), |most| format!("At most {most} bytes.")),
                )
            }
            (_, None) => ("", String::new()),
        };
        let rule = if field.is_empty() { String::new() } else { self.rule_of_service(field) };
        Told { input: format!("{} bytes came", self.decision.body_bytes), rule, finding: limit }
    }

    fn upstream(&self) -> Told {
        let wanted = self.service.and_then(|service| match &service.settings.traffic {
            Traffic::One(upstream) => Some(upstream),
            // Which deployment it would have been is on no record.
            Traffic::Split(_) => None,
        });
        let Some(name) = self.decision.sent.as_ref().map(|(name, _)| name).or(wanted) else { return Told::default() };
        let endpoint = self.decision.sent.as_ref().and_then(|(_, endpoint)| endpoint.as_deref());
        Told {
            input: endpoint.map(|endpoint| format!("{endpoint} began to answer")).unwrap_or_default(),
            rule: self.written.rule(&format!("upstreams.{name}")),
            finding: String::new(),
        }
    }

    /// Who is counted: the caller, or where nobody is known its address.
    fn who(&self) -> String {
        let Decision { principal, client, .. } = self.decision;
        let address = || client.map(|client| client.to_string()).unwrap_or_default();
        principal.as_ref().map_or_else(address, ToString::to_string)
    }

    /// A rule of the service; of the service itself where the field is empty.
    fn rule_of_service(&self, field: &str) -> String {
        match &self.decision.service {
            Some(name) if field.is_empty() => self.written.rule(&format!("services.{name}")),
            Some(name) => self.written.rule(&format!("services.{name}.{field}")),
            None => String::new(),
        }
    }

    fn advice(&self, refusal: Refusal) -> String {
        match self.decision.evidence.throttled {
            Some(why) => format!("{} That credential: {}", refusal.advice(), why.advice()),
            None => refusal.advice().to_owned(),
        }
    }

    fn note(&self) -> Option<String> {
        let decided = self.decision.generation?;
        let now = self.snapshot.generation;
        (decided != now).then(|| {
            format!("generation {decided} decided; the rules are shown as generation {now} has them, which may differ")
        })
    }
}
