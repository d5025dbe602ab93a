//! Keys in a mounted directory are replaced, one slot after the other, as the kubelet does it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use scoregate::model::time::UnixSeconds;

use crate::support::client;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::kubelet::Volume;
use crate::support::upstream::Upstream;

const CONNECTIONS: usize = 64;
const ROTATIONS: usize = 6;

fn key(version: usize) -> String {
    format!("key-number-{version:03}-of-the-service")
}

fn status(gateway: &Gateway, key: &str) -> u16 {
    client::get(gateway.traffic(), "/a", &[("authorization", &format!("Bearer {key}"))]).status
}

#[test]
fn no_request_fails_while_both_slots_rotate_in_turn() {
    let upstream = Upstream::ok();
    let directory = scratch();
    let volume = directory.path().join("keys");
    let mut slots = [key(0), key(1)];
    let mut volume = Volume::mount(volume, &[("primary", &slots[0]), ("secondary", &slots[1])]);
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
access_log: off
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services:
  a: {{match: [{{prefix: /a}}], upstream: a, auth: {{key: {{keys: {{directory: $DIR/keys}}}}}}}}
",
            upstream.url()
        ),
    );

    // Callers use the secondary while the primary is replaced, and the other way round.
    let used = Arc::new(Mutex::new(slots[1].clone()));
    let done = Arc::new(AtomicBool::new(false));
    let answered: Arc<Vec<AtomicU64>> = Arc::new((0..CONNECTIONS).map(|_| AtomicU64::new(0)).collect());
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (used, done, answered) = (Arc::clone(&used), Arc::clone(&done), Arc::clone(&answered));
            let address = gateway.traffic();
            thread::spawn(move || {
                let mut connection = Client::connect(address);
                while !done.load(Ordering::Relaxed) {
                    let key = used.lock().unwrap().clone();
                    // Panics when the connection was closed: there is no second one.
                    let answer = connection.request("GET", "/a", &[("authorization", &format!("Bearer {key}"))], b"");
                    assert_eq!(answer.status, 200, "with {key}: {}", answer.text());
                    answered[number].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    for rotation in 0..ROTATIONS {
        let slot = rotation % 2;
        let new = key(rotation + 2);
        let old = std::mem::replace(&mut slots[slot], new.clone());
        volume.swap(&[("primary", &slots[0]), ("secondary", &slots[1])]);
        let swapped = Instant::now();
        eventually("the old key is refused", || (status(&gateway, &old) == 401).then_some(()));
        let took = swapped.elapsed();
        assert!(took < Duration::from_secs(1), "{old} was still accepted {took:?} after the swap");
        assert_eq!(status(&gateway, &new), 200, "the new key opens as soon as the old one does not");
        used.lock().unwrap().clone_from(&new);
        // Every connection has sent something with the new key before the other slot's turn.
        let before: Vec<u64> = answered.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        eventually("every connection goes on with the new key", || {
            let went_on = |(count, before): (&AtomicU64, &u64)| count.load(Ordering::Relaxed) > before + 2;
            let failed = callers.iter().any(thread::JoinHandle::is_finished);
            (failed || answered.iter().zip(&before).all(went_on)).then_some(())
        });
    }
    done.store(true, Ordering::Relaxed);
    let failed = callers.into_iter().map(thread::JoinHandle::join).filter(Result::is_err).count();
    assert_eq!(failed, 0, "connections on which a request failed");
    let generations = u32::try_from(ROTATIONS + 1).unwrap();
    assert!(gateway.generation() >= f64::from(generations), "each rotation was a generation");
}

#[test]
fn each_slot_says_when_its_key_was_last_used() {
    let upstream = Upstream::ok();
    let directory = scratch();
    Volume::mount(directory.path().join("keys"), &[("primary", &key(0)), ("secondary", &key(1))]);
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services:
  a: {{match: [{{prefix: /a}}], upstream: a, auth: {{key: {{keys: {{directory: $DIR/keys}}}}}}}}
",
            upstream.url()
        ),
    );
    let last_seen = |slot| {
        let series = format!("gateway_key_last_seen_timestamp_seconds{{service=\"a\",slot=\"{slot}\"}}");
        gateway.metrics().lines().find_map(|line| line.strip_prefix(&series)?.trim().parse::<u64>().ok())
    };
    assert_eq!((last_seen("primary"), last_seen("secondary")), (None, None));
    let before = UnixSeconds::now().0;
    assert_eq!(status(&gateway, &key(1)), 200);
    assert_eq!(status(&gateway, "key-that-opens-nothing"), 401);
    let seen = last_seen("secondary").unwrap();
    assert!((before..=UnixSeconds::now().0).contains(&seen), "{seen}");
    assert_eq!(last_seen("primary"), None, "nobody used it");
}
