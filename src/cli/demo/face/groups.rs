//! The person groups that the Face-like service remembers, for as long as the process lives.

use std::collections::{BTreeMap, BTreeSet};

use super::refused::Refused;
use super::uuid::Uuid;

/// Most groups. The bounds keep a demo that somebody left running from growing; Face's own are far higher.
pub(super) const MOST_GROUPS: usize = 100;

/// Most persons in one group.
pub(super) const MOST_PERSONS: usize = 1000;

/// Most faces of one person; 248 is Face's own limit.
pub(super) const MOST_FACES: usize = 248;

/// All groups, by their identifiers.
#[derive(Debug, Default)]
pub(super) struct Groups(BTreeMap<String, Group>);

/// What a group's creator said of it, and its persons.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    persons: BTreeMap<Uuid, BTreeSet<Uuid>>,
    /// Counts every person there ever was: the identifier of the next one must be none that was deleted.
    added: u64,
}

impl Groups {
    /// Adds an empty group.
    ///
    /// # Errors
    /// [`Refused::BadArgument`] for an identifier that is none, [`Refused::GroupExists`],
    /// [`Refused::QuotaExceeded`] above [`MOST_GROUPS`].
    pub(super) fn create(&mut self, id: &str, name: String) -> Result<(), Refused> {
        let fits = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if !fits {
            let want = "largePersonGroupId takes 1 to 64 digits, lower-case letters, '-' and '_'.";
            return Err(Refused::BadArgument(want.to_owned()));
        }
        if self.0.contains_key(id) {
            return Err(Refused::GroupExists);
        }
        if self.0.len() >= MOST_GROUPS {
            return Err(Refused::QuotaExceeded("large person groups"));
        }
        self.0.insert(id.to_owned(), Group { name, persons: BTreeMap::new(), added: 0 });
        Ok(())
    }

    /// Finds a group.
    ///
    /// # Errors
    /// [`Refused::GroupNotFound`].
    pub(super) fn find(&self, id: &str) -> Result<&Group, Refused> {
        self.0.get(id).ok_or(Refused::GroupNotFound)
    }

    /// Removes a group with its persons.
    ///
    /// # Errors
    /// [`Refused::GroupNotFound`].
    pub(super) fn delete(&mut self, id: &str) -> Result<(), Refused> {
        self.0.remove(id).map(drop).ok_or(Refused::GroupNotFound)
    }

    /// Adds a person without a face and returns their identifier, the same on every run for the same calls.
    ///
    /// # Errors
    /// [`Refused::GroupNotFound`], [`Refused::QuotaExceeded`] above [`MOST_PERSONS`].
    pub(super) fn add_person(&mut self, id: &str) -> Result<Uuid, Refused> {
        let group = self.0.get_mut(id).ok_or(Refused::GroupNotFound)?;
        if group.persons.len() >= MOST_PERSONS {
            return Err(Refused::QuotaExceeded("persons in a group"));
        }
        group.added += 1;
        let person = Uuid::of(format!("{id}/persons/{}", group.added).as_bytes());
        group.persons.insert(person, BTreeSet::new());
        Ok(person)
    }

    /// Adds a face to a person. One that they have already stays one.
    ///
    /// # Errors
    /// [`Refused::GroupNotFound`], [`Refused::PersonNotFound`], [`Refused::QuotaExceeded`] above [`MOST_FACES`].
    pub(super) fn add_face(&mut self, id: &str, person: Uuid, face: Uuid) -> Result<(), Refused> {
        let group = self.0.get_mut(id).ok_or(Refused::GroupNotFound)?;
        let faces = group.persons.get_mut(&person).ok_or(Refused::PersonNotFound)?;
        if faces.len() >= MOST_FACES && !faces.contains(&face) {
            return Err(Refused::QuotaExceeded("faces of a person"));
        }
        faces.insert(face);
        Ok(())
    }
}

impl Group {
    /// The persons who have this very face, in the order of their identifiers.
    pub(super) fn persons_with(&self, face: Uuid) -> impl Iterator<Item = Uuid> {
        self.persons.iter().filter(move |(_, faces)| faces.contains(&face)).map(|(person, _)| *person)
    }

    /// Whether a person has this very face.
    ///
    /// # Errors
    /// [`Refused::PersonNotFound`].
    pub(super) fn has_face(&self, person: Uuid, face: Uuid) -> Result<bool, Refused> {
        self.persons.get(&person).map(|faces| faces.contains(&face)).ok_or(Refused::PersonNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::{Groups, MOST_FACES, MOST_GROUPS, MOST_PERSONS, Refused, Uuid};

    #[test]
    fn nothing_grows_beyond_its_bound() {
        let mut groups = Groups::default();
        for n in 0..MOST_GROUPS {
            groups.create(&format!("g{n}"), String::new()).unwrap();
        }
        assert!(matches!(groups.create("one-more", String::new()), Err(Refused::QuotaExceeded(_))));

        let mut person = Uuid::of(b"");
        for _ in 0..MOST_PERSONS {
            person = groups.add_person("g0").unwrap();
        }
        assert!(matches!(groups.add_person("g0"), Err(Refused::QuotaExceeded(_))));

        for n in 0..MOST_FACES {
            groups.add_face("g0", person, Uuid::of(&n.to_be_bytes())).unwrap();
        }
        assert!(matches!(groups.add_face("g0", person, Uuid::of(b"new")), Err(Refused::QuotaExceeded(_))));
        assert_eq!(groups.add_face("g0", person, Uuid::of(&0_usize.to_be_bytes())), Ok(()));
    }

    #[test]
    fn identifiers_of_groups_are_those_that_face_takes() {
        for (id, fits) in [
            ("a", true),
            ("sample_group-1", true),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
            ("", false),
            ("A", false),
            ("a.b", false),
            ("a%20b", false),
        ] {
            assert_eq!(Groups::default().create(id, String::new()).is_ok(), fits, "{id}");
        }
    }

    #[test]
    fn a_group_that_was_deleted_took_its_persons_with_it() {
        let mut groups = Groups::default();
        groups.create("g", String::new()).unwrap();
        let person = groups.add_person("g").unwrap();
        groups.delete("g").unwrap();
        assert_eq!(groups.delete("g"), Err(Refused::GroupNotFound));
        groups.create("g", String::new()).unwrap();
        assert_eq!(groups.add_face("g", person, person), Err(Refused::PersonNotFound));
    }
}
