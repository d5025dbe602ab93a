//! What a path may carry that upstreams read in different ways, and which of it a service takes.

use std::fmt;

use super::PathRefused;

/// Something in a path that one parser reads otherwise than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOddity {
    /// `%2F` or `%5C`: a separator to whoever decodes before splitting.
    EncodedSeparator,
    /// `//`: one slash to whoever merges them.
    EmptySegment,
    /// `;`, also as `%3B`: servlet containers cut a segment there.
    Semicolon,
    /// `%25`: the start of another escape to whoever decodes twice.
    EncodedPercent,
}

impl PathOddity {
    /// Every oddity.
    pub const ALL: [Self; 4] = [Self::EncodedSeparator, Self::EmptySegment, Self::Semicolon, Self::EncodedPercent];

    const fn bit(self) -> u8 {
        match self {
            Self::EncodedSeparator => 1,
            Self::EmptySegment => 2,
            Self::Semicolon => 4,
            Self::EncodedPercent => 8,
        }
    }
}

impl fmt::Display for PathOddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EncodedSeparator => "an encoded separator",
            Self::EmptySegment => "an empty segment",
            Self::Semicolon => "a semicolon",
            Self::EncodedPercent => "an encoded percent sign",
        })
    }
}

/// The oddities of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathOddities(u8);

impl PathOddities {
    pub(super) const fn add(&mut self, oddity: PathOddity) {
        self.0 |= oddity.bit();
    }

    /// Whether the path has this one.
    #[must_use]
    pub const fn has(self, oddity: PathOddity) -> bool {
        self.0 & oddity.bit() != 0
    }

    /// Whether every parser reads the path alike.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Checks that a service takes every one of them.
    ///
    /// # Errors
    /// [`PathRefused::Oddity`] names the first that it does not take.
    pub fn allowed_by(self, allowances: PathAllowances) -> Result<(), PathRefused> {
        let refused = PathOddity::ALL.into_iter().find(|oddity| self.has(*oddity) && !allowances.allow(*oddity));
        refused.map_or(Ok(()), |oddity| Err(PathRefused::Oddity(oddity)))
    }
}

/// Oddities of a path that a service takes. Dot segments, NUL and broken escapes are never among them.
#[expect(clippy::struct_excessive_bools, reason = "four switches that an operator sets one by one, each with a name")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathAllowances {
    /// `%2F` and `%5C` inside a segment, passed on encoded.
    pub encoded_separators: bool,
    /// `//`.
    pub empty_segments: bool,
    /// `;` parameters.
    pub semicolons: bool,
    /// `%25`.
    pub encoded_percent: bool,
}

impl PathAllowances {
    const fn allow(self, oddity: PathOddity) -> bool {
        match oddity {
            PathOddity::EncodedSeparator => self.encoded_separators,
            PathOddity::EmptySegment => self.empty_segments,
            PathOddity::Semicolon => self.semicolons,
            PathOddity::EncodedPercent => self.encoded_percent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PathAllowances, PathOddities, PathOddity, PathRefused};

    #[test]
    fn an_oddity_is_taken_by_its_own_allowance_only() {
        let none = PathAllowances::default();
        for (oddity, allowance) in [
            (PathOddity::EncodedSeparator, PathAllowances { encoded_separators: true, ..none }),
            (PathOddity::EmptySegment, PathAllowances { empty_segments: true, ..none }),
            (PathOddity::Semicolon, PathAllowances { semicolons: true, ..none }),
            (PathOddity::EncodedPercent, PathAllowances { encoded_percent: true, ..none }),
        ] {
            for other in PathOddity::ALL {
                let mut oddities = PathOddities::default();
                oddities.add(other);
                let want = if other == oddity { Ok(()) } else { Err(PathRefused::Oddity(other)) };
                assert_eq!(oddities.allowed_by(allowance), want, "{other} by {allowance:?}");
            }
            assert_eq!(PathOddities::default().allowed_by(none), Ok(()));
        }
    }
}
