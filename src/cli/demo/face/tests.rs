//! The Face-like service by its answers: what it finds, what it refuses, without a socket.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::{Face, MOST_BODY_BYTES};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const SOMEBODY: &str = "c5c24a82-6845-4031-9d5d-978df9175426";

async fn send(face: &Face, method: &str, path: &str, media_type: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("/face/{path}")).header(CONTENT_TYPE, media_type);
    let (head, body) = face.answer(request.body(Full::<Bytes>::from(body.to_owned())).unwrap()).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let document = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    (head.status, document)
}

async fn detected(face: &Face, media_type: &str, body: &str) -> String {
    let (_, found) = send(face, "POST", "v1.0/detect", media_type, body).await;
    found[0]["faceId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_face_is_the_hash_of_its_image() {
    let face = Face::default();
    let by_bytes = detected(&face, BYTES, "image a").await;
    assert_eq!(by_bytes, detected(&Face::default(), BYTES, "image a").await);
    assert_ne!(by_bytes, detected(&face, BYTES, "image b").await);
    let named = r#"{"url": "https://images.example/a.jpg"}"#;
    assert_eq!(detected(&face, JSON, named).await, detected(&face, "Application/JSON; charset=utf-8", named).await);
}

#[tokio::test]
async fn detect_keeps_the_face_id_back_when_asked_to() {
    let face = Face::default();
    let (status, found) = send(&face, "POST", "v1.0/detect?returnFaceId=false", BYTES, "image a").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert!(found[0].get("faceId").is_none());
    for side in ["top", "left", "width", "height"] {
        assert!(found[0]["faceRectangle"][side].is_u64(), "{side}");
    }
}

#[tokio::test]
async fn identify_and_verify_find_who_was_put_into_the_group() {
    let face = Face::default();
    let (status, nothing) = send(&face, "PUT", "v1.0/largepersongroups/staff", JSON, r#"{"name": "Staff"}"#).await;
    assert_eq!((status, nothing), (StatusCode::OK, Value::Null));
    let (_, group) = send(&face, "GET", "v1.0/largepersongroups/staff", JSON, "").await;
    assert_eq!(group, json!({"largePersonGroupId": "staff", "name": "Staff"}));

    let (_, person) = send(&face, "POST", "v1.0/largepersongroups/staff/persons", JSON, r#"{"name": "Ada"}"#).await;
    let person = person["personId"].as_str().unwrap();
    let faces = format!("v1.0/largepersongroups/staff/persons/{person}/persistedfaces");
    let (status, persisted) = send(&face, "POST", &faces, BYTES, "image of ada").await;
    assert_eq!(status, StatusCode::OK);
    assert!(persisted["persistedFaceId"].is_string());

    let ada = detected(&face, BYTES, "image of ada").await;
    let stranger = detected(&face, BYTES, "image of a stranger").await;
    let wanted = json!({"largePersonGroupId": "staff", "faceIds": [ada, stranger],
        "maxNumOfCandidatesReturned": 1, "confidenceThreshold": 0.5});
    let (_, found) = send(&face, "POST", "v1.0/identify", JSON, &wanted.to_string()).await;
    let candidates = json!([{"personId": person, "confidence": 1.0}]);
    assert_eq!(found, json!([{"faceId": ada, "candidates": candidates}, {"faceId": stranger, "candidates": []}]));

    for (wanted, identical) in [
        (json!({"faceId1": ada, "faceId2": ada}), true),
        (json!({"faceId1": ada, "faceId2": stranger}), false),
        (json!({"faceId": ada, "largePersonGroupId": "staff", "personId": person}), true),
        (json!({"faceId": stranger, "largePersonGroupId": "staff", "personId": person}), false),
    ] {
        let (_, verdict) = send(&face, "POST", "v1.0/verify", JSON, &wanted.to_string()).await;
        let confidence = if identical { 1.0 } else { 0.0 };
        assert_eq!(verdict, json!({"isIdentical": identical, "confidence": confidence}), "{wanted}");
    }

    let (status, _) = send(&face, "DELETE", "v1.0/largepersongroups/staff", JSON, "").await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = send(&face, "GET", "v1.0/largepersongroups/staff", JSON, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_faces_body() {
    let face = Face::default();
    send(&face, "PUT", "v1/largepersongroups/g", JSON, r#"{"name": "G"}"#).await;
    let identify = |faces: usize, rest: Value| {
        let mut wanted = json!({"largePersonGroupId": "g", "faceIds": vec![SOMEBODY; faces]});
        wanted.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        wanted.to_string()
    };
    let nobody = format!("v1/largepersongroups/g/persons/{SOMEBODY}/persistedfaces");
    let verify = json!({"faceId": SOMEBODY, "largePersonGroupId": "g", "personId": SOMEBODY}).to_string();
    let large = "x".repeat(MOST_BODY_BYTES + 1);
    for (method, path, media_type, body, status, code) in [
        ("POST", "v1/detect", BYTES, "", 400, "InvalidImageSize"),
        ("POST", "v1/detect", BYTES, &*large, 400, "InvalidImageSize"),
        ("POST", "v1/detect", "image/png", "x", 415, "UnsupportedMediaType"),
        ("POST", "v1/detect", JSON, "{", 400, "BadArgument"),
        ("POST", "v1/detect", JSON, r#"{"url": "file:///etc/passwd"}"#, 400, "InvalidURL"),
        ("POST", "v1/detect?returnFaceId=maybe", BYTES, "x", 400, "BadArgument"),
        ("GET", "v1/detect", JSON, "", 405, "405"),
        ("GET", "v1/findsimilars", JSON, "", 404, "404"),
        ("POST", "v1/identify", JSON, "[]", 400, "BadArgument"),
        ("POST", "v1/identify", JSON, &identify(0, json!({})), 400, "BadArgument"),
        ("POST", "v1/identify", JSON, &identify(11, json!({})), 400, "BadArgument"),
        ("POST", "v1/identify", JSON, &identify(1, json!({"maxNumOfCandidatesReturned": 0})), 400, "BadArgument"),
        ("POST", "v1/identify", JSON, &identify(1, json!({"maxNumOfCandidatesReturned": 101})), 400, "BadArgument"),
        ("POST", "v1/identify", JSON, &identify(1, json!({"confidenceThreshold": 1.1})), 400, "BadArgument"),
        ("POST", "v1/identify", JSON, &identify(1, json!({"faceIds": ["x"]})), 400, "BadArgument"),
        (
            "POST",
            "v1/identify",
            JSON,
            &identify(1, json!({"largePersonGroupId": "other"})),
            404,
            "LargePersonGroupNotFound",
        ),
        ("POST", "v1/verify", JSON, "{}", 400, "BadArgument"),
        ("POST", "v1/verify", JSON, &verify, 404, "PersonNotFound"),
        ("PUT", "v1/largepersongroups/g", JSON, r#"{"name": "G"}"#, 409, "LargePersonGroupExists"),
        ("PUT", "v1/largepersongroups/G", JSON, r#"{"name": "G"}"#, 400, "BadArgument"),
        ("PUT", "v1/largepersongroups/h", JSON, "{}", 400, "BadArgument"),
        ("DELETE", "v1/largepersongroups/h", JSON, "", 404, "LargePersonGroupNotFound"),
        ("POST", "v1/largepersongroups/h/persons", JSON, r#"{"name": "P"}"#, 404, "LargePersonGroupNotFound"),
        ("POST", "v1/largepersongroups/g/persons", JSON, "{}", 400, "BadArgument"),
        ("POST", &nobody, BYTES, "x", 404, "PersonNotFound"),
        ("POST", "v1/largepersongroups/g/persons/p/persistedfaces", BYTES, "x", 400, "BadArgument"),
    ] {
        let (got, document) = send(&face, method, path, media_type, body).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!((got.as_u16(), &document["error"]["code"]), (status, &json!(code)), "{method} {path} {shown}");
        assert!(document["error"]["message"].is_string(), "{method} {path} {shown}");
    }
}

#[tokio::test]
async fn a_refused_method_is_told_which_are_taken() {
    for (path, allow) in [("/face/v1.0/verify", "POST"), ("/face/v1.0/largepersongroups/g", "GET, HEAD, PUT, DELETE")] {
        let request = Request::patch(path).body(Full::<Bytes>::default()).unwrap();
        let response: Response<_> = Face::default().answer(request).await;
        assert_eq!((response.status().as_u16(), &response.headers()[ALLOW]), (405, &allow.parse().unwrap()), "{path}");
    }
}
