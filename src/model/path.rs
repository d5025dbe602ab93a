//! Paths: the normal form in which they are matched and sent, and templates of them.

/// A path with `{name}` for any one segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate(Box<[TemplateSegment]>);

/// One segment of a [`PathTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TemplateSegment {
    /// Exactly this text.
    Literal(Box<str>),
    /// Any one segment, not empty.
    Any,
}
