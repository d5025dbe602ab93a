//! `MLServer` and the Open Inference Protocol, over REST and over gRPC.

use serde_json::json;

use super::BEARER;
use super::KEY;
use super::by_key;
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::python::Launcher;
use crate::support::python::PythonServer;
use crate::support::python::call_grpc;

#[test]
fn mlserver_infers_over_rest_and_over_grpc() {
    let server = PythonServer::start(Launcher::MlServer, &[]).unwrap();
    let rest = by_key("http", server.http(), "");
    let body = r#"{"inputs":[{"name":"predict","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}"#;
    let headers = [BEARER, ("content-type", "application/json")];
    let answer = client::post(rest.traffic(), "/v2/models/iris/infer", &headers, body);
    assert_eq!((answer.status, &answer.json()["outputs"][0]["data"]), (200, &json!([0])));
    assert_eq!(client::post(rest.traffic(), "/v2/models/iris/infer", &headers[1..], body).status, 401);

    let grpc = by_key("h2c", server.grpc().unwrap(), "");
    let address = grpc.traffic().to_string();
    let good = format!("authorization=Bearer {KEY}");
    let rows = "[[5.1, 3.5, 1.4, 0.2], [6.6, 3.0, 5.6, 2.0]]";
    let call = |call: &str, metadata: &str| {
        call_grpc(&[call, "--address", &address, "--metadata", metadata, "--rows", rows]).unwrap()
    };
    assert_eq!(call("server-live", &good)["live"], json!(true));
    let inferred = call("model-infer", &good);
    assert_eq!((&inferred["code"], &inferred["predictions"]), (&json!("OK"), &json!([0, 2])));
    for wrong in ["authorization=Bearer another", "x-nothing=at-all"] {
        assert_eq!(call("model-infer", wrong)["code"], json!("UNAUTHENTICATED"), "{wrong}");
    }
}

#[test]
fn a_grpc_call_to_no_service_is_unimplemented() {
    let gateway = Gateway::start(
        "
upstreams: {model: {endpoints: ['h2c://127.0.0.1:9']}}
services: {model: {match: [{prefix: /other.Service}], upstream: model, auth: {public: nobody calls it}}}
",
    );
    let address = gateway.traffic().to_string();
    assert_eq!(call_grpc(&["server-live", "--address", &address]).unwrap()["code"], json!("UNIMPLEMENTED"));
}
