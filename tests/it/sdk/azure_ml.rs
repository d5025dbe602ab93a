//! azureml-core, the client of Azure ML's v1 API, and azure-ai-ml, that of its v2 API.

use serde_json::json;

use super::setting::Setting;
use crate::demo::Demo;
use crate::support::python::drive;

/// Plays a scenario against a gateway of its own.
fn play(driver: &str, scenario: &str) {
    Setting::set().play(driver, scenario, json!({}));
}

#[test]
fn azureml_core_regenerates_either_key_and_the_other_one_keeps_working() {
    play("azureml_v1.py", "keys");
}

#[test]
fn azureml_core_scores_with_tokens() {
    play("azureml_v1.py", "tokens");
}

#[test]
fn azureml_core_recovers_when_its_key_is_replaced_on_its_way() {
    play("azureml_v1.py", "stale_key");
}

#[test]
fn azureml_core_recovers_when_its_token_is_revoked_on_its_way() {
    play("azureml_v1.py", "stale_token");
}

#[test]
fn keys_and_tokens_together_are_refused_by_azureml_core_and_without_it() {
    play("azureml_v1.py", "modes");
}

#[test]
fn azureml_core_switches_a_managed_service_to_tokens_and_back_to_keys() {
    play("azureml_v1.py", "switch");
}

#[test]
fn azure_ai_ml_regenerates_a_key_though_it_sends_the_current_one() {
    play("azureml_v2.py", "keys");
}

#[test]
fn azure_ai_ml_scores_with_tokens() {
    play("azureml_v2.py", "tokens");
}

#[test]
fn azure_ai_ml_reads_what_it_is_refused() {
    play("azureml_v2.py", "refusals");
}

#[test]
fn both_azure_ml_clients_score_with_tokens_against_the_demonstration_without_tls() {
    let (demo, document) = Demo::json(&[]);
    let told = json!({
        "ca": "/nonexistent",
        "management": document["management"],
        "management_key": document["management_token"],
        "workspace": document["workspace"],
    });
    for driver in ["azureml_v1.py", "azureml_v2.py"] {
        drive(driver, "tokens", &told).unwrap();
    }
    assert_eq!(demo.terminate(), Some(0));
}
