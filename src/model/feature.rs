//! Feature flags: their names, and small sets of them.

use std::fmt;
use std::sync::Arc;

/// A set of features, as bits of the numbers that [`FeatureNames`] gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// The set without a feature.
    pub const EMPTY: Self = Self(0);

    /// Everything in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The flags that this gateway knows, numbered. At most 64, so that a set of them is one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureNames(Arc<[Box<str>]>);

/// What is wrong with a list of flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFeatures {
    /// More than [`FeatureNames::MAX`].
    #[error("want at most 64 features, got {0}")]
    TooMany(usize),
    /// A flag is there twice.
    #[error("the feature {0:?} is listed twice")]
    Twice(String),
    /// A flag is empty, longer than 64 bytes, or holds more than letters, digits, `.`, `-` and `_`.
    #[error("{0:?} is no feature: want 1 to 64 letters, digits, '.', '-' and '_'")]
    Malformed(String),
}

impl FeatureNames {
    /// Most flags that one gateway knows.
    pub const MAX: usize = 64;

    /// Flags that Azure's Face service names; known to every gateway.
    pub const FACE: [&'static str; 3] = ["Face.Identification", "Face.Verification", "LimitedAccess.HighRisk"];

    /// Numbers the flags in the order given.
    ///
    /// # Errors
    /// [`BadFeatures`] when one is malformed or listed twice, or when there are too many.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self, BadFeatures> {
        if names.len() > Self::MAX {
            return Err(BadFeatures::TooMany(names.len()));
        }
        let mut seen: Vec<Box<str>> = Vec::with_capacity(names.len());
        for name in names.iter().map(AsRef::as_ref) {
            let fits = (1..=64).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
            if !fits {
                return Err(BadFeatures::Malformed(name.to_owned()));
            }
            if seen.iter().any(|known| &**known == name) {
                return Err(BadFeatures::Twice(name.to_owned()));
            }
            seen.push(name.into());
        }
        Ok(Self(seen.into()))
    }

    /// The set that holds just this flag; `None` when the flag is not known. Case matters.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<FeatureSet> {
        self.0.iter().position(|known| &**known == name).map(|at| FeatureSet(1 << at))
    }

    /// The names of a set's flags, in their numbered order.
    pub fn names_of(&self, set: FeatureSet) -> impl Iterator<Item = &str> {
        self.0.iter().enumerate().filter(move |(at, _)| set.0 >> at & 1 == 1).map(|(_, name)| &**name)
    }

    /// Every flag known, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

impl fmt::Display for FeatureNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadFeatures, FeatureNames, FeatureSet};

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let names = FeatureNames::new(&FeatureNames::FACE).unwrap();
        let identify = names.find("Face.Identification").unwrap();
        let verify = names.find("Face.Verification").unwrap();
        let both = identify.union(verify);
        assert_eq!(both.without(identify), verify);
        assert_eq!(both.intersection(identify), identify);
        assert!(identify.intersection(verify).is_empty());
        assert_eq!(names.names_of(both).collect::<Vec<_>>(), ["Face.Identification", "Face.Verification"]);
        assert_eq!(names.find("face.identification"), None);
        assert!(FeatureSet::EMPTY.is_empty());
    }

    #[test]
    fn a_list_that_cannot_be_told_apart_is_refused() {
        let many: Vec<String> = (0..65).map(|n| format!("f{n}")).collect();
        assert_eq!(FeatureNames::new(&many), Err(BadFeatures::TooMany(65)));
        assert!(FeatureNames::new(&many[..64]).is_ok());
        assert_eq!(FeatureNames::new(&["a", "a"]), Err(BadFeatures::Twice("a".to_owned())));
        assert_eq!(FeatureNames::new(&["a b"]), Err(BadFeatures::Malformed("a b".to_owned())));
    }
}
