//! Templates of paths, as an operator writes them.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::escape;
use super::normal;
use super::normal::NormalPath;

/// A path with `{name}` for any one segment. Two templates are equal when they match the same paths,
/// whatever their variables are called.
#[derive(Clone)]
pub struct PathTemplate {
    written: Box<str>,
    segments: Box<[TemplateSegment]>,
}

/// One segment of a [`PathTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TemplateSegment {
    /// Exactly this text. Empty at the end of a template only, where it stands for a trailing slash.
    Literal(Box<str>),
    /// Any one segment, not empty.
    Any,
}

/// The text is not a [`PathTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAPathTemplate {
    /// It does not start with a slash.
    #[error("want a path that starts with '/', such as /score or /v1/{{model}}/infer")]
    NotAbsolute,
    /// It has more than [`PathTemplate::MAX_SEGMENTS`].
    #[error("want at most 32 segments, got {0}")]
    TooManySegments(usize),
    /// A variable's name is missing or holds more than letters, digits, `-` and `_`.
    #[error("{0:?} is no variable: want {{name}} as a whole segment, of letters, digits, '-' and '_'")]
    Variable(String),
    /// Two slashes in a row.
    #[error("want no empty segment ('//')")]
    EmptySegment,
    /// A segment that no path in normal form has, or that only odd paths have.
    #[error(
        "the segment {0:?} never occurs in a request's path: want it decoded where it may be, with upper-case escapes, and without dot segments, ';', %25, %2F and %5C"
    )]
    Literal(String),
}

impl PathTemplate {
    /// Most segments of a template: a bound for the depth of every index of templates.
    pub const MAX_SEGMENTS: usize = 32;

    /// Reads a template: `/`-separated segments, each a literal in normal form or `{name}`.
    ///
    /// # Errors
    /// [`NotAPathTemplate`] says which segment is wrong and what was wanted.
    pub fn parse(text: &str) -> Result<Self, NotAPathTemplate> {
        if !text.starts_with('/') {
            return Err(NotAPathTemplate::NotAbsolute);
        }
        let written: Vec<&str> = normal::segments(text).collect();
        if written.len() > Self::MAX_SEGMENTS {
            return Err(NotAPathTemplate::TooManySegments(written.len()));
        }
        let last = written.len().saturating_sub(1);
        let segments = written.iter().enumerate().map(|(at, segment)| match *segment {
            "" if at != last => Err(NotAPathTemplate::EmptySegment),
            segment => parse_segment(segment),
        });
        Ok(Self { segments: segments.collect::<Result<_, _>>()?, written: text.into() })
    }

    /// Its segments: none of `/`, a last empty literal where it ends with a slash.
    #[must_use]
    pub fn segments(&self) -> &[TemplateSegment] {
        &self.segments
    }

    /// Its segments apart from the trailing slash.
    #[must_use]
    pub fn named_segments(&self) -> &[TemplateSegment] {
        match &*self.segments {
            [named @ .., TemplateSegment::Literal(last)] if last.is_empty() => named,
            all => all,
        }
    }

    /// Whether it matches the whole path, byte for byte where it is literal.
    #[must_use]
    pub fn matches(&self, path: &NormalPath<'_>) -> bool {
        let mut sent = path.segments();
        fit(&self.segments, &mut sent, |want, segment| want == segment) && sent.next().is_none()
    }

    /// Whether its segments lead the path. `/a` leads `/a`, `/a/` and `/a/b`, not `/ab`; its own trailing
    /// slash is not significant, and `/` leads every path.
    #[must_use]
    pub fn leads(&self, path: &NormalPath<'_>) -> bool {
        fit(self.named_segments(), &mut path.segments(), |want, segment| want == segment)
    }

    /// Whether a lenient server could take the path for this one: without regard to ASCII case, to escaping
    /// and to one trailing slash. For gates, which are safe when they are too wide, never for opening anything.
    #[must_use]
    pub fn matches_loosely(&self, path: &str) -> bool {
        let mut sent = normal::segments(path.strip_suffix('/').unwrap_or(path));
        let alike = |want: &str, segment: &str| escape::folded(want).eq(escape::folded(segment));
        fit(self.named_segments(), &mut sent, alike) && sent.next().is_none()
    }
}

/// Takes a segment for each of the template's; says whether all were there and fit.
fn fit<'p>(
    wanted: &[TemplateSegment],
    sent: &mut impl Iterator<Item = &'p str>,
    literal_fits: impl Fn(&str, &str) -> bool,
) -> bool {
    wanted.iter().all(|want| match (want, sent.next()) {
        (TemplateSegment::Literal(text), Some(segment)) => literal_fits(text, segment),
        (TemplateSegment::Any, Some(segment)) => !segment.is_empty(),
        (TemplateSegment::Literal(_) | TemplateSegment::Any, None) => false,
    })
}

fn parse_segment(segment: &str) -> Result<TemplateSegment, NotAPathTemplate> {
    if segment.contains(['{', '}']) {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let fits = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        return match name {
            Some(name) if !name.is_empty() && fits(name) => Ok(TemplateSegment::Any),
            Some(_) | None => Err(NotAPathTemplate::Variable(segment.to_owned())),
        };
    }
    let alone = format!("/{segment}");
    match NormalPath::read(&alone) {
        Ok(path) if path.as_str() == alone && path.oddities().is_empty() => {
            Ok(TemplateSegment::Literal(segment.into()))
        }
        Ok(_) | Err(_) => Err(NotAPathTemplate::Literal(segment.to_owned())),
    }
}

impl PartialEq for PathTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.segments == other.segments
    }
}

impl Eq for PathTemplate {}

impl Hash for PathTemplate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.segments.hash(state);
    }
}

impl fmt::Display for PathTemplate {
    /// As it was written, with the names of its variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{NotAPathTemplate, PathTemplate};
    use crate::model::path::NormalPath;

    #[test]
    fn a_template_is_parsed_or_says_what_was_wanted() {
        let (deep, too_deep) = ("/a".repeat(32), "/a".repeat(33));
        for (text, want) in [
            ("/", Ok(0)),
            ("/score", Ok(1)),
            ("/score/", Ok(2)),
            ("/face/{version}/detect", Ok(3)),
            ("/v1/models/m:predict", Ok(3)),
            ("/a%20b", Ok(1)),
            (&deep, Ok(32)),
            ("", Err(NotAPathTemplate::NotAbsolute)),
            ("score", Err(NotAPathTemplate::NotAbsolute)),
            (&too_deep, Err(NotAPathTemplate::TooManySegments(33))),
            ("/a//b", Err(NotAPathTemplate::EmptySegment)),
            ("//", Err(NotAPathTemplate::EmptySegment)),
            ("/{}", Err(NotAPathTemplate::Variable("{}".to_owned()))),
            ("/a{b}", Err(NotAPathTemplate::Variable("a{b}".to_owned()))),
            ("/{a b}", Err(NotAPathTemplate::Variable("{a b}".to_owned()))),
            ("/{a", Err(NotAPathTemplate::Variable("{a".to_owned()))),
            ("/..", Err(NotAPathTemplate::Literal("..".to_owned()))),
            ("/%41", Err(NotAPathTemplate::Literal("%41".to_owned()))),
            ("/a%3a", Err(NotAPathTemplate::Literal("a%3a".to_owned()))),
            ("/a%2Fb", Err(NotAPathTemplate::Literal("a%2Fb".to_owned()))),
            ("/a;b", Err(NotAPathTemplate::Literal("a;b".to_owned()))),
            ("/a?b", Err(NotAPathTemplate::Literal("a?b".to_owned()))),
            ("/é", Err(NotAPathTemplate::Literal("é".to_owned()))),
            ("/*", Ok(1)),
        ] {
            assert_eq!(PathTemplate::parse(text).map(|template| template.segments().len()), want, "{text}");
        }
    }

    #[test]
    fn a_template_is_shown_as_written_and_compared_by_what_it_matches() {
        let template = PathTemplate::parse("/face/{version}/detect").unwrap();
        assert_eq!(template.to_string(), "/face/{version}/detect");
        assert_eq!(template, PathTemplate::parse("/face/{v}/detect").unwrap());
        assert_ne!(template, PathTemplate::parse("/face/{v}/detect/").unwrap());
    }

    /// Columns: template, path, whole match, leads, loose match.
    #[test]
    fn a_template_matches_whole_paths_leads_longer_ones_and_gates_loosely() {
        for (template, path, whole, leads, loosely) in [
            ("/", "/", true, true, true),
            ("/", "/a", false, true, false),
            ("/a", "/a", true, true, true),
            ("/a", "/a/", false, true, true),
            ("/a", "/a/b", false, true, false),
            ("/a", "/ab", false, false, false),
            ("/a", "/A", false, false, true),
            ("/a", "/", false, false, false),
            ("/a/", "/a/", true, true, true),
            ("/a/", "/a", false, true, true),
            ("/a/", "/a/b", false, true, false),
            ("/{x}", "/a", true, true, true),
            ("/{x}", "/", false, false, false),
            ("/{x}/b", "/a/b", true, true, true),
            ("/{x}/b", "/a/B/", false, false, true),
            ("/a/{x}", "/a/", false, false, false),
            ("/a/{x}", "/a//", false, false, false),
            ("/m:predict", "/m%3Apredict", false, false, true),
            ("/a%20b", "/a%20b", true, true, true),
            ("/a%20b", "/A%20B", false, false, true),
        ] {
            let (parsed, sent) = (PathTemplate::parse(template).unwrap(), NormalPath::read(path).unwrap());
            assert_eq!(
                (parsed.matches(&sent), parsed.leads(&sent), parsed.matches_loosely(path)),
                (whole, leads, loosely),
                "{template} on {path}"
            );
        }
    }
}
