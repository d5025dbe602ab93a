//! The calls of model servers' protocols, and services that take no others.

use super::Read;
use super::Reader;
use crate::config::HostMatch;
use crate::config::Match;
use crate::config::PathMatch;
use crate::config::problem::Place;
use crate::config::raw;
use crate::config::raw::CallPreset;

/// A call: its methods and its path.
type Call = (&'static [&'static str], &'static str);

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];

/// Open Inference Protocol v2 and its extension of generation, with and without a model's version.
const OIP_V2: &[Call] = &[
    (GET, "/v2"),
    (GET, "/v2/health/live"),
    (GET, "/v2/health/ready"),
    (GET, "/v2/models/{model}"),
    (GET, "/v2/models/{model}/ready"),
    (POST, "/v2/models/{model}/infer"),
    (POST, "/v2/models/{model}/infer_stream"),
    (POST, "/v2/models/{model}/generate"),
    (POST, "/v2/models/{model}/generate_stream"),
    (GET, "/v2/models/{model}/versions/{version}"),
    (GET, "/v2/models/{model}/versions/{version}/ready"),
    (POST, "/v2/models/{model}/versions/{version}/infer"),
    (POST, "/v2/models/{model}/versions/{version}/infer_stream"),
    (POST, "/v2/models/{model}/versions/{version}/generate"),
    (POST, "/v2/models/{model}/versions/{version}/generate_stream"),
];

const OIP_V2_GRPC: &[Call] = &[
    (POST, "/inference.GRPCInferenceService/ServerLive"),
    (POST, "/inference.GRPCInferenceService/ServerReady"),
    (POST, "/inference.GRPCInferenceService/ServerMetadata"),
    (POST, "/inference.GRPCInferenceService/ModelReady"),
    (POST, "/inference.GRPCInferenceService/ModelMetadata"),
    (POST, "/inference.GRPCInferenceService/ModelInfer"),
    (POST, "/inference.GRPCInferenceService/ModelStreamInfer"),
];

const AZUREML: &[Call] = &[(&["GET", "POST", "OPTIONS"], "/score"), (GET, "/swagger.json"), (GET, "/")];

const OPENAI: &[Call] = &[
    (POST, "/v1/chat/completions"),
    (POST, "/v1/completions"),
    (POST, "/v1/responses"),
    (POST, "/v1/embeddings"),
    (GET, "/v1/models"),
    (GET, "/v1/models/{model}"),
];

/// `:predict` and `:explain` are the end of the segment that names the model.
const KSERVE_V1: &[Call] = &[(GET, "/v1/models"), (&["GET", "POST"], "/v1/models/{model}")];

const fn calls(preset: CallPreset) -> &'static [Call] {
    match preset {
        CallPreset::OipV2 => OIP_V2,
        CallPreset::OipV2Grpc => OIP_V2_GRPC,
        CallPreset::Azureml => AZUREML,
        CallPreset::Openai => OPENAI,
        CallPreset::KserveV1 => KSERVE_V1,
    }
}

impl Reader {
    /// The calls of a preset below the prefix of a match.
    pub(super) fn preset_matches(&mut self, preset: CallPreset, written: &raw::Match, at: &Place) -> Read<Vec<Match>> {
        if written.path.is_some() || written.methods.is_some() {
            return self.refuse(at, "want a prefix or a host alone beside `preset`, which says the paths and methods");
        }
        let Match { host, path, methods: _ } = self.one_match(written, at)?;
        let below = written.prefix.as_deref().unwrap_or("/").trim_end_matches('/');
        debug_assert!(matches!(path, PathMatch::Prefix(_)), "a match without a path has a prefix");
        self.calls_below(preset, &host, below, at)
    }

    /// The calls of a preset below a prefix without a slash at its end.
    pub(super) fn calls_below(
        &mut self,
        preset: CallPreset,
        host: &HostMatch,
        below: &str,
        at: &Place,
    ) -> Read<Vec<Match>> {
        self.each(calls(preset), at, |reader, (methods, path), _at| {
            let path = format!("{below}{path}");
            let methods: Vec<String> = methods.iter().map(|method| (*method).to_owned()).collect();
            Ok(Match {
                host: host.clone(),
                path: PathMatch::Template(reader.template(&path, at)?),
                methods: reader.methods(Some(&methods), at)?,
            })
        })
    }
}
