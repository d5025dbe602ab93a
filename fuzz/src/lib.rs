//! Fuzz targets for everything that scoregate reads from strangers: each a function of bytes that panics when the
//! gateway does, or breaks its word. `fuzz/run` builds and runs them; their seeds are in `fuzz/seeds/<target>/`.

mod files;
mod gateway;
mod paths;
mod planes;
mod requests;
mod tokens;
mod wire;
mod words;

/// What is done with the bytes.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("access_log", planes::access_log),
    ("answer", wire::answer),
    ("audit_log", files::audit_log),
    ("chunks", wire::chunks),
    ("claims", tokens::claims),
    ("config", files::config),
    ("credential", requests::credential),
    ("host", paths::host),
    ("issue", tokens::issue),
    ("jwks", tokens::jwks),
    ("key_table", words::key_table),
    ("limited", tokens::limited),
    ("manage", planes::manage),
    ("path", paths::path),
    ("records", files::records),
    ("request", requests::request),
    ("requests", wire::requests),
    ("token", tokens::token),
    ("words", words::words),
];

/// Seeds are texts to read and write by hand, so that parts of an input are lines of it.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}
