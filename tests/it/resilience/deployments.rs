//! Which of a service's upstreams gets a request: the one that it names, else one by weight.

use super::told;
use crate::support::client;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

const HEADER: &str = "azureml-model-deployment";

/// A deployment that says its name.
fn deployment(name: &'static str) -> Upstream {
    Upstream::start(move |_, stream| respond(stream, 200, &[], name.as_bytes()))
}

fn yaml(upstreams: [&Upstream; 3], weights: [u32; 2]) -> String {
    let [blue, green, canary] = upstreams.map(Upstream::url);
    let [of_blue, of_green] = weights;
    format!(
        "
workers: 2
upstreams:
  blue: {{endpoints: ['{blue}']}}
  green: {{endpoints: ['{green}']}}
  canary: {{endpoints: ['{canary}']}}
services:
  model:
    match: [{{prefix: /model}}]
    deployments:
      blue: {{upstream: blue, weight: {of_blue}}}
      green: {{upstream: green, weight: {of_green}}}
      canary: {{upstream: canary}}
    auth: {{public: a test}}
  plain: {{match: [{{prefix: /plain}}], upstream: blue, auth: {{public: a test}}}}
"
    )
}

/// Requests that name no deployment, by who answers them.
fn shares(gateway: &Gateway, count: usize) -> [usize; 3] {
    let mut client = Client::connect(gateway.traffic());
    let answers: Vec<String> = (0..count).map(|_| client.request("GET", "/model", &[], b"").text()).collect();
    ["blue", "green", "canary"].map(|name| answers.iter().filter(|answer| *answer == name).count())
}

#[test]
fn a_request_goes_to_the_deployment_that_it_names_and_others_by_weight() {
    let [blue, green, canary] = ["blue", "green", "canary"].map(deployment);
    let gateway = Gateway::start(&yaml([&blue, &green, &canary], [75, 25]));
    for name in ["blue", "green", "canary"] {
        assert_eq!(client::get(gateway.traffic(), "/model", &[(HEADER, name)]).text(), name);
    }
    // 1000 draws with a chance of a quarter: beyond 250 ± 70 once in two million times.
    let [of_blue, of_green, of_canary] = shares(&gateway, 1000);
    assert_eq!((of_blue + of_green, of_canary), (1000, 0), "one without weight has to be named");
    assert!((180..=320).contains(&of_green), "{of_green} of 1000 are a quarter");
    // The header of before goes along to whatever the client library calls next.
    assert_eq!(client::get(gateway.traffic(), "/plain", &[(HEADER, "canary")]).text(), "blue");
    assert_eq!(canary.last().header(HEADER), Some("canary"));

    gateway.configure(&yaml([&blue, &green, &canary], [0, 1]));
    gateway.hangup();
    eventually("the weights are in force", || (gateway.generation() >= 2.0).then_some(()));
    assert_eq!(shares(&gateway, 50), [0, 50, 0]);
}

#[test]
fn a_deployment_that_is_none_is_404_and_so_is_no_traffic_at_all() {
    let [blue, green, canary] = ["blue", "green", "canary"].map(deployment);
    let gateway = Gateway::start(&yaml([&blue, &green, &canary], [0, 0]));
    for headers in
        [&[(HEADER, "red")][..], &[(HEADER, "Blue")], &[(HEADER, "")], &[(HEADER, "blue"), (HEADER, "blue")], &[]]
    {
        let answer = client::get(gateway.traffic(), "/model", headers);
        let (status, code, _, retry_after) = told(&answer);
        assert_eq!((status, code.as_str(), retry_after), (404, "no_deployment", None), "{headers:?}");
    }
    assert_eq!(client::get(gateway.traffic(), "/model", &[(HEADER, "green")]).text(), "green");
    assert!(blue.received().is_empty() && canary.received().is_empty());
}
