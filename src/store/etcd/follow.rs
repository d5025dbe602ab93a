//! A watch on etcd that survives the loss of its connection.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Etcd, answered, record, record_key, revision, revision_of, signed};
use crate::store::engine::{Changed, Event, Revision, Unavailable, Update};

/// How often etcd is asked whether it is still there: what the age of what is known is accurate to.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Silence after which the connection is given up for lost: a peer that vanished without a word.
const SILENCE: Duration = Duration::from_secs(5);

/// Shortest and longest pause between attempts to take a lost watch up again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why one connection's watch ended.
enum End {
    NobodyListens,
    Compacted,
    Lost(Unavailable),
}

/// Sends every commit after `told`, from one connection after the other.
pub(super) async fn follow(etcd: Etcd, mut told: Revision, listener: mpsc::Sender<Event>) {
    let (shortest, longest) = PAUSES;
    let mut pause = shortest;
    loop {
        let started = Instant::now();
        match follow_once(&etcd, &mut told, &listener).await {
            End::NobodyListens => return,
            End::Compacted => return drop(listener.send(Event::Compacted).await),
            End::Lost(error) => {
                let held = started.elapsed();
                if held > longest {
                    pause = shortest;
                }
                if pause == shortest {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the watch on etcd was lost; what is known stays in force until it is back"
                    );
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = longest.min(pause.saturating_mul(2)),
            () = listener.closed() => return,
        }
    }
}

async fn follow_once(etcd: &Etcd, told: &mut Revision, listener: &mpsc::Sender<Event>) -> End {
    let options = WatchOptions::new().with_prefix().with_start_revision(signed(*told).saturating_add(1));
    let mut stream = match answered(etcd.client.clone().watch(etcd.full(""), Some(options))).await {
        Ok(stream) => stream,
        Err(error) => return End::Lost(error),
    };
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_heard = Instant::now();
    loop {
        tokio::select! {
            message = stream.message() => {
                last_heard = Instant::now();
                let message = match message {
                    Ok(Some(message)) => message,
                    Ok(None) => return End::Lost(Unavailable::Closed),
                    Err(error) => return End::Lost(Unavailable::Etcd(Box::new(error))),
                };
                if let Some(end) = tell(&etcd.prefix, &message, told, listener).await {
                    return end;
                }
            }
            _ = heartbeat.tick() => {
                if last_heard.elapsed() > SILENCE {
                    return End::Lost(Unavailable::TimedOut { after: SILENCE });
                }
                if let Err(error) = answered(stream.request_progress()).await {
                    return End::Lost(error);
                }
            }
            () = listener.closed() => return End::NobodyListens,
        }
    }
}

/// Passes on what one message says; something when it was the last.
async fn tell(
    prefix: &str,
    message: &WatchResponse,
    told: &mut Revision,
    listener: &mpsc::Sender<Event>,
) -> Option<End> {
    // An etcd that is behind what was told was restored from a backup, or is another one: what is known from
    // the old one has to go. Only the first message tells; answers to heartbeats may be overtaken by events.
    let is_behind = message.created() && revision_of(message.header()) < *told;
    if message.compact_revision() > 0 || is_behind {
        return Some(End::Compacted);
    }
    if message.canceled() {
        return Some(End::Lost(Unavailable::Refused { why: message.cancel_reason().to_owned() }));
    }
    let updates = updates(prefix, message);
    if updates.is_empty() {
        // Nobody has to hear of every heartbeat: one that finds no room is as good as heard.
        drop(listener.try_send(Event::Alive));
    }
    for update in updates {
        let at = update.revision;
        if listener.send(Event::Changed(update)).await.is_err() {
            return Some(End::NobodyListens);
        }
        *told = at;
    }
    None
}

/// The events of a message by commit. etcd never spreads the events of one over two messages.
fn updates(prefix: &str, message: &WatchResponse) -> Vec<Update> {
    let mut updates: Vec<Update> = Vec::new();
    for (event, found) in message.events().iter().filter_map(|event| Some((event, event.kv()?))) {
        let changed = match event.event_type() {
            EventType::Put => Changed::Put(record(prefix, found)),
            EventType::Delete => Changed::Deleted { key: record_key(prefix, found) },
        };
        let at = revision(found.mod_revision());
        match updates.last_mut() {
            Some(update) if update.revision == at => update.changes.push(changed),
            Some(_) | None => updates.push(Update { revision: at, changes: vec![changed] }),
        }
    }
    updates
}
