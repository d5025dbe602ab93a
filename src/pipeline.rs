//! A request, from its head to the last byte of its answer.

mod credential;
mod headers;
