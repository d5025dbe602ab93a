//! Change without a pause: keys, configuration, listeners and certificates under traffic, and the way out.

mod auth_mode;
mod broken;
mod drain;
mod issuing;
pub(crate) mod listeners;
mod rotation;
