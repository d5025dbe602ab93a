//! Paths: the one normal form in which they are matched and sent, and the templates that match them.
//!
//! The gateway stands in front of parsers that it does not know. So a path is either refused here, or it
//! has one spelling from here on, or it carries the list of its oddities, which a service takes by name
//! or not at all. Queries are nobody's business in this module: they are passed on byte for byte.

pub(crate) mod escape;
mod normal;
mod oddity;
mod template;

pub use self::normal::{NormalPath, PathRefused};
pub use self::oddity::{PathAllowances, PathOddities, PathOddity};
pub use self::template::{NotAPathTemplate, PathTemplate, TemplateSegment};
