//! What a listener bears of its clients: how many, how large, how slow, how often wrong.

mod connections;
mod deadlines;
mod http2;
mod sizes;
mod throttle;

use std::net::IpAddr;
use std::net::SocketAddr;

use scoregate::model::refusal::Denied;

use crate::support::client::Answer;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

const KEY: &str = "a-key-that-opens-the-service";

/// Any address of 127.0.0.0/8 is this machine.
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// A gateway that bears this much on its traffic listener, in front of `upstream`: `/open` for everybody, `/keyed` with a
/// key. `more` are lines of the file.
fn bearing(traffic: &str, upstream: SocketAddr, more: &str) -> Gateway {
    let directory = scratch();
    std::fs::write(directory.path().join("key"), KEY).unwrap();
    let yaml = format!(
        "
listeners:
  traffic: [{{address: $TRAFFIC, {traffic}}}]
  management: {{address: $MANAGEMENT}}
  health: {{address: $HEALTH}}
upstreams: {{a: {{endpoints: ['http://{upstream}']}}}}
services:
  open: {{match: [{{prefix: /open}}], upstream: a, auth: {{public: a test}}, upgrades: websocket}}
  keyed: {{match: [{{prefix: /keyed}}], upstream: a, auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/key'}}}}}}}}}}
{more}
"
    );
    Gateway::start_in(directory, &yaml)
}

/// A refusal in full: the row's status and code, a body, a line in the access log.
fn assert_refused(gateway: &Gateway, what: &str, answer: &Answer, why: Denied) {
    assert_eq!(answer.status, why.row().status.as_u16(), "{what}: {}", answer.text());
    assert_eq!(answer.json()["error"]["code"], why.row().code, "{what}");
    let line = gateway.access_line(answer.header("x-scoregate-decision-id").unwrap_or_default());
    assert_eq!(line["scoregate.reason"], why.row().code, "{what}: {line}");
}

/// The value of a counter of the traffic listener.
fn counted(gateway: &Gateway, family: &str, reason: &str) -> f64 {
    let reason = if reason.is_empty() { String::new() } else { format!(",reason=\"{reason}\"") };
    gateway.metric(&format!("gateway_{family}{{listener=\"traffic-0\"{reason}}}"))
}

fn upstream() -> Upstream {
    Upstream::ok()
}
