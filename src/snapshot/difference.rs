//! What changes from one configuration to another, in terms of who may do what. Nothing here reads the text of a file.
//!
//! What the store holds is not looked at: accounts, keys and auth modes that are kept there stay as they are.

mod callers;
mod places;
mod routes;
mod services;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use crate::config::Config;
use crate::model::name::Name;

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Somebody may do what nobody could, or could not.
    Widens,
    /// Somebody may not do what they could.
    Narrows,
    /// Something is different; by it alone nobody gains or loses, or some do both.
    Changes,
}

impl Effect {
    /// The word for people and scripts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Widens => "widens",
            Self::Narrows => "narrows",
            Self::Changes => "changes",
        }
    }

    const fn opposite(self) -> Self {
        match self {
            Self::Widens => Self::Narrows,
            Self::Narrows => Self::Widens,
            Self::Changes => Self::Changes,
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Which way it goes.
    pub effect: Effect,
    /// The field, as problems name it: `services.iris.auth`.
    pub at: String,
    /// What is different, and for whom.
    pub what: String,
}

/// What changes from `old` to `new`: what widens first, then what narrows, then the rest.
#[must_use]
pub fn between(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    routes::compare(&mut changes, old, new);
    services::compare(&mut changes, old, new);
    callers::compare(&mut changes, old, new);
    places::compare(&mut changes, old, new);
    changes.0.sort();
    changes.0.dedup();
    changes.0
}

/// The changes so far.
struct Changes(Vec<Change>);

impl Changes {
    fn note(&mut self, effect: Effect, at: &str, what: impl Into<String>) {
        self.0.push(Change { effect, at: at.to_owned(), what: what.into() });
    }

    /// Members of a set; one more has this effect, one fewer the opposite.
    fn members<T: PartialEq>(&mut self, more: Effect, at: &str, old: &[T], new: &[T], show: impl Fn(&T) -> String) {
        for added in new.iter().filter(|member| !old.contains(member)) {
            self.note(more, at, format!("+ {}", show(added)));
        }
        for gone in old.iter().filter(|member| !new.contains(member)) {
            self.note(more.opposite(), at, format!("- {}", show(gone)));
        }
    }

    /// A value of which a larger one lets more through.
    fn amount<T: PartialOrd>(&mut self, at: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        let effect = if new > old { Effect::Widens } else { Effect::Narrows };
        if old != new {
            self.note(effect, at, format!("{} -> {}", show(old), show(new)));
        }
    }

    /// A value that is another.
    fn value<T: PartialEq>(&mut self, at: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        if old != new {
            self.note(Effect::Changes, at, format!("{} -> {}", show(old), show(new)));
        }
    }

    /// A value that is another, and too long to be shown.
    fn differs<T: PartialEq>(&mut self, at: &str, old: &T, new: &T) {
        if old != new {
            self.note(Effect::Changes, at, "is different");
        }
    }

    /// A switch; switched on it has this effect.
    fn switch(&mut self, on: Effect, at: &str, old: bool, new: bool, what: &str) {
        match (old, new) {
            (false, true) => self.note(on, at, format!("+ {what}")),
            (true, false) => self.note(on.opposite(), at, format!("- {what}")),
            (true, true) | (false, false) => {}
        }
    }

    /// Things with names: one more has this effect, and those that were there before are compared.
    fn named<T>(
        &mut self,
        more: Effect,
        at: &str,
        (old, new): (&BTreeMap<Name, T>, &BTreeMap<Name, T>),
        show: impl Fn(&T) -> String,
        mut compare: impl FnMut(&mut Self, &str, &T, &T),
    ) {
        for (name, after) in new {
            let place = format!("{at}.{name}");
            match old.get(name) {
                None => self.note(more, &place, format!("added: {}", show(after))),
                Some(before) => compare(self, &place, before, after),
            }
        }
        for (name, before) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
            self.note(more.opposite(), &format!("{at}.{name}"), format!("removed: {}", show(before)));
        }
    }
}

/// A text for there being none.
fn or_none<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}
