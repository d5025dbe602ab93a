//! What is wrong with a configuration, and where.

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

    /// Whether it is `other` or somewhere below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        other.0.is_empty()
            || self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
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

    /// Keeps what was read, or notes why it could not be.
    pub(super) fn keep<T, E: fmt::Display>(&mut self, at: &Place, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.note(at, error.to_string())).ok()
    }

    /// Whether anything is wrong at this place or below it.
    pub(super) fn any_within(&self, place: &Place) -> bool {
        self.0.iter().any(|(at, _)| at.is_within(place))
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds problems of a later reading, except where an earlier problem lies at the same place or below it: a
    /// mapping that lost a broken field is not to blame for what it lacks.
    pub(super) fn add_later(&mut self, later: Self) {
        let known = self.0.len();
        for (at, what) in later.0 {
            if !self.0.iter().take(known).any(|(earlier, _)| earlier.is_within(&at)) {
                self.0.push((at, what));
            }
        }
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
    fn a_place_is_within_what_encloses_it_and_not_within_a_longer_name() {
        let auth = Place::root().field("services").field("iris").field("auth");
        let item = auth.field("from").item(12);
        for (outer, within) in [("", true), ("services", true), ("services.iris", true), ("services.iri", false)] {
            assert_eq!(item.is_within(&Place(outer.to_owned())), within, "{outer}");
        }
        assert_eq!(item.parent(), Some(auth.field("from")));
        assert_eq!(Place::root().field("a").parent(), Some(Place::root()));
        assert_eq!(Place::root().parent(), None);
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
