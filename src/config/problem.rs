//! What is wrong with a configuration, and where.

use std::collections::HashSet;
use std::fmt;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line of the field or list item it is about, from 1; that of the nearest enclosing one where it is missing.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field or list item, such as `services.iris.match[0].path`; empty for the file as a whole.
    pub path: String,
    /// What was wanted. Quotes nothing that stands where a secret could.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, path, what } = self;
        if path.is_empty() {
            write!(f, "{line}:{column}: {what}")
        } else {
            write!(f, "{line}:{column}: {path}: {what}")
        }
    }
}

/// A place in the configuration, such as `services.iris.match[0].path`. The root is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Place(String);

impl Place {
    /// The file as a whole.
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The place with this text.
    pub(super) fn named(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The field of this name below this place.
    pub(super) fn field(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The list item at this index, from 0, below this place.
    pub(super) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The place that this one is directly below; `None` for the root.
    pub(super) fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let cut = self.0.rfind(['.', '[']).unwrap_or(0);
        self.0.get(..cut).map(|parent| Self(parent.to_owned()))
    }

    /// The place as text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Problems as they are found, without positions yet.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<(Place, String)>);

impl Problems {
    /// Notes a problem.
    pub(super) fn note(&mut self, at: &Place, what: impl Into<String>) {
        self.0.push((at.clone(), what.into()));
    }

    /// Every place at which or below which something is wrong.
    pub(super) fn broken_places(&self) -> HashSet<Place> {
        let mut broken = HashSet::new();
        for (at, _) in &self.0 {
            let mut place = Some(at.clone());
            while let Some(next) = place {
                place = next.parent();
                if !broken.insert(next) {
                    break;
                }
            }
        }
        broken
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds problems of a later reading, except where an earlier problem lies at the same place or below it: a
    /// mapping that lost a broken field is not to blame for what it lacks.
    pub(super) fn add_later(&mut self, later: Self) {
        let broken = self.broken_places();
        self.0.extend(later.0.into_iter().filter(|(at, _)| !broken.contains(at)));
    }

    /// The problems, in the order in which they were found.
    pub(super) fn into_vec(self) -> Vec<(Place, String)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Problems};

    #[test]
    fn a_problem_breaks_what_encloses_it_and_not_what_has_a_longer_name() {
        let services = Place::root().field("services");
        let auth = services.field("iris").field("auth");
        let mut problems = Problems::default();
        problems.note(&auth.field("from").item(12), "wrong");
        let broken = problems.broken_places();
        for place in [Place::root(), services.clone(), services.field("iris"), auth.clone(), auth.field("from")] {
            assert!(broken.contains(&place), "{place:?}");
        }
        for place in [services.field("iri"), services.field("iris-2"), auth.field("from").item(1), auth.field("key")] {
            assert!(!broken.contains(&place), "{place:?}");
        }
    }

    #[test]
    fn what_follows_from_an_earlier_problem_is_not_told() {
        let iris = Place::root().field("services").field("iris");
        let mut problems = Problems::default();
        problems.note(&iris.field("auth").field("key"), "first");
        let mut later = Problems::default();
        later.note(&iris.field("auth"), "follows");
        later.note(&iris.field("upstream"), "is another matter");
        problems.add_later(later);
        let told: Vec<String> = problems.into_vec().into_iter().map(|(_, what)| what).collect();
        assert_eq!(told, ["first", "is another matter"]);
    }
}
