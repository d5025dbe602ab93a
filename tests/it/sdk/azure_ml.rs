//! azureml-core, the client of Azure ML's v1 API, and azure-ai-ml, that of its v2 API.

use serde_json::json;

use super::setting::Setting;

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
fn keys_and_tokens_together_are_refused_by_azureml_core_and_without_it() {
    play("azureml_v1.py", "modes");
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
