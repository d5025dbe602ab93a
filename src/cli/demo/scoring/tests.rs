//! The scoring server by its answers: every route, every refusal, without a socket.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{MOST_BODY_BYTES, MOST_FLOWERS, SWAGGER, answer};

async fn send(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<String> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, body) = answer(request.body(Full::<Bytes>::from(body.to_owned())).unwrap()).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

fn document(response: &Response<String>) -> Value {
    serde_json::from_str(response.body()).unwrap()
}

#[tokio::test]
async fn scores_come_in_the_order_of_the_flowers() {
    let body = r#"{"data": [[6.3, 3.3, 6.0, 2.5], [5.1, 3.5, 1.4, 0.2], [7, 3.2, 4.7, 1.4]]}"#;
    let response = send("POST", "/score", &[], body).await;
    assert_eq!(response.status(), StatusCode::OK);
    let scores = document(&response);
    assert_eq!(scores["predictions"], json!(["virginica", "setosa", "versicolor"]));
    assert_eq!(scores["classes"], json!(["setosa", "versicolor", "virginica"]));
    for (row, class) in [(0, 2), (1, 0), (2, 1)] {
        assert!(scores["probabilities"][row][class].as_f64().unwrap() > 0.8, "row {row}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_wanted_is_400_and_says_what_is() {
    let row = "[1,1,1,1],".repeat(MOST_FLOWERS);
    let full = format!("{{\"data\":[{}]}}", row.trim_end_matches(','));
    let over = format!("{{\"data\":[{row}[1,1,1,1]]}}");
    for (body, status, says) in [
        ("", 400, "want {\"data\""),
        ("{", 400, "line 1 column 1"),
        ("[]", 400, "want {\"data\""),
        ("{}", 400, "want {\"data\""),
        (r#"{"data": [[1,1,1,1]], "x": 1}"#, 400, "line 1 column 25"),
        (r#"{"data": 1}"#, 400, "want {\"data\""),
        (r#"{"data": [1]}"#, 400, "four numbers a row"),
        (r#"{"data": []}"#, 400, "want 1 to 10000 rows, got 0"),
        (r#"{"data": [[1,1,1]]}"#, 400, "four numbers a row"),
        (r#"{"data": [[1,1,1,1,1]]}"#, 400, "four numbers a row"),
        (r#"{"data": [[1,1,1,"1"]]}"#, 400, "four numbers a row"),
        (r#"{"data": [[1,1,1,NaN]]}"#, 400, "four numbers a row"),
        (r#"{"data": [[1,1,1,null]]}"#, 400, "four numbers a row"),
        (r#"{"data": [[1,1,1,1e999]]}"#, 400, "four numbers a row"),
        (r#"{"data": [[1,1,1,1],[1,1,1,-1]]}"#, 400, "data[1]: want lengths from 0 to 1000"),
        (&over, 400, "want 1 to 10000 rows, got 10001"),
        (&full, 200, "predictions"),
    ] {
        let response = send("POST", "/score", &[], body).await;
        let shown: String = body.chars().take(40).collect();
        assert_eq!(response.status(), status, "{shown}");
        let answer = document(&response);
        let text = answer["message"].as_str().unwrap_or(response.body());
        assert!(text.contains(says), "{shown}: {text:.200}");
    }
}

#[tokio::test]
async fn a_body_over_eight_mebibytes_is_413() {
    let response = send("POST", "/score", &[], &" ".repeat(MOST_BODY_BYTES + 1)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn each_route_answers_its_methods_only() {
    for (method, path, status, allow, media_type) in [
        ("GET", "/", 200, None, "text/plain"),
        ("HEAD", "/", 200, None, "text/plain"),
        ("POST", "/", 405, Some("GET, HEAD"), "application/json"),
        ("GET", "/score", 405, Some("POST"), "application/json"),
        ("DELETE", "/score", 405, Some("POST"), "application/json"),
        ("GET", "/swagger.json", 200, None, "application/json"),
        ("GET", "/swagger.json?version=2", 200, None, "application/json"),
        ("POST", "/swagger.json", 405, Some("GET, HEAD"), "application/json"),
        ("GET", "/headers", 200, None, "application/json"),
        ("GET", "/whoami", 200, None, "application/json"),
        ("GET", "/events", 200, None, "text/event-stream"),
        ("PUT", "/events", 405, Some("GET, HEAD"), "application/json"),
        ("GET", "/score/", 404, None, "application/json"),
        ("GET", "/Score", 404, None, "application/json"),
        ("GET", "/nothing", 404, None, "application/json"),
    ] {
        let response = send(method, path, &[], "").await;
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers().get(ALLOW).map(|allow| allow.to_str().unwrap()), allow, "{method} {path}");
        assert_eq!(response.headers()[CONTENT_TYPE], media_type, "{method} {path}");
        if status >= 400 {
            assert!(document(&response)["message"].is_string(), "{method} {path}");
        }
    }
    assert_eq!(send("GET", "/", &[], "").await.body(), "Healthy");
}

#[tokio::test]
async fn headers_are_listed_by_name_and_only_identity_by_value() {
    let sent = [
        ("x-scoregate-principal", "account:contoso"),
        ("x-scoregate-features", "Face.Verification"),
        ("authorization", "Bearer marked-secret"),
        ("accept", "a"),
        ("accept", "b"),
    ];
    let names = send("GET", "/headers", &sent, "").await;
    assert_eq!(
        document(&names),
        json!({"headers": ["accept", "authorization", "x-scoregate-features", "x-scoregate-principal"]})
    );
    let identity = send("GET", "/whoami", &sent, "").await;
    assert_eq!(
        document(&identity),
        json!({"x-scoregate-features": "Face.Verification", "x-scoregate-principal": "account:contoso"})
    );
    for response in [names, identity] {
        assert!(!response.body().contains("marked-secret"));
    }
}

#[tokio::test]
async fn the_swagger_document_lists_what_is_answered() {
    let swagger: Value = serde_json::from_str(SWAGGER).unwrap();
    assert_eq!(swagger["swagger"], "2.0");
    let paths = swagger["paths"].as_object().unwrap();
    let listed: Vec<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(listed, ["/", "/events", "/headers", "/score", "/swagger.json", "/whoami"]);
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys() {
            let status = send(&method.to_uppercase(), path, &[], "").await.status();
            assert!(status != StatusCode::NOT_FOUND && status != StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_swagger_documents_example_is_scored() {
    let swagger: Value = serde_json::from_str(SWAGGER).unwrap();
    let example = &swagger["definitions"]["ServiceInput"]["example"];
    let response = send("POST", "/score", &[], &example.to_string()).await;
    assert_eq!(document(&response)["predictions"], json!(["setosa"]));
}
