//! One regeneration after the other, under load, and what each did to the old key and the new one.

use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::Method;
use http::uri::PathAndQuery;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::cli::calls::Options;
use crate::cli::client::Client;
use crate::cli::client::Unanswered;
use crate::cli::client::document;
use crate::cli::keys::Owner;
use crate::cli::keys::both;
use crate::cli::keys::regenerate;
use crate::cli::prove::NotBegun;
use crate::cli::prove::Rotation;
use crate::cli::prove::load::Load;
use crate::cli::prove::report::Connections;
use crate::cli::prove::report::Gateway;
use crate::cli::prove::report::Report;
use crate::cli::prove::report::Requests;
use crate::cli::prove::report::Rotations;
use crate::cli::prove::report::Streams;
use crate::cli::prove::target::Connection;
use crate::cli::prove::target::Failure;
use crate::cli::prove::target::ShownIn;
use crate::cli::prove::target::Target;
use crate::cli::table::written;
use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;

/// A text that is nobody's key. Whoever lets it in asks for none.
const NO_KEY: &str = "scoregate-prove-a-key-of-nobody";

/// How long it may take beyond the time to settle until a key is what the answer said, before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks at whether a key is what the answer said.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Why it ended before its last rotation.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the regeneration was not answered: {}", with_causes(.0))]
    Regeneration(#[from] Unanswered),
    #[error("a key could not be tried: {0}")]
    Probe(Failure),
    #[error("the old key is still accepted after {0:.0?}")]
    StillAccepted(Duration),
    #[error("the new key is still refused after {0:.0?}")]
    StillRefused(Duration),
    #[error("it was interrupted")]
    Interrupted,
    #[error("it took longer than it was given")]
    OutOfTime,
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A new key, in the clear.
#[derive(Deserialize)]
struct Regenerated {
    key: String,
}

/// Who is asked, and how.
struct Proof<'a> {
    asked: &'a Rotation,
    client: Client,
    target: Rc<Target>,
}

/// Rotates as often as it is asked to, or until `stop`.
///
/// # Errors
/// [`NotBegun`], and then no key was changed.
pub(super) async fn prove(
    asked: &Rotation,
    options: &Options,
    stop: impl Future<Output = ()>,
) -> Result<Report, NotBegun> {
    let proof = Proof { asked, client: options.client()?, target: Rc::new(target(asked, options)?) };
    let gateway: Gateway = document(&proof.client.get("/api/v1/gateway").await?)?;
    let keys = both(&proof.client, &asked.owner).await?;
    let steady = keys.of(asked.slot.other());
    proof.check(steady).await?;
    let began = UnixSeconds::now();
    let mut load = Load::start(&proof.target, steady.clone(), asked.load.connections, asked.load.rate);
    if let Some(path) = &asked.load.stream {
        let begun = load.stream(&proof.target, path).await;
        begun.map_err(|failure| NotBegun::Found(format!("the stream {path} was not begun: {failure}")))?;
    }
    let mut rotations = Rotations { asked: asked.rotations.get(), ..Rotations::default() };
    let ended = tokio::select! {
        ended = proof.rotate_all(keys.of(asked.slot).clone(), &load, &mut rotations) => ended,
        () = stop => Err(Ended::Interrupted),
        () = tokio::time::sleep(asked.duration) => Err(Ended::OutOfTime),
    };
    let seen = load.finish().await;
    if let (Err(Ended::Regeneration(refused @ Unanswered::Refused { .. })), 0) = (&ended, rotations.done) {
        return Err(NotBegun::Found(with_causes(refused)));
    }
    // A gateway that does not say it any more has other troubles, which are in the report.
    let after = proof.client.get("/api/v1/gateway").await.and_then(|answer| document::<Gateway>(&answer)).ok();
    let report = Report {
        is_proven: false,
        problems: ended
            .err()
            .map(|ended| format!("ended after {} rotations: {ended}", rotations.done))
            .into_iter()
            .collect(),
        began: written(began),
        ended: written(UnixSeconds::now()),
        target: asked.target.to_string(),
        management: options.management().to_string(),
        gateway,
        generation_after: after.map(|gateway| gateway.generation),
        owner: asked.owner.to_string(),
        slot: asked.slot,
        rotations,
        requests: Requests::from(&*seen),
        connections: Connections { opened: seen.opened.get(), closed_by_gateway: seen.closed.get() },
        streams: Streams { opened: seen.streams.get(), ended_early: seen.streams_ended.get() },
    };
    Ok(report.judged())
}

impl Proof<'_> {
    /// Finds out, before anything is changed, that the call says whether a key is good.
    async fn check(&self, steady: &Secret<String>) -> Result<(), NotBegun> {
        let other = self.asked.slot.other();
        let target = &self.asked.target;
        let mut connection =
            self.target.connect().await.map_err(|failure| NotBegun::Found(format!("{target}: {failure}")))?;
        self.target.call(&mut connection, steady).await.map_err(|failure| {
            NotBegun::Found(format!(
                "the call is to be answered with 2xx, and with the {other} key {target} answered: {failure}; \
                 see --path, --method, --body and --key-header"
            ))
        })?;
        match self.target.call(&mut connection, &Secret::new(NO_KEY.to_owned())).await {
            Err(failure) if failure.is_refusal_of_the_key() => Ok(()),
            Err(failure) => {
                Err(NotBegun::Found(format!("a key of nobody is to be refused with 401, found: {failure}")))
            }
            Ok(()) => Err(NotBegun::Found(format!("{target} accepts a key of nobody; want a call that needs one"))),
        }
    }

    async fn rotate_all(&self, mut old: Secret<String>, load: &Load, rotations: &mut Rotations) -> Result<(), Ended> {
        while rotations.done < rotations.asked {
            tokio::time::sleep(self.asked.pause).await;
            old = self.rotate(&old, load, rotations).await?;
        }
        tokio::time::sleep(self.asked.pause).await;
        Ok(())
    }

    async fn rotate(
        &self,
        old: &Secret<String>,
        load: &Load,
        rotations: &mut Rotations,
    ) -> Result<Secret<String>, Ended> {
        let Rotation { owner, slot, settle, require_idle, .. } = self.asked;
        let mut held = load.hold().await;
        let is_first = rotations.done == 0;
        let mut connections = [self.connect().await?, self.connect().await?];
        let [with_old, with_new] = &mut connections;
        // A connection that the old key has opened must forget it as well. The first one is not used: see `--require-idle`.
        if !is_first {
            self.target.call(with_old, old).await.map_err(Ended::Probe)?;
        }
        let idle = require_idle.filter(|_| is_first).map(|idle| idle.as_secs());
        let wanted = idle.map_or_else(|| json!({}), |idle| json!({ "requireIdleSeconds": idle }));
        let answer = regenerate(&self.client, owner, *slot, &wanted).await?;
        let answered = Instant::now();
        rotations.done += 1;
        let Regenerated { key } = document(&answer)?;
        let new = Secret::new(key);
        let (refused, accepted) = tokio::join!(
            self.until(KeyIs::Refused, with_old, old, answered, &mut rotations.old_key_accepted),
            self.until(KeyIs::Accepted, with_new, &new, answered, &mut rotations.new_key_refused),
        );
        rotations.old_key_refused_after.add(refused?);
        rotations.new_key_accepted_after.add(accepted?);
        tokio::time::sleep_until(answered + *settle).await;
        held.clone_from(&new);
        Ok(new)
    }

    async fn connect(&self) -> Result<Connection, Ended> {
        self.target.connect().await.map_err(Ended::Probe)
    }

    /// How long after the answer a key was what the answer said. Counts each time it was not, once it is to have settled.
    async fn until(
        &self,
        wanted: KeyIs,
        connection: &mut Connection,
        key: &Secret<String>,
        answered: Instant,
        otherwise: &mut u64,
    ) -> Result<Duration, Ended> {
        let settle = self.asked.settle;
        loop {
            let asked_after = answered.elapsed();
            let found = match self.target.call(connection, key).await {
                Ok(()) => KeyIs::Accepted,
                Err(failure) if failure.is_refusal_of_the_key() => KeyIs::Refused,
                Err(failure) => return Err(Ended::Probe(failure)),
            };
            if found == wanted {
                return Ok(answered.elapsed());
            }
            if asked_after >= settle {
                *otherwise += 1;
            }
            if asked_after >= settle + PATIENCE {
                return Err(match wanted {
                    KeyIs::Refused => Ended::StillAccepted(asked_after),
                    KeyIs::Accepted => Ended::StillRefused(asked_after),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyIs {
    Accepted,
    Refused,
}

fn target(asked: &Rotation, options: &Options) -> Result<Target, NotBegun> {
    let load = &asked.load;
    let body = load.body.as_deref().map(read).transpose()?.unwrap_or_default();
    let method = if body.is_empty() { Method::GET } else { Method::POST };
    let shown_in = match (&load.key_header, &asked.owner) {
        (Some(name), Owner::Service(_) | Owner::Account(_)) => ShownIn::Header(name.clone()),
        (None, Owner::Service(_)) => ShownIn::Bearer,
        (None, Owner::Account(_)) => ShownIn::Header(HeaderName::from_static("ocp-apim-subscription-key")),
    };
    Ok(Target {
        endpoint: options.other(&asked.target)?,
        method: load.method.clone().unwrap_or(method),
        path: path(asked)?,
        body,
        content_type: load.content_type.clone(),
        shown_in,
    })
}

fn path(asked: &Rotation) -> Result<PathAndQuery, NotBegun> {
    let path = match (&asked.load.path, &asked.owner) {
        (Some(path), Owner::Service(_) | Owner::Account(_)) => path.to_string(),
        (None, Owner::Service(name)) => format!("/api/v1/service/{name}/score"),
        (None, Owner::Account(_)) => return Err(NotBegun::NoPath),
    };
    // What stands in front of the listener may put it under a path.
    let base = asked.target.path().trim_end_matches('/');
    format!("{base}{path}").parse().map_err(|_no_path| NotBegun::NoPath)
}

fn read(path: &Path) -> Result<Bytes, NotBegun> {
    std::fs::read(path).map(Bytes::from).map_err(|error| NotBegun::File(PathBuf::from(path), error))
}
