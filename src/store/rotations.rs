//! Whose keys a state has seen change, for as long as nothing else of it changed that a snapshot depends on.

use std::collections::VecDeque;
use std::fmt;

use super::engine::Revision;
use super::record_key::Owner;

/// How many are remembered. Commits are taken one by one as they come; who is further behind compiles everything.
const REMEMBERED: usize = 256;

/// Changes of keys since a revision.
#[derive(Clone, Default)]
pub(super) struct Rotations {
    since: Revision,
    owners: VecDeque<(Revision, Owner)>,
}

impl Rotations {
    /// Begins at a state that was read as a whole.
    pub(super) const fn since(revision: Revision) -> Self {
        Self { since: revision, owners: VecDeque::new() }
    }

    /// Another owner has other keys.
    pub(super) fn note(&mut self, at: Revision, owner: Owner) {
        if self.owners.len() == REMEMBERED
            && let Some((forgotten, _)) = self.owners.pop_front()
        {
            self.since = forgotten;
        }
        self.owners.push_back((at, owner));
    }

    /// Something else has changed.
    pub(super) fn begin_anew(&mut self, at: Revision) {
        *self = Self::since(at);
    }

    /// Whose keys have changed after a revision; `None` where something else may have.
    pub(super) fn after(&self, revision: Revision) -> Option<Vec<&Owner>> {
        let later = self.owners.iter().filter(|(at, _)| *at > revision).map(|(_, owner)| owner);
        (revision >= self.since).then(|| later.collect())
    }
}

impl fmt::Debug for Rotations {
    /// Leaves out what it remembers: two states that hold the same are the same, however they came to it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotations").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED, Rotations};
    use crate::model::name::Name;
    use crate::store::engine::Revision;
    use crate::store::record_key::Owner;

    fn owner(number: u64) -> Owner {
        Owner::Account(Name::parse(&format!("a{number}")).unwrap())
    }

    #[test]
    fn what_changed_after_a_revision_is_told_until_something_else_did() {
        let mut rotations = Rotations::since(Revision(5));
        rotations.note(Revision(6), owner(1));
        rotations.note(Revision(7), owner(2));
        let (first, second) = (owner(1), owner(2));
        for (revision, want) in
            [(4, None), (5, Some(vec![&first, &second])), (6, Some(vec![&second])), (7, Some(vec![]))]
        {
            assert_eq!(rotations.after(Revision(revision)), want, "after {revision}");
        }
        rotations.begin_anew(Revision(8));
        assert_eq!((rotations.after(Revision(7)), rotations.after(Revision(8))), (None, Some(vec![])));
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_unchanged() {
        let mut rotations = Rotations::since(Revision(0));
        let most = u64::try_from(REMEMBERED).unwrap();
        (1..=most + 1).for_each(|number| rotations.note(Revision(number), owner(number)));
        assert_eq!(rotations.after(Revision(0)), None);
        assert_eq!(rotations.after(Revision(1)).map(|owners| owners.len()), Some(REMEMBERED));
    }
}
