//! What lies on disks: the configuration, records of the store, lines of the audit log.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use scoregate::config::AuditLog;
use scoregate::config::Config;
use scoregate::config::OnAuditFailure;
use scoregate::config::SigningAlgorithm;
use scoregate::model::secret::Secret;
use scoregate::observe::audit::Act;
use scoregate::observe::audit::AuditWriter;
use scoregate::observe::audit::Event;
use scoregate::observe::audit::key::PublicKey;
use scoregate::observe::audit::query;
use scoregate::observe::audit::query::Filter;
use scoregate::observe::audit::verify;
use scoregate::observe::metrics::Metrics;
use scoregate::snapshot::compile;
use scoregate::snapshot::compile::Sources;
use scoregate::snapshot::inputs::Inputs;
use scoregate::store::engine::Changed;
use scoregate::store::engine::Contents;
use scoregate::store::engine::Record;
use scoregate::store::engine::Revision;
use scoregate::store::engine::Update;
use scoregate::store::record_key::Owner;
use scoregate::store::record_key::RecordKey;
use scoregate::store::records;
use scoregate::store::records::AccountRecord;
use scoregate::store::records::RevocationRecord;
use scoregate::store::records::SigningKeyRecord;
use scoregate::store::records::SlotsRecord;
use scoregate::store::seal::MasterKey;
use scoregate::store::seal::Place;
use scoregate::store::seal::Sealer;
use scoregate::store::state::Held;
use scoregate::store::state::State;
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::gateway::NOW;
use crate::gateway::directory;
use crate::gateway::runtime;

const SMALL: &str = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
services: {iris: {upstream: model, auth: {key: {}}}}
";

/// A configuration is read the same way twice, and what is accepted makes a snapshot over an empty store; what is not
/// is told with places that are in the file.
pub(crate) fn config(data: &[u8]) {
    thread_local! {
        static EMPTY: LazyCell<Gateway> =
            LazyCell::new(|| runtime().block_on(Gateway::new(SMALL, Inputs::default(), &[])));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match (Config::read(text), Config::read(text)) {
        (Ok(config), Ok(again)) => {
            assert_eq!(config, again);
            EMPTY.with(|empty| {
                let (inputs, state, metrics) = (&Inputs::default(), &empty.state, &empty.metrics);
                let sources = Sources { config: &config, inputs, state, previous: None, metrics, now: NOW };
                compile::compile(sources).expect("what is missing quarantines, and stops nothing else");
            });
        }
        (Err(problems), Err(again)) => {
            assert_eq!(problems, again);
            assert!(!problems.is_empty());
            // YAML 1.2 §5.4: a carriage return alone ends a line as well.
            let lines = text.split(['\n', '\r']).count() + 1;
            assert!(problems.iter().all(|it| (1..=lines).contains(&it.line) && it.column >= 1), "{problems:?}");
        }
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

/// The gateway's own master key and one record that was sealed under it.
struct Sealing {
    sealer: Sealer,
    genuine: String,
}

impl Sealing {
    fn new() -> Self {
        let master = MasterKey::new(&Secret::new([7; MasterKey::BYTES])).expect("a master key");
        let sealer = Sealer::new(master, Vec::new());
        let sealed = sealer.seal(Place { record: "signing-key/k1", field: "pkcs8" }, b"der").expect("sealed");
        let record = SigningKeyRecord {
            kid: "k1".to_owned(),
            algorithm: SigningAlgorithm::EdDsa,
            sealed,
            created: NOW,
            verify_until: None,
        };
        let genuine = String::from_utf8(records::encode(&record).expect("a record")).expect("JSON");
        Self { sealer, genuine }
    }
}

/// Records, each a line with its key and the lines up to an empty one with its content; `$genuine` is a sealed signing
/// key. Each is taken or put in quarantine by itself, whether read at once or told one by one.
pub(crate) fn records(data: &[u8]) {
    thread_local! {
        static SEALING: LazyCell<Sealing> = LazyCell::new(Sealing::new);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    SEALING.with(|sealing| {
        let mut held = BTreeMap::new();
        for written in text.split("\n\n") {
            let (key, value) = written.split_once('\n').unwrap_or((written, ""));
            let value = value.replace("$genuine", &sealing.genuine).into_bytes();
            held.insert(key.to_owned(), Record { key: key.to_owned(), value, revision: Revision(1) });
        }
        let records: Vec<Record> = held.values().cloned().collect();
        let read = State::from_records(&Contents { records, revision: Revision(1) }, &sealing.sealer);
        let mut told = State::default();
        // Backwards, and each after another content that it had.
        for record in held.values().rev() {
            let before = Record { value: b"{}".to_vec(), ..record.clone() };
            for record in [before, record.clone()] {
                let update = Update { revision: Revision(1), changes: vec![Changed::Put(record)] };
                told.apply(&update, &sealing.sealer);
            }
        }
        assert_eq!(shown(&read), shown(&told));
        check_records(&read, &held, sealing);
        let gone = held.into_keys().map(|key| Changed::Deleted { key }).collect();
        told.apply(&Update { revision: Revision(2), changes: gone }, &sealing.sealer);
        assert_eq!(shown(&told), shown(&State::default()));
    });
}

fn shown(state: &State) -> impl PartialEq + std::fmt::Debug + use<> {
    let owners: Vec<(Owner, _)> = state.owners().map(|(owner, keys)| (owner.clone(), keys.clone())).collect();
    let signing: Vec<_> = state.signing_keys().cloned().collect();
    let signer = state.signer().map(|key| key.kid.clone());
    let revoked = (state.revocations.len(), state.revocations.expired(NOW).count());
    (owners, signing, signer, revoked, state.accounts.clone(), state.auth_modes.clone(), state.quarantined.clone())
}

fn check_records(state: &State, held: &BTreeMap<String, Record>, sealing: &Sealing) {
    assert!(state.quarantined.keys().all(|key| held.contains_key(key)));
    for (key, record) in held {
        if let Some(parsed) = RecordKey::parse(key) {
            assert_eq!(parsed.to_string(), *key, "a name has one spelling");
            if let RecordKey::Slots(owner) = &parsed {
                let is_quarantined = state.quarantined.contains_key(key);
                assert_eq!(matches!(state.slots(owner), Held::Quarantined(_)), is_quarantined);
            }
        } else {
            assert!(state.quarantined.contains_key(key), "{key:?} is of no kind");
        }
        comes_back::<SlotsRecord>(record);
        comes_back::<AccountRecord>(record);
        comes_back::<RevocationRecord>(record);
    }
    let opened = state.signing_keys().count();
    assert!(opened <= 1, "one sealed key was made");
    if opened == 1 {
        let sealed: serde_json::Value = serde_json::from_str(&sealing.genuine).expect("JSON");
        let found: serde_json::Value = serde_json::from_slice(&held["signing-key/k1"].value).expect("JSON");
        assert_eq!(found["record"]["sealed"], sealed["record"]["sealed"], "nothing else opens");
    }
}

fn comes_back<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(record: &Record) {
    if let Ok(read) = records::decode::<T>(record) {
        let value = records::encode(&read).expect("it has a form");
        assert_eq!(records::decode::<T>(&Record { value, ..record.clone() }), Ok(read));
    }
}

/// A log as the gateway wrote and signed it.
struct Log {
    directory: TempDir,
    key: PublicKey,
    text: Vec<u8>,
}

impl Log {
    fn new() -> Self {
        let directory = directory();
        let path = directory.path().join("log");
        let settings =
            AuditLog { directory: path.clone(), on_failure: OnAuditFailure::Block, max_file_bytes: u64::MAX };
        let (audit, writer) = AuditWriter::start(&settings, Arc::new(Metrics::new())).expect("a log");
        let event = |who: &str| Event {
            act: Act::ListKeys,
            who: who.to_owned(),
            resource: "services/iris".to_owned(),
            rule: "role:operator".to_owned(),
            detail: serde_json::json!({}),
            decision: String::new(),
        };
        for who in ["management:ann", "management:bob", "management:cid"] {
            runtime().block_on(audit.record(event(who))).expect("recorded");
        }
        writer.finish(Duration::from_secs(10));
        let key = PublicKey::read(&path.join("audit.pub")).expect("the public key");
        let text = fs::read(path.join("audit.jsonl")).expect("the log");
        Self { directory, key, text }
    }

    /// The log with changes: three bytes each, where and to what. After `!` the rest stands in its place.
    fn changed(&self, data: &[u8]) -> Vec<u8> {
        if let Some(raw) = data.strip_prefix(b"!") {
            return raw.to_vec();
        }
        let mut text = self.text.clone();
        for change in data.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
            match (at % (text.len() + 1), change[2]) {
                (at, 0) => text.truncate(at),
                (at, 1) if at < text.len() => drop(text.remove(at)),
                (at, 2) => text.extend_from_within(at..),
                (at, byte) if at < text.len() => text[at] = byte,
                (_, byte) => text.push(byte),
            }
        }
        text
    }
}

/// A log that was changed in any way is found out, and no log stops its reader.
pub(crate) fn audit_log(data: &[u8]) {
    thread_local! {
        static LOG: LazyCell<Log> = LazyCell::new(Log::new);
    }
    LOG.with(|log| {
        let text = log.changed(data);
        let path = log.directory.path().join("log");
        fs::write(path.join("audit.jsonl"), &text).expect("written");
        let report = verify::verify(&path, &log.key, None).expect("it can be read");
        let untouched = text.starts_with(&log.text);
        assert!(report.fault.is_some() || untouched, "{:?}", String::from_utf8_lossy(&text));
        assert!(report.fault.is_none() || text != log.text, "{report:?}");
        let mut lines = 0;
        let each = |_line| {
            lines += 1;
            ControlFlow::Continue(())
        };
        query::each(&path, &Filter::default(), each).expect("it can be read");
        assert!(lines >= report.lines.min(1));
    });
}
