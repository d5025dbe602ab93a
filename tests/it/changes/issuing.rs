//! A vendor that is cut off while it asks for a LimitedAccessToken.

use std::fs;

use crate::protocols::wire::Wire;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

#[test]
fn a_key_that_is_replaced_while_the_request_arrives_issues_nothing() {
    let upstream = Upstream::ok();
    let directory = scratch();
    fs::write(directory.path().join("vendor"), "the-first-key-of-the-vendor").unwrap();
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
accounts:
  vendor: {{resource: /a/vendor, keys: {{primary: {{key: 'file:$DIR/vendor'}}}}, may_issue: [Face.Identification]}}
services:
  face:
    match: [{{prefix: /face}}]
    upstream: a
    auth: {{key: {{keys: none, accounts: [vendor]}}}}
    features: {{preset: face}}
    issues_limited_access_tokens: true
",
            upstream.url()
        ),
    );
    let body = r#"{"targetAzureResourceId": "/a/vendor", "featureFlags": ["Face.Identification"]}"#;
    let (first, rest) = body.split_at(20);
    for (replaced, want) in [(false, 200), (true, 401)] {
        let mut client = Wire::connect(gateway.traffic());
        client.send(format!(
            "POST /sts/v1.0/issueLimitedAccessToken HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\
             ocp-apim-subscription-key: the-first-key-of-the-vendor\r\n\r\n{first}",
            body.len()
        ));
        let generation = gateway.generation();
        if replaced {
            // The head has been judged once another request of the same worker could have been.
            eventually("the request is in flight", || {
                (gateway.metric("gateway_http_requests_in_flight{service=\"face\"}") > 0.5).then_some(())
            });
            gateway.write("vendor", "the-second-key-of-the-vendor");
            eventually("the new key is in force", || (gateway.generation() > generation).then_some(()));
        }
        client.send(rest);
        assert_eq!(client.answer_to("POST").status(), want, "replaced: {replaced}");
    }
}
