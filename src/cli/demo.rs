//! The upstreams of `scoregate demo`, compiled into the binary so that the demonstration needs nothing else.
//!
//! [`scoring`] is a real, small model behind the routes of an Azure ML scoring server; [`face`] speaks the
//! wire format of a Face service and recognises nothing. Neither authenticates anyone: that is the
//! gateway's part, and what the demonstration is about. Bind them to loopback only.

pub mod events;
mod exchange;
pub mod face;
pub mod model;
pub mod scoring;
