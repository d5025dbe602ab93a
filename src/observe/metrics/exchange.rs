//! What is counted for every request, whether it matched a service or not.

use std::sync::OnceLock;
use std::time::Duration;

use http::Method;
use http::StatusCode;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;

use crate::model::refusal::Denied;
use crate::model::refusal::Failed;

use super::group::Counters;
use super::group::Group;
use super::group::Histograms;
use super::group::Label;
use super::labels::Code;
use super::labels::CodeClass;
use super::labels::MethodLabel;
use super::labels::Scheme;

/// Seconds. OpenTelemetry's buckets for HTTP, widened at both ends: a gateway answers a refusal in less than
/// a millisecond, and a model may think for minutes.
pub(super) const EXCHANGE_SECONDS: [f64; 20] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0,
    300.0,
];

/// Counts the requests of one service, or those that have not matched one.
#[derive(Debug)]
pub(in crate::observe) struct Exchange {
    requests: Requests,
    duration: Histograms<CodeClass>,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    aborted: IntCounter,
    denials: Counters<Denied>,
    failures: Counters<Failed>,
}

/// How a request ended.
pub(in crate::observe) struct Finished<'r> {
    pub(in crate::observe) method: &'r Method,
    pub(in crate::observe) status: Option<StatusCode>,
    pub(in crate::observe) duration: Duration,
    pub(in crate::observe) request_bytes: u64,
    pub(in crate::observe) response_bytes: u64,
}

impl Exchange {
    /// Counts requests that have not matched a service.
    pub(super) fn before_match(group: &mut Group) -> Self {
        let all = Denied::ALL.iter().copied();
        Self::new(group, all.filter(|why| matches!(When::of(*why), When::BeforeMatch | When::Either)))
    }

    /// Counts the requests of a service.
    pub(super) fn of_service(group: &mut Group) -> Self {
        let all = Denied::ALL.iter().copied();
        Self::new(group, all.filter(|why| matches!(When::of(*why), When::Either | When::AfterMatch)))
    }

    fn new(group: &mut Group, denials: impl Iterator<Item = Denied>) -> Self {
        Self {
            requests: Requests::new(group),
            duration: group
                .histograms(
                    "http_request_duration_seconds",
                    "Seconds from a request's head to the end of its answer, or until the client left (code_class: 1xx to 5xx, none).",
                    &EXCHANGE_SECONDS,
                )
                .with(CodeClass::USUAL),
            request_bytes: group.counter(
                "http_request_body_bytes_total",
                "Bytes of request bodies, counted when the request has ended.",
            ),
            response_bytes: group.counter(
                "http_response_body_bytes_total",
                "Bytes of answers' bodies, counted when the request has ended.",
            ),
            aborted: group.counter(
                "http_requests_aborted_total",
                "Requests whose client left before the end of the answer.",
            ),
            denials: group
                .counters("denials_total", "Requests that policy refused, by reason code (4xx).")
                .with(denials),
            failures: group
                .counters("failures_total", "Requests that something broke for, by reason code (5xx).")
                .with_all(),
        }
    }

    /// Makes the series of the denials that only a service with this scheme gives.
    pub(super) fn prepare(&self, scheme: Scheme) {
        self.denials.create(Denied::ALL.iter().copied().filter(|why| When::of(*why) == When::Only(scheme)));
    }

    pub(in crate::observe) fn finished(&self, request: &Finished<'_>) {
        self.requests.inc(request.method, request.status);
        self.duration.observe(CodeClass::of(request.status), request.duration.as_secs_f64());
        if request.request_bytes > 0 {
            self.request_bytes.inc_by(request.request_bytes);
        }
        if request.response_bytes > 0 {
            self.response_bytes.inc_by(request.response_bytes);
        }
    }

    /// The durations of the requests that have ended, by class of status.
    pub(super) fn durations(&self) -> &HistogramVec {
        self.duration.series()
    }

    /// How many requests were refused by policy.
    pub(super) fn denied_so_far(&self) -> u64 {
        self.denials.sum()
    }

    pub(in crate::observe) fn denied(&self, why: Denied) {
        self.denials.inc(why);
    }

    pub(in crate::observe) fn failed(&self, failed: Failed) {
        self.failures.inc(failed);
    }

    pub(in crate::observe) fn aborted(&self) {
        self.aborted.inc();
    }
}

/// Requests by method and status. Each pair is looked up once and kept.
#[derive(Debug)]
struct Requests {
    series: IntCounterVec,
    /// One for each pair; a method's statuses stand together.
    handles: Box<[OnceLock<IntCounter>]>,
}

impl Requests {
    fn new(group: &mut Group) -> Self {
        let series = group.counters_by_two(
            "http_requests_total",
            "Requests, by method and status (code: the status, other, or none where the client left before there was one).",
            ["method", "code"],
        );
        let pairs = MethodLabel::ALL.len() * Code::COUNT;
        let requests = Self { series, handles: (0..pairs).map(|_| OnceLock::new()).collect() };
        // Which other pairs a service answers with is up to its upstream and its callers.
        requests.of(&Method::GET, Some(StatusCode::OK));
        requests.of(&Method::POST, Some(StatusCode::OK));
        requests
    }

    fn inc(&self, method: &Method, status: Option<StatusCode>) {
        if let Some(counter) = self.of(method, status) {
            counter.inc();
        }
    }

    fn of(&self, method: &Method, status: Option<StatusCode>) -> Option<&IntCounter> {
        let (method, code) = (MethodLabel::from(method), Code::of(status));
        let handle = self.handles.get(method.index() * Code::COUNT + code.index())?;
        Some(handle.get_or_init(|| self.series.with_label_values(&[method.value(), code.value()])))
    }
}

/// When a request can be denied for a reason: it decides which series exist from the start, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Only while no service has been matched.
    BeforeMatch,
    /// Before a service is matched, or by a service's own rules.
    Either,
    /// By a service of any scheme.
    AfterMatch,
    /// By services with this scheme only.
    Only(Scheme),
}

impl When {
    fn of(why: Denied) -> Self {
        match why {
            Denied::HostInvalid
            | Denied::RequestMalformed
            | Denied::HeadTimeout
            | Denied::HeadersTooLarge
            | Denied::TargetTooLong
            | Denied::ForwardAuthPeer
            | Denied::NoService => Self::BeforeMatch,
            Denied::ForwardAuthInvalid | Denied::PathAmbiguous | Denied::MethodRefused | Denied::MethodNotAllowed => {
                Self::Either
            }
            Denied::BodyTooLarge
            | Denied::BodyTimeout
            | Denied::BodyMalformed
            | Denied::CredentialMissing
            | Denied::CredentialAmbiguous
            | Denied::CredentialMalformed
            | Denied::AuthThrottled
            | Denied::NoDeployment
            | Denied::RateLimited
            | Denied::CallerBusy
            | Denied::ServiceBusy
            | Denied::FeatureNotGranted
            | Denied::LimitedTokenInvalid
            | Denied::LimitedTokenExpired
            | Denied::LimitedTokenResource => Self::AfterMatch,
            // Only services with keys issue LimitedAccessTokens.
            Denied::KeyUnknown | Denied::KeyExpired | Denied::IssueArgument | Denied::IssueNotAllowed => {
                Self::Only(Scheme::Key)
            }
            Denied::TokenMalformed
            | Denied::TokenAlgorithm
            | Denied::TokenKeyUnknown
            | Denied::TokenSignature
            | Denied::TokenExpired
            | Denied::TokenNotYetValid
            | Denied::TokenIssuer
            | Denied::TokenAudience
            | Denied::TokenLifetime
            | Denied::TokenClaim
            | Denied::TokenRevoked => Self::Only(Scheme::Token),
        }
    }
}
