//! `services`: what is exposed, to whom, and where it goes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Platform;
use super::ServiceLimits;
use super::ServiceSlots;

/// What is exposed: which requests, who may call, where they go.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Which requests are for it. Default: those below `/api/v1/service/<name>`, the path of Azure ML's scoring URIs.
    #[serde(rename = "match")]
    #[schemars(length(min = 1))]
    pub matches: Option<Vec<Match>>,
    /// The model server's protocol, whose calls for inference, metadata and health pass; all others are no calls of the
    /// service and get 404 or 405. Beside it every `match` is a `prefix` or a host. Default: every call passes.
    pub preset: Option<CallPreset>,
    /// The name of the upstream where they go. Not beside `deployments`; one of the two must be given.
    pub upstream: Option<String>,
    /// Upstreams where they go, by the names that callers give them in the header `azureml-model-deployment`; a request that
    /// names none goes to one of them by weight.
    pub deployments: Option<BTreeMap<String, Deployment>>,
    /// Leading segments of the matched path that the upstream does not see, or `none`. Default: `none`, but
    /// `/api/v1/service/<name>` where `match` is not given, so that the upstream serves plain `/score`.
    pub strip_prefix: Option<String>,
    /// Who may call: exactly one of `key`, `token` and `public`. May be left out with `platform: aks` only, where it is
    /// `{key: {}}`, as in Azure.
    pub auth: Option<Auth>,
    /// Whether the management API may change the mode between `key` and `token`; `auth` then says the first one. The
    /// other one takes every default. Default: `false`.
    pub managed: Option<bool>,
    /// Calls that need features.
    pub features: Option<Features>,
    /// Where it runs, in the eyes of Azure's v1 SDK: `aks`, or `aci`, which has no tokens. Default: `aks`.
    pub platform: Option<Platform>,
    /// Whose error bodies the callers read. Default: `face` with the `face` preset, `scoring` otherwise.
    pub dialect: Option<Dialect>,
    /// Whether `POST /sts/v1.0/issueLimitedAccessToken` is answered at this service's hosts, for accounts that
    /// may issue. Default: `false`.
    pub issues_limited_access_tokens: Option<bool>,
    /// Headers that tell the upstream who called. A client's own copies are always removed.
    pub identity: Option<Identity>,
    /// An upgrade that passes after authentication. Default: none.
    pub upgrades: Option<Upgrades>,
    /// Oddities of a path that are taken in spite of what they can hide. Default: none, such requests get 400.
    pub path_allows: Option<Vec<PathAllowance>>,
    /// Largest request body, such as `64MiB`, or `none` for no limit. Default: `64MiB`.
    pub max_body: Option<String>,
    /// How long the upstream and the client are waited for.
    pub timeouts: Option<Timeouts>,
    /// How much of it is used at once, and by one caller. Default: no limits.
    pub limits: Option<ServiceLimits>,
}

/// The protocol of a model server.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CallPreset {
    /// Open Inference Protocol v2, as `mlserver`, Triton and `kserve` speak it. Without loading and unloading models, shared
    /// memory, trace, logging and statistics.
    OipV2,
    /// The same over gRPC. Its clients know no prefix, so it has a host of its own or `prefix: /`.
    OipV2Grpc,
    /// `azureml-inference-server-http`: `/score`, `/swagger.json` and `/`.
    Azureml,
    /// The API that `vllm serve` has: completions, chat, responses, embeddings and the list of models. Without adapters,
    /// tokenizers and metrics.
    Openai,
    /// Version 1 of `kserve`: predict, explain and metadata.
    KserveV1,
}

/// One of several upstreams of a service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The name of the upstream.
    pub upstream: String,
    /// Its share of the requests that name no deployment, of the sum of all weights; 100 in all makes them percentages.
    /// Default: `0`, which gets those only that name it.
    #[schemars(range(max = 1000000))]
    pub weight: Option<u32>,
}

/// Which requests: those that fit everything given here.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// A host without port, or `*.example.com` for every host below it. Default: any host.
    pub host: Option<String>,
    /// The whole path; `{name}` stands for any one segment. Not beside `prefix`.
    pub path: Option<String>,
    /// Leading whole segments of the path: `/a` fits `/a` and `/a/b`, not `/ab`. `/` fits every path. Not beside `path`.
    pub prefix: Option<String>,
    /// Methods; `GET` stands for `HEAD` too. Default: every method.
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<String>>,
}

/// Who may call: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Callers show one of two keys. `{}` takes every default.
    pub key: Option<KeyAuth>,
    /// Callers show a JWT. `{}` takes every default.
    pub token: Option<TokenAuth>,
    /// Everybody, for the reason given here.
    pub public: Option<String>,
}

/// Authentication by key.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAuth {
    /// Where a key may stand: `bearer`, `{header: <name>}` or `{query: <name>}`.
    /// Default: `bearer` and the header `Ocp-Apim-Subscription-Key`.
    #[schemars(length(min = 1))]
    pub from: Option<Vec<KeySource>>,
    /// Where the service's own two keys come from; `none` where only accounts call it.
    /// Default: the store, which makes them at first start.
    pub keys: Option<ServiceSlots>,
    /// Accounts whose keys open this service: a list of names, or `every`. Default: none.
    pub accounts: Option<AllowedAccounts>,
}

/// Where a key may stand.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeySource {
    /// `Authorization: Bearer <key>`.
    Bearer(BearerWord),
    /// A header or a query parameter.
    Named(NamedSource),
}

/// The word `bearer`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BearerWord {
    /// `Authorization: Bearer <key>`.
    Bearer,
}

/// A header or a query parameter: exactly one of the two.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSource {
    /// The name of a header that holds nothing but the key.
    pub header: Option<String>,
    /// The name of a query parameter. It lands in other people's logs.
    pub query: Option<String>,
}

/// Accounts whose keys open a service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AllowedAccounts {
    /// Every account that exists, those of the store too.
    Every(EveryWord),
    /// These.
    Only(Vec<String>),
}

/// The word `every`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EveryWord {
    /// Every account that exists, those of the store too.
    Every,
}

/// Authentication by token.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenAuth {
    /// Names of issuers that are accepted; `own` is this gateway. Default: `own`.
    #[schemars(length(min = 1))]
    pub issuers: Option<Vec<String>>,
    /// Audiences of which the token's `aud` must name one. Default: the service's name.
    #[schemars(length(min = 1))]
    pub audiences: Option<Vec<String>>,
    /// Claims that must have exactly this text, or hold it in a list. Default: none.
    pub required_claims: Option<BTreeMap<String, String>>,
    /// Which account's resource a caller stands for, where LimitedAccessTokens are used. Default: none.
    pub resource: Option<CallerResource>,
}

/// Which resource a caller stands for: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerResource {
    /// Always this resource identifier.
    pub fixed: Option<String>,
    /// The resource identifier in this claim.
    pub claim: Option<String>,
}

/// Calls that need features: those of a preset, of rules, or of both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Rules that are known by name.
    pub preset: Option<Preset>,
    /// Rules; of those that fit a call, every one must be satisfied.
    #[schemars(length(min = 1))]
    pub rules: Option<Vec<FeatureRule>>,
}

/// Rules that are known by name.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The gates of Azure Face below `/face/<any version>/`: identify, verify, findsimilars, group, and detect unless
    /// `returnFaceId=false`.
    Face,
}

/// Calls that need features.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeatureRule {
    /// Methods; `GET` stands for `HEAD` too. Default: every method.
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<String>>,
    /// The whole path as the client sends it; `{name}` stands for any one segment. Letter case does not matter.
    pub path: String,
    /// The call is free where this query parameter has this value. Default: never.
    pub free_when: Option<FreeWhen>,
    /// The call needs one of these. Not beside `all_of`.
    #[schemars(length(min = 1))]
    pub any_of: Option<Vec<String>>,
    /// The call needs all of these. Not beside `any_of`.
    #[schemars(length(min = 1))]
    pub all_of: Option<Vec<String>>,
}

/// A query parameter and its value.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreeWhen {
    /// Its name.
    pub parameter: String,
    /// Its value, in quotes where YAML would read something else than text.
    pub value: String,
}

/// Whose error bodies the callers read.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Azure ML scoring.
    Scoring,
    /// Azure Face.
    Face,
}

/// Headers that tell the upstream who called: a name for each, or `none` to send none.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Who called: `service:<name>:primary`, `account:<name>` or `token:<subject>`. Default: `x-scoregate-principal`.
    pub principal: Option<String>,
    /// The account's resource identifier. Default: `x-scoregate-resource`.
    pub resource: Option<String>,
    /// The features that the request may use, comma-separated. Default: `x-scoregate-features`.
    pub features: Option<String>,
}

/// Upgrades that can pass.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Upgrades {
    /// WebSocket (RFC 6455).
    WebSocket,
}

/// Oddities of a path.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathAllowance {
    /// `%2F` and `%5C` inside a segment, passed on encoded.
    EncodedSeparators,
    /// `//`.
    EmptySegments,
    /// `;` parameters.
    Semicolons,
    /// `%25`.
    EncodedPercent,
}

/// How long is waited.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to the upstream, TLS included. Default: `2s`.
    pub connect: Option<String>,
    /// For the head of the answer, from the end of the request. Default: `60s`.
    pub response: Option<String>,
    /// For the next piece of a body in either direction. Default: `5m`.
    pub idle: Option<String>,
    /// For the whole exchange, or `none` for no limit, so that streams can last. Default: `none`.
    pub total: Option<String>,
}
