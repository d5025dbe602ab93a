//! Azure's published clients, unmodified, against the demonstration.

use serde_json::Value;
use serde_json::json;

use crate::demo::Demo;
use crate::support::python::call_azure_sdk;

#[test]
fn azures_own_clients_work_against_it_unchanged() {
    let (demo, document) = Demo::json(&[]);
    let seen = call_azure_sdk(&document).unwrap();
    let says = |pointer: &str, part: &str| {
        let text = seen.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(text.contains(part), "{pointer}: want {part:?} in {text:?}\n{seen:#}");
    };
    for (pointer, want) in [
        ("/azure_ml/get_keys", json!(true)),
        ("/azure_ml/list", json!(["face", "iris", "iris-token"])),
        ("/azure_ml/run_with_key", json!(["setosa"])),
        ("/azure_ml/regenerate_primary", json!([true, true])),
        ("/azure_ml/regenerate_secondary", json!([true, true])),
        ("/azure_ml/choose_primary", json!(true)),
        ("/azure_ml/run_after_rotation", json!(["setosa"])),
        ("/azure_ml/token_parts", json!(3)),
        ("/azure_ml/refresh_is_ahead", json!(true)),
        ("/azure_ml/run_with_token", json!(["setosa"])),
        ("/face/free", json!(1)),
        ("/face/lent_per_call", json!(1)),
        ("/face/lent_client_wide", json!(1)),
    ] {
        assert_eq!(seen.pointer(pointer), Some(&want), "{pointer}\n{seen:#}");
    }
    says("/azure_ml/keys_of_a_token_service", "AuthModeMismatch");
    says("/azure_ml/token_of_a_key_service", "missing accessToken");
    says("/azure_ml/both_modes", "cannot set both token_auth_enabled and auth_enabled");
    says("/azure_ml/switch_mode", "gateway.yaml owns how this service is called");
    says("/face/gated", "UnsupportedFeature");
    says("/face/wrong_key", "invalid subscription key");
    assert_eq!(demo.terminate(), Some(0));
}
