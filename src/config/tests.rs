//! Files held against the reader: the shipped one, broken ones, ten thousand services, and anything at all.

mod accepted;
mod anything;
mod broken;
mod crossing;
mod limits;

use std::fmt::Write as _;

/// A small file that is valid. Tests change one thing about it.
const SMALL: &str = "\
listeners:
  traffic: [{address: '127.0.0.1:8080'}]
  health: {address: '127.0.0.1:8082'}
upstreams:
  model: {endpoints: ['http://127.0.0.1:5001']}
services:
  iris:
    upstream: model
    auth: {key: {}}
";

/// [`SMALL`] with one piece replaced by another.
fn small_with(from: &str, to: &str) -> String {
    assert_eq!(SMALL.matches(from).count(), 1, "{from:?} must stand once in the small file");
    SMALL.replacen(from, to, 1)
}

/// [`SMALL`] with more services, as lines of `name: {…}`.
fn small_and_services(more: &[String]) -> String {
    let mut text = SMALL.to_owned();
    for service in more {
        writeln!(text, "  {service}").unwrap();
    }
    text
}
