//! The words of the domain, and the one table of refusals. Imports nothing of ours.

mod advice;
pub mod digest;
pub mod explanation;
pub mod feature;
pub mod hex;
pub mod host;
pub mod name;
pub mod path;
pub mod refusal;
pub mod resource;
pub mod secret;
pub mod slot;
pub mod source;
#[cfg(test)]
#[path = "../tests/it/support/summary.rs"]
pub(crate) mod summary;
pub mod time;
