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

/// The text is not a [`PathTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("want a path such as /a/{{name}}/b, without empty, '.' and '..' segments")]
pub struct NotAPathTemplate;

impl PathTemplate {
    /// Reads a template. `/` has no segments, and a slash at the end is a last literal segment that is empty.
    ///
    /// # Errors
    /// [`NotAPathTemplate`] when it does not start with `/`, when a segment other than the last is empty, or when a
    /// segment is a dot segment or holds braces anywhere but around all of it.
    pub fn parse(text: &str) -> Result<Self, NotAPathTemplate> {
        let rest = text.strip_prefix('/').ok_or(NotAPathTemplate)?;
        if rest.is_empty() {
            return Ok(Self(Box::default()));
        }
        let last = rest.split('/').count() - 1;
        let read = |(at, segment): (usize, &str)| {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(TemplateSegment::Any),
                None if segment.is_empty() && at != last => Err(NotAPathTemplate),
                None if matches!(segment, "." | "..") || segment.contains(['{', '}', '?', '#']) => {
                    Err(NotAPathTemplate)
                }
                None => Ok(TemplateSegment::Literal(segment.into())),
                Some(_) => Err(NotAPathTemplate),
            }
        };
        rest.split('/').enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The segments, in order.
    #[must_use]
    pub fn segments(&self) -> &[TemplateSegment] {
        &self.0
    }
}
