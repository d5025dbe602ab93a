//! Which methods an entry of the configuration is for.

use http::Method;

/// Methods that a match or a rule takes. None listed is every method; `GET` brings `HEAD` (RFC 9110 §9.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Methods {
    Every,
    Listed(Box<[Method]>),
}

impl Methods {
    pub(super) fn of(listed: &[Method]) -> Self {
        if listed.is_empty() {
            return Self::Every;
        }
        let mut methods = listed.to_vec();
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        Self::Listed(methods.into())
    }

    pub(super) fn take(&self, method: &Method) -> bool {
        match self {
            Self::Every => true,
            Self::Listed(methods) => methods.contains(method),
        }
    }

    /// Whether two entries for the same path would compete for a method. A list and "every" don't: the list goes first.
    pub(super) fn compete_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Every, Self::Every) => true,
            (Self::Listed(methods), Self::Listed(_)) => methods.iter().any(|method| other.take(method)),
            (Self::Every, Self::Listed(_)) | (Self::Listed(_), Self::Every) => false,
        }
    }
}
