//! What an upstream is told, and what it is never told.

use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;

#[test]
fn the_path_that_was_matched_is_the_path_that_is_sent() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(&format!(
        "
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services:
  a: {{match: [{{prefix: /a}}], upstream: a, auth: {{public: nothing here is secret}}}}
",
        upstream.url()
    ));
    let answer = client::get(gateway.traffic(), "/a/b?c=d", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(upstream.last().target, "/a/b?c=d");
}
