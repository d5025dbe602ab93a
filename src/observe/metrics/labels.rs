//! The values that labels can have. Texts that were once released are never renamed.

use http::Method;
use http::StatusCode;

use crate::config::Auth;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::slot::Slot;

use super::group::Label;

/// A label: an enum, its name, and a text for each of its values.
macro_rules! label {
    ($(#[$about:meta])* $visible:vis $kind:ident, $name:literal { $($(#[doc = $doc:literal])+ $variant:ident => $value:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visible enum $kind { $($(#[doc = $doc])+ $variant,)+ }

        impl Label for $kind {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn value(self) -> &'static str {
                match self { $(Self::$variant => $value,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How callers of a service prove who they are.
    pub Scheme, "scheme" {
        /// By one of two keys.
        Key => "key",
        /// By a JWT.
        Token => "token",
        /// Not at all.
        Public => "public",
    }
}

impl Scheme {
    /// `key`, `token` or `public`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.value()
    }
}

impl From<&Auth> for Scheme {
    fn from(auth: &Auth) -> Self {
        match auth {
            Auth::Key(_) => Self::Key,
            Auth::Token(_) => Self::Token,
            Auth::Public { reason: _ } => Self::Public,
        }
    }
}

label! {
    /// What another proxy was told about a request that it forwards itself.
    pub Decision, "decision" {
        /// It may be forwarded.
        Allowed => "allowed",
        /// Policy said no.
        Denied => "denied",
        /// Something broke, so the answer was no.
        Failed => "failed",
    }
}

label! {
    /// The first digit of a status; what histograms are split by.
    pub(super) CodeClass, "code_class" {
        /// 101, for an upgrade.
        Informational => "1xx",
        /// 2xx.
        Success => "2xx",
        /// 3xx.
        Redirection => "3xx",
        /// 4xx.
        ClientError => "4xx",
        /// 5xx.
        ServerError => "5xx",
        /// The client left before there was a status.
        None => "none",
    }
}

impl CodeClass {
    /// The classes that every service answers with sooner or later, and that alerts look at.
    pub(super) const USUAL: [Self; 3] = [Self::Success, Self::ClientError, Self::ServerError];

    pub(super) fn of(status: Option<StatusCode>) -> Self {
        match status.map(|status| status.as_u16() / 100) {
            None => Self::None,
            Some(1) => Self::Informational,
            Some(2) => Self::Success,
            Some(3) => Self::Redirection,
            Some(4) => Self::ClientError,
            Some(_) => Self::ServerError,
        }
    }
}

label! {
    /// The request's method; one that is not registered is `_OTHER`, OpenTelemetry's word for it.
    pub MethodLabel, "method" {
        /// `GET`.
        Get => "GET",
        /// `POST`.
        Post => "POST",
        /// `PUT`.
        Put => "PUT",
        /// `DELETE`.
        Delete => "DELETE",
        /// `PATCH`.
        Patch => "PATCH",
        /// `HEAD`.
        Head => "HEAD",
        /// `OPTIONS`.
        Options => "OPTIONS",
        /// `CONNECT`.
        Connect => "CONNECT",
        /// `TRACE`.
        Trace => "TRACE",
        /// Anything else.
        Other => "_OTHER",
    }
}

impl MethodLabel {
    /// The method as OpenTelemetry names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.value()
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        Self::ALL.iter().copied().find(|known| known.value() == method.as_str()).unwrap_or(Self::Other)
    }
}

/// The exact status, where it is one that HTTP itself or a common extension defines; `other` where not, `none` without a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(usize);

impl Code {
    /// In rising order. The last two are not numbers.
    const TEXTS: [&'static str; 44] = [
        "101", "103", "200", "201", "202", "203", "204", "205", "206", "207", "300", "301", "302", "303", "304", "307",
        "308", "400", "401", "402", "403", "404", "405", "406", "408", "409", "410", "411", "412", "413", "414", "415",
        "416", "421", "422", "424", "429", "431", "500", "501", "502", "503", "504", "none",
    ];
    const OTHER: usize = Self::TEXTS.len();
    /// Number of values.
    pub(super) const COUNT: usize = Self::OTHER + 1;

    pub(super) fn of(status: Option<StatusCode>) -> Self {
        let text = status.as_ref().map_or("none", StatusCode::as_str);
        Self(Self::TEXTS.binary_search(&text).unwrap_or(Self::OTHER))
    }

    pub(super) fn index(self) -> usize {
        self.0
    }

    pub(super) fn value(self) -> &'static str {
        Self::TEXTS.get(self.0).copied().unwrap_or("other")
    }
}

label! {
    /// Why a connection ended.
    pub ConnectionEnd, "reason" {
        /// The client closed it, or it closed in good order after its last answer.
        Closed => "closed",
        /// No request came for longer than an idle connection is kept.
        Idle => "idle",
        /// The head of a request did not arrive in time.
        HeadTimeout => "head_timeout",
        /// What arrived was not well-formed HTTP; it never became a request.
        Protocol => "protocol",
        /// The socket broke.
        Broken => "broken",
        /// The TLS handshake failed.
        Handshake => "handshake",
        /// More connections than are allowed, in all or from this address.
        OverLimit => "over_limit",
        /// The gateway is shutting down.
        Drained => "drained",
    }
}

label! {
    /// Why a connection was closed as soon as it was accepted.
    pub Shed, "reason" {
        /// The listener has as many as it may have.
        All => "all",
        /// Its address has as many as one may have.
        Address => "address",
        /// The process has no file descriptor for it.
        Files => "files",
    }
}

impl Shed {
    /// The word for it, here and in the process log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.value()
    }
}

label! {
    /// The version that a TLS handshake agreed on.
    pub TlsVersion, "version" {
        /// TLS 1.2.
        V1_2 => "1.2",
        /// TLS 1.3.
        V1_3 => "1.3",
    }
}

label! {
    /// Why a TLS handshake failed.
    pub HandshakeFailure, "reason" {
        /// It took longer than it may.
        Timeout => "timeout",
        /// The two sides did not agree, or the client's certificate was not accepted.
        Refused => "refused",
    }
}

label! {
    /// What a pooled connection to an upstream is doing.
    pub PoolState, "state" {
        /// It carries a request.
        Active => "active",
        /// It waits for one.
        Idle => "idle",
    }
}

label! {
    /// Why a request was sent again.
    pub RetryReason, "reason" {
        /// An endpoint could not be reached.
        Connect => "connect",
        /// No answer came.
        Lost => "lost",
        /// The answer was 502, 503, 504, or gRPC's `UNAVAILABLE`.
        Answer => "answer",
    }
}

label! {
    /// How a health check went.
    pub CheckResult, "result" {
        /// The endpoint is well.
        Success => "success",
        /// It is not.
        Failure => "failure",
    }
}

label! {
    /// What the cache of verified tokens answered.
    pub CacheAnswer, "result" {
        /// The token was verified before.
        Hit => "hit",
        /// It has to be verified.
        Miss => "miss",
    }
}

label! {
    /// What kind of token the gateway issued.
    pub IssuedToken, "kind" {
        /// A token for a service.
        Service => "service",
        /// A LimitedAccessToken.
        LimitedAccess => "limited_access",
    }
}

label! {
    /// Whose key was regenerated.
    pub KeyHolder, "holder" {
        /// A service's own.
        Service => "service",
        /// An account's.
        Account => "account",
    }
}

label! {
    /// How a fetch of an issuer's keys went.
    pub FetchResult, "result" {
        /// The keys are in force.
        Success => "success",
        /// The keys before it stay in force.
        Failure => "failure",
    }
}

label! {
    /// What caused a reload.
    pub ReloadTrigger, "trigger" {
        /// The process started.
        Start => "start",
        /// A file changed, or the poll saw that one had.
        File => "file",
        /// SIGHUP.
        Signal => "signal",
        /// The store changed.
        Store => "store",
        /// A foreign issuer's keys were fetched.
        Issuer => "issuer",
        /// An operator asked through the management API.
        Api => "api",
    }
}

label! {
    /// How a reload ended.
    pub(super) ReloadResult, "result" {
        /// A new generation is in force.
        Published => "published",
        /// Nothing had changed.
        Unchanged => "unchanged",
        /// The generation before it stays in force.
        Failed => "failed",
    }
}

label! {
    /// The stage at which a reload failed.
    pub ReloadStage, "stage" {
        /// A file or the store could not be read.
        Read => "read",
        /// The file is not well-formed.
        Parse => "parse",
        /// The file does not mean anything valid.
        Check => "check",
        /// What it means could not be loaded or compiled.
        Compile => "compile",
        /// A listener could not be opened.
        Listen => "listen",
    }
}

impl ReloadTrigger {
    /// The word for it, here and in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.value()
    }
}

impl ReloadStage {
    /// The word for it, here and in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.value()
    }
}

impl Label for Slot {
    const NAME: &'static str = "slot";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.as_str()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Denied {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = Self::ALL;

    fn value(self) -> &'static str {
        self.row().code
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Failed {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = Self::ALL;

    fn value(self) -> &'static str {
        self.row().code
    }

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http::StatusCode;

    use super::Code;
    use super::CodeClass;
    use super::Label;
    use super::MethodLabel;

    fn index_is_the_position<L: Label + std::fmt::Debug>() {
        for (at, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), at, "{value:?}");
        }
    }

    #[test]
    fn a_values_index_is_its_position() {
        index_is_the_position::<super::Scheme>();
        index_is_the_position::<CodeClass>();
        index_is_the_position::<MethodLabel>();
        index_is_the_position::<super::ConnectionEnd>();
        index_is_the_position::<super::Shed>();
        index_is_the_position::<super::Slot>();
        index_is_the_position::<super::Denied>();
        index_is_the_position::<super::Failed>();
    }

    #[test]
    fn no_status_and_no_method_makes_a_label_of_its_own() {
        assert!(Code::TEXTS.is_sorted());
        for (status, code, class) in [
            (Some(200), "200", "2xx"),
            (Some(101), "101", "1xx"),
            (Some(504), "504", "5xx"),
            (Some(299), "other", "2xx"),
            (Some(999), "other", "5xx"),
            (None, "none", "none"),
        ] {
            let status = status.map(|status| StatusCode::from_u16(status).unwrap());
            assert_eq!((Code::of(status).value(), CodeClass::of(status).value()), (code, class), "{status:?}");
            assert!(Code::of(status).index() < Code::COUNT);
        }
        for (method, label) in [("GET", "GET"), ("get", "_OTHER"), ("PURGE", "_OTHER"), ("TRACE", "TRACE")] {
            assert_eq!(MethodLabel::from(&Method::from_bytes(method.as_bytes()).unwrap()).value(), label);
        }
    }
}
