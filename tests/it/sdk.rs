//! Azure's published clients, unmodified, over TLS with a private CA: what each can do, and what each is refused.
//!
//! The drivers in `tests/servers/` hold the claims; a test here names the scenario, and changes the gateway around it.

mod azure_ml;
mod face;
mod setting;
