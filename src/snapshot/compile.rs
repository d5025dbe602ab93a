//! From what was written, read and stored to what a request reads.
//!
//! What cannot be had quarantines whoever needs it and nobody else. Parts that have not changed are taken over
//! from the snapshot before, so that connections, verified tokens and counters go on.

mod accounts;
mod keys;
mod planes;
mod rotated;
mod services;
mod tokens;

use std::sync::Arc;

pub use self::rotated::rotated;
use crate::config::Config;
use crate::model::path::PathAllowances;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::Metrics;
use crate::observe::trace_context::Recording;
use crate::snapshot::Snapshot;
use crate::snapshot::forward_auth;
use crate::snapshot::inputs::Inputs;
use crate::snapshot::routes::RouteTable;
use crate::snapshot::routes::SameMatch;
use crate::store::state::State;
use crate::tokens::own_keys::BadOwnKeys;
use crate::tokens::signing::BadSigningKey;

/// Where LimitedAccessTokens are issued.
pub const ISSUE_PATH: &str = "/sts/v1.0/issueLimitedAccessToken";

/// What a snapshot is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// `gateway.yaml`.
    pub config: &'a Config,
    /// What it refers to.
    pub inputs: &'a Inputs,
    /// What the store holds.
    pub state: &'a State,
    /// The snapshot in force; `None` at start.
    pub previous: Option<&'a Snapshot>,
    /// Where counters are found.
    pub metrics: &'a Metrics,
    /// When it is made.
    pub now: UnixSeconds,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Two slots hold the same key.
    #[error("{one} and {other} hold the same key")]
    DuplicateKey {
        /// One of the two.
        one: String,
        /// The other.
        other: String,
    },
    /// Two services match the same requests. `config` finds that first; this is the backstop.
    #[error("two services match the same requests")]
    SameMatch(#[from] SameMatch),
    /// The gateway has no signing key.
    #[error("the store has no usable signing key")]
    OwnKeys(#[from] BadOwnKeys),
    /// A signing key of the store is none.
    #[error("a signing key of the store cannot be used")]
    SigningKey(#[from] BadSigningKey),
}

/// A snapshot, and what of it does not work.
#[derive(Debug)]
pub struct Compiled {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// One line for each thing that is quarantined or left out: `services.iris: …`.
    pub problems: Vec<String>,
}

/// Compiles a snapshot.
///
/// # Errors
/// [`CompileError`] where a part that everything depends on is missing; the snapshot in force stays.
pub fn compile(sources: Sources<'_>) -> Result<Compiled, CompileError> {
    let Sources { config, inputs, state, previous, now, .. } = sources;
    let mut problems = Vec::new();
    let accounts = accounts::accounts(sources, &mut problems);
    let own_keys = Arc::new(tokens::own_keys(state, now)?);
    let issuers = tokens::issuers(config, inputs, &own_keys);
    let targets = services::targets(sources, &mut problems);
    let key_headers = services::key_headers(config);
    let before = services::by_name(previous);
    let mut services = Vec::with_capacity(config.services.len());
    for (index, settings) in (0_u32..).zip(config.services.values()) {
        let parts = services::Parts {
            sources,
            accounts: &accounts,
            issuers: &issuers,
            targets: &targets,
            key_headers: &key_headers,
            before: &before,
        };
        let service = parts.service(index, settings);
        if let Some(why) = &service.quarantined {
            problems.push(format!("services.{}: {why}", settings.name));
        }
        services.push(Arc::new(service));
    }
    let issuing = services::issuing_matches(config);
    let matches = services
        .iter()
        .enumerate()
        .flat_map(|(index, service)| service.settings.matches.iter().map(move |entry| (entry, index)));
    let keys = keys::keys(config, sources, &accounts, &mut problems)?;
    let snapshot = Snapshot {
        store_revision: state.revision,
        generation: previous.map_or(1, |previous| previous.generation + 1),
        routes: Arc::new(RouteTable::build(matches.chain(issuing.iter().map(|(entry, index)| (entry, *index))))?),
        path_allowances: union(config.services.values().map(|service| service.path_allows)),
        features: config.features.clone(),
        limited: tokens::limited(config, &own_keys, previous),
        own_keys,
        management: planes::management(sources, &keys, &issuers, &mut problems),
        keys,
        revocations: Arc::clone(&state.revocations),
        access_log: config.access_log,
        recording: Recording::of(config.tracing.as_ref().map(|tracing| tracing.sample)),
        trusted_proxies: config.trusted_proxies.clone(),
        tls: planes::tls(sources, &mut problems),
        limits: planes::limits(config),
        forward_auth: forward_auth::by_listener(config),
        services,
        accounts,
    };
    Ok(Compiled { snapshot, problems })
}

fn union(allowances: impl Iterator<Item = PathAllowances>) -> PathAllowances {
    allowances.fold(PathAllowances::default(), |all, one| PathAllowances {
        encoded_separators: all.encoded_separators || one.encoded_separators,
        empty_segments: all.empty_segments || one.empty_segments,
        semicolons: all.semicolons || one.semicolons,
        encoded_percent: all.encoded_percent || one.encoded_percent,
    })
}
