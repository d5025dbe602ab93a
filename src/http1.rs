//! HTTP/1.1 on the wire (RFC 9112), read strictly and written anew.
//!
//! The request path has a codec of its own because a general one costs more than everything else that a request
//! needs here (docs/decisions/0017-own-http1.md). Heads are taken apart by `httparse`; what a message's
//! length is, where a chunk ends and what goes on a socket is decided here. Clients and
//! upstreams are spoken to with it.

pub mod body;
pub mod client;
pub mod head;
pub mod input;
pub mod output;

/// Why bytes are no message. One reading is enough to refuse: whoever reads them next might take another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A head that is none.
    #[error("want a head as RFC 9112 §2.1 has it, its lines ended by CR LF")]
    Head,
    /// The target is longer than is taken.
    #[error("want a shorter target")]
    TargetTooLong,
    /// More of it than is taken.
    #[error("want a head of fewer bytes and fields")]
    TooLarge,
    /// A length that is none, or more than one.
    #[error("want one Content-Length of decimal digits, or Transfer-Encoding: chunked, and not both")]
    Length,
    /// A chunk that is none.
    #[error("want chunks as RFC 9112 §7.1 has them")]
    Chunk,
}
