//! Where each field and list item of a YAML text stands, and what a tree of values can no longer tell: repeated
//! keys, several documents, aliases that multiply, nesting without end.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::Event;
use saphyr_parser::Marker;
use saphyr_parser::Parser;

use crate::config::problem::Place;

/// Deepest nesting. The deepest field of a valid configuration is at 8.
const MAX_DEPTH: usize = 32;

/// Most values that aliases may stand for, all together. A handful of megabytes once they are copied.
const MAX_ALIASED_VALUES: usize = 100_000;

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Line, from 1.
    pub(super) line: usize,
    /// Column in characters, from 1.
    pub(super) column: usize,
}

impl Position {
    /// The start of the file.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    fn of(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// The index of a text.
#[derive(Debug, Default)]
pub(super) struct Positions(HashMap<Place, Position>);

/// Something that makes a text unusable as a whole or, for a repeated key, ambiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Where it is.
    pub(super) position: Position,
    /// The field it is about; the root where it is about the text.
    pub(super) place: Place,
    /// What was wanted.
    pub(super) what: Cow<'static, str>,
}

impl Positions {
    /// The line of a place that is there.
    pub(super) fn line_of(&self, place: &Place) -> Option<usize> {
        self.0.get(place).map(|position| position.line)
    }

    /// The position of a place: that of its key or of its `-`, else of the nearest place above it that is there.
    pub(super) fn of(&self, place: &Place) -> Position {
        let mut at = place.clone();
        loop {
            if let Some(position) = self.0.get(&at) {
                return *position;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return Position::START,
            }
        }
    }
}

/// Indexes a text.
///
/// # Errors
/// The [`Flaw`] at which the text stops being one plain tree of values. Repeated keys do not stop it: they are
/// returned beside the index.
pub(super) fn index(text: &str) -> Result<(Positions, Vec<Flaw>), Flaw> {
    let mut indexer = Indexer::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Flaw {
            position: Position::of(*error.marker()),
            place: Place::root(),
            what: Cow::Owned(format!("this is not YAML: {}", error.info())),
        })?;
        indexer.see(&event, Position::of(span.start))?;
    }
    if indexer.values == 0 {
        return Err(indexer.flaw(Position::START, "want a configuration, the file is empty"));
    }
    Ok((indexer.positions, indexer.repeated))
}

/// A mapping or a list that has begun and not ended.
#[derive(Debug)]
struct Open {
    place: Place,
    inside: Inside,
    /// The anchor's number, 0 for none, and how many values had been seen before.
    anchor: usize,
    values_before: usize,
}

#[derive(Debug)]
enum Inside {
    Mapping {
        /// The key whose value comes next; `None` where a key comes next.
        key: Option<Place>,
    },
    List {
        next: usize,
    },
}

#[derive(Debug, Default)]
struct Indexer {
    positions: Positions,
    repeated: Vec<Flaw>,
    open: Vec<Open>,
    documents: usize,
    /// Values seen, those that aliases stand for included.
    values: usize,
    aliased: usize,
    /// How many values an anchor's value holds, itself included.
    anchored: HashMap<usize, usize>,
}

impl Indexer {
    fn see(&mut self, event: &Event<'_>, at: Position) -> Result<(), Flaw> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.flaw(at, "want one YAML document, here a second one begins"));
                }
            }
            Event::Scalar(text, _, anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                if self.takes_key(text, at) {
                    return Ok(());
                }
                self.place_of_value(at)?;
                self.values += usize::from(!(self.open.is_empty() && matches!(&**text, "" | "~")));
                self.anchored.insert(*anchor, 1);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                self.begin(*anchor, Inside::List { next: 0 }, at)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), at)?;
                self.begin(*anchor, Inside::Mapping { key: None }, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(ended) = self.open.pop() {
                    self.anchored.insert(ended.anchor, self.values - ended.values_before);
                }
            }
            Event::Alias(anchor) => {
                self.place_of_value(at)?;
                let Some(values) = self.anchored.get(anchor).filter(|_| *anchor != 0).copied() else {
                    return Err(self.flaw(at, "an alias cannot stand inside what it stands for"));
                };
                self.values = self.values.saturating_add(values);
                self.aliased = self.aliased.saturating_add(values);
                if self.aliased > MAX_ALIASED_VALUES {
                    return Err(self.flaw(at, "want fewer aliases: they stand for more than 100000 values"));
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Takes a scalar as key, where a key is due.
    fn takes_key(&mut self, text: &str, at: Position) -> bool {
        let Some(Open { place, inside: Inside::Mapping { key: key @ None }, .. }) = self.open.last_mut() else {
            return false;
        };
        let field = place.field(text);
        if let Some(first) = self.positions.0.get(&field) {
            let what = format!("this field is given twice, first on line {}", first.line);
            self.repeated.push(Flaw { position: at, place: field.clone(), what: Cow::Owned(what) });
        } else {
            self.positions.0.insert(field.clone(), at);
        }
        *key = Some(field);
        true
    }

    fn begin(&mut self, anchor: usize, inside: Inside, at: Position) -> Result<(), Flaw> {
        let place = self.place_of_value(at)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(self.flaw(at, "want no deeper nesting than 32"));
        }
        self.open.push(Open { place, inside, anchor, values_before: self.values });
        self.values += 1;
        Ok(())
    }

    /// Where the value that begins here belongs.
    fn place_of_value(&mut self, at: Position) -> Result<Place, Flaw> {
        let place = match self.open.last_mut() {
            None => Place::root(),
            Some(Open { inside: Inside::Mapping { key }, .. }) => match key.take() {
                Some(field) => field,
                None => return Err(self.flaw(at, "want plain text as the name of a field")),
            },
            Some(Open { place, inside: Inside::List { next }, .. }) => {
                let item = place.item(*next);
                *next += 1;
                self.positions.0.insert(item.clone(), at);
                item
            }
        };
        Ok(place)
    }

    fn refuse_tag(&self, tagged: bool, at: Position) -> Result<(), Flaw> {
        if tagged { Err(self.flaw(at, "want no YAML tag (`!…`): none has a meaning here")) } else { Ok(()) }
    }

    fn flaw(&self, position: Position, what: &'static str) -> Flaw {
        let place = self.open.last().map_or_else(Place::root, |open| open.place.clone());
        Flaw { position, place, what: Cow::Borrowed(what) }
    }
}

#[cfg(test)]
mod tests {
    use super::index;
    use crate::config::problem::Place;

    #[test]
    fn every_field_and_item_has_the_position_of_its_key_or_of_itself() {
        let text = "a:\n  b: [x, {c: y}]\n  d:\n    - 1\n    - e: 2\n";
        let (positions, repeated) = index(text).unwrap();
        assert_eq!(repeated, []);
        let a = Place::root().field("a");
        for (place, line, column) in [
            (a.clone(), 1, 1),
            (a.field("b"), 2, 3),
            (a.field("b").item(0), 2, 7),
            (a.field("b").item(1).field("c"), 2, 11),
            (a.field("d").item(0), 4, 7),
            (a.field("d").item(1).field("e"), 5, 7),
            (a.field("missing").field("below"), 1, 1),
        ] {
            let found = positions.of(&place);
            assert_eq!((found.line, found.column), (line, column), "{place:?}");
        }
    }

    #[test]
    fn a_text_that_is_not_one_plain_tree_is_refused_where_it_stops_being_one() {
        let deep = "[".repeat(40);
        let mut bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for (one, next) in ["ab", "bc", "cd", "de", "ef"].map(|pair| pair.split_at(1)) {
            bomb.push_str(&format!("{next}: &{next} [{}]\n", vec![format!("*{one}"); 10].join(", ")));
        }
        for (text, line, column, what) in [
            ("", 1, 1, "empty"),
            ("# only a comment\n", 1, 1, "empty"),
            ("---\n", 1, 1, "empty"),
            ("a: 1\n---\nb: 2\n", 2, 1, "second"),
            ("a: !secret x\n", 1, 12, "tag"),
            ("? [a]\n: b\n", 1, 3, "plain text"),
            ("a: &a [*a]\n", 1, 8, "inside"),
            ("a: b: c\n", 1, 5, "not YAML"),
            (&deep, 1, 33, "nesting"),
            (&bomb, 5, 36, "aliases"),
        ] {
            let flaw = index(text).unwrap_err();
            assert!(flaw.what.contains(what), "{text:?}: {flaw:?}");
            assert_eq!((flaw.position.line, flaw.position.column), (line, column), "{text:?}");
        }
    }
}
