//! The API against its own description, by schemathesis: requests that fit it and requests that do not.

use serde_json::json;

use super::Stage;
use crate::support::python;

#[test]
fn whatever_a_fuzzer_sends_is_answered_as_the_description_says() {
    let stage = Stage::new();
    // What the examples in the description name.
    stage.done("POST", "accounts", &json!({ "name": "contoso", "resource": "/a/contoso" }));
    let description = format!("http://{}/api/v1/openapi.yaml", stage.gateway.management());
    // The key is no service's or account's, so that nothing which the API can do takes it away.
    let key = format!("Authorization: Bearer {}", stage.key);
    let (status, written) = python::schemathesis(&[
        "run",
        &description,
        "--header",
        &key,
        // What a schema cannot say (which features are known, what time it is) is refused with 400 all the same.
        "--exclude-checks",
        "positive_data_acceptance",
        "--max-examples",
        "15",
        "--seed",
        "1",
        "--no-color",
    ])
    .unwrap();
    assert!(status.success(), "{written}");
    assert!(written.contains("Tested: 25"), "every call was made:\n{written}");
    assert!(!stage.gateway.everything_written().contains("\"level\":\"ERROR\""));
    assert_eq!(stage.ask("GET", "keys", &serde_json::Value::Null).status, 200, "the gateway goes on");
}
