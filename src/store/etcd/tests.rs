//! Tests of the etcd engine, against servers that the tests start: the contract, and losing a server.

mod trust;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Etcd, Settings};
use crate::config::SigningAlgorithm;
use crate::model::name::Name;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::store::contract::{engine_contract, next_update};
use crate::store::engine::{Batch, CommitError, Engine, Event, Expectation, Revision, Watch};
use crate::store::record_key::Owner;
use crate::store::seal::{MasterKey, Sealer};
use crate::store::slots::{Ensured, Regeneration};
use crate::store::state::{Held, State};
use crate::store::{Engines, Store, testing};

/// A running etcd of one member on a loopback port of its own.
struct Server {
    directory: TempDir,
    ports: [u16; 2],
    shell: Option<Child>,
    /// What is spoken to clients, and what etcd is told about it.
    scheme: &'static str,
    options: Vec<String>,
    /// How the tests themselves connect.
    as_whom: Settings,
}

impl Server {
    async fn start() -> Self {
        assert!(
            Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()),
            "these tests start etcd, and it is missing: install the Debian package etcd-server"
        );
        let as_whom = Settings { endpoints: Vec::new(), prefix: String::new(), user: None, tls: None };
        Self::start_with("http", Vec::new(), as_whom).await
    }

    async fn start_with(scheme: &'static str, options: Vec<String>, as_whom: Settings) -> Self {
        let (directory, ports) = (testing::directory(), free_ports());
        let mut server = Self { directory, ports, shell: None, scheme, options, as_whom };
        server.resume().await;
        server
    }

    fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports[0])
    }

    /// Starts the server, on the data and the port that it had, and waits until it answers.
    async fn resume(&mut self) {
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.ports[1]));
        // The shell kills etcd when its input ends, and that ends with this process, however it ends.
        let script = r#"etcd "$@" >/dev/null 2>&1 & pid=$!; read -r _; kill -9 $pid; wait"#;
        let shell = Command::new("sh")
            .args(["-c", script, "sh", "--data-dir"])
            .arg(self.directory.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(&self.options)
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.shell = Some(shell);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Etcd::connect(&self.settings("/")).await.is_err() {
            assert!(Instant::now() < deadline, "etcd did not start at {client}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As kill -9 does.
    fn stop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            shell.wait().unwrap();
        }
    }

    fn settings(&self, prefix: &str) -> Settings {
        Settings { endpoints: vec![self.endpoint()], prefix: prefix.to_owned(), ..self.as_whom.clone() }
    }

    async fn connect(&self, prefix: &str) -> Etcd {
        Etcd::connect(&self.settings(prefix)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ports that nobody listens on at the moment. Both are held until both are known.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The server that the tests of the contract share; it goes with the last of them.
async fn shared() -> Arc<Server> {
    static SHARED: tokio::sync::Mutex<Weak<Server>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start().await);
    *shared = Arc::downgrade(&server);
    server
}

/// A prefix that no other test has, between two that would show up if ranges were wrong.
fn new_prefix() -> String {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let mut count = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    *count += 1;
    format!("/scoregate-{count}/")
}

async fn open() -> (Etcd, Arc<Server>) {
    let server = shared().await;
    let prefix = new_prefix();
    let neighbour = server.connect(&prefix.replace('/', "")).await;
    let after = server.connect(&prefix.replace("/", "0")).await;
    for engine in [&neighbour, &after] {
        engine.commit(Batch::new().put("a", b"not ours".to_vec(), Expectation::Any)).await.unwrap();
    }
    (server.connect(&prefix).await, server)
}

engine_contract!(open());

fn put(value: &str) -> Batch {
    Batch::new().put("n", value.as_bytes().to_vec(), Expectation::Any)
}

async fn next_revision(watch: &mut Watch) -> Revision {
    next_update(watch).await.revision
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_when_the_server_is_back() {
    let mut server = Server::start().await;
    let engine = server.connect("/w/").await;
    let mut watch = engine.watch(engine.read_all().await.unwrap().revision).await.unwrap();
    for round in 0..3 {
        let before = engine.commit(put("before")).await.unwrap();
        assert_eq!(next_revision(&mut watch).await, before, "round {round}");
        server.stop();
        server.resume().await;
        // Through a new connection, so that the commits are there before the old one is taken up again.
        let writer = server.connect("/w/").await;
        let mut missed = Vec::new();
        for number in 0..10 {
            missed.push(writer.commit(put(&number.to_string())).await.unwrap());
        }
        for revision in missed {
            assert_eq!(next_revision(&mut watch).await, revision, "round {round}");
        }
    }
}

#[tokio::test]
async fn a_watch_from_before_a_compaction_says_so() {
    let server = Server::start().await;
    let engine = server.connect("/w/").await;
    let start = engine.read_all().await.unwrap().revision;
    engine.commit(put("1")).await.unwrap();
    let middle = engine.commit(put("2")).await.unwrap();
    let last = engine.commit(put("3")).await.unwrap();
    engine.client.clone().compact(super::signed(last), None).await.unwrap();
    for (from, want) in [(start, Event::Compacted), (middle, Event::Compacted)] {
        let mut watch = engine.watch(from).await.unwrap();
        // The commit after `middle` is the compacted revision itself, which etcd still has.
        let mut event = watch.next().await;
        while event == Some(Event::Alive) {
            event = watch.next().await;
        }
        match event {
            Some(Event::Changed(update)) if from == middle => assert_eq!(update.revision, last),
            event => {
                assert_eq!(event, Some(want), "from {from}");
                assert_eq!(watch.next().await, None, "from {from}");
            }
        }
    }
    let contents = engine.read_all().await.unwrap();
    let mut watch = engine.watch(contents.revision).await.unwrap();
    let next = engine.commit(put("4")).await.unwrap();
    assert_eq!(next_revision(&mut watch).await, next);
}

#[tokio::test]
async fn an_etcd_that_was_set_back_sends_everybody_to_read_again() {
    let server = Server::start().await;
    let engine = server.connect("/w/").await;
    let ahead = Revision(engine.read_all().await.unwrap().revision.0 + 100);
    let mut watch = engine.watch(ahead).await.unwrap();
    let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert_eq!(event, Some(Event::Compacted));
}

#[tokio::test]
async fn without_a_server_changes_are_refused_in_time_and_possible_again_when_it_is_back() {
    let mut server = Server::start().await;
    let engine = server.connect("/w/").await;
    let mut watch = engine.watch(engine.read_all().await.unwrap().revision).await.unwrap();
    assert_eq!(watch.next().await, Some(Event::Alive));
    let kept = engine.commit(put("kept")).await.unwrap();
    server.stop();
    let started = Instant::now();
    let (commit, read) = tokio::join!(engine.commit(put("lost")), engine.read("n"));
    assert!(matches!(commit, Err(CommitError::Unavailable(_))), "{commit:?}");
    assert!(read.is_err());
    assert!(started.elapsed() < super::CALL + Duration::from_secs(2), "{:?}", started.elapsed());
    server.resume().await;
    assert_eq!(engine.read("n").await.unwrap().unwrap().revision, kept);
    let after = engine.commit(put("after")).await.unwrap();
    assert_eq!(next_revision(&mut watch).await, kept);
    assert_eq!(next_revision(&mut watch).await, after);
}

#[tokio::test]
async fn more_records_than_one_answer_carries_are_read_as_of_one_moment() {
    let (engine, _server) = Box::pin(open()).await;
    let want: Vec<String> = (0..2 * super::PAGE + 1).map(|number| format!("n/{number:05}")).collect();
    for keys in want.chunks(100) {
        let batch = keys.iter().fold(Batch::new(), |batch, key| batch.put(key, vec![7; 100], Expectation::Absent));
        engine.commit(batch).await.unwrap();
    }
    let contents = engine.read_all().await.unwrap();
    let keys: Vec<String> = contents.records.into_iter().map(|record| record.key).collect();
    assert_eq!(keys, want);
}

async fn replica(server: &Server, prefix: &str) -> Store {
    let master = MasterKey::new(&Secret::new([7; 32])).unwrap();
    Store::new(Engines::Etcd(server.connect(prefix).await), Sealer::new(master, Vec::new()))
}

/// Follows until the state is at this revision.
async fn catch_up(store: &Store, state: &mut State, watch: &mut Watch, to: Revision) {
    while state.revision < to {
        store.follow(state, &next_update(watch).await);
    }
}

#[tokio::test]
async fn replicas_agree_on_every_key_within_a_second() {
    const NOW: UnixSeconds = UnixSeconds(1);
    let server = shared().await;
    let prefix = new_prefix();
    let (one, other) = tokio::join!(replica(&server, &prefix), replica(&server, &prefix));
    let iris = Owner::Service(Name::parse("iris").unwrap());
    let rose = Owner::Service(Name::parse("rose").unwrap());

    let (a, b) = tokio::join!(one.ensure(&iris, NOW), other.ensure(&iris, NOW));
    let made = [a.unwrap(), b.unwrap()].into_iter().filter(|ensured| *ensured != Ensured::Found).count();
    assert_eq!(made, 1);
    assert!(one.list(&iris).await.unwrap() == other.list(&iris).await.unwrap());
    let (a, b) = tokio::join!(
        one.ensure_signing_key(SigningAlgorithm::EdDsa, NOW),
        other.ensure_signing_key(SigningAlgorithm::EdDsa, NOW)
    );
    a.and(b).unwrap();
    assert_eq!(one.read().await.unwrap().signing_keys().count(), 1);

    other.ensure(&rose, NOW).await.unwrap();
    let same = Regeneration { value: Some(Secret::new("the-same-key-for-all".to_owned())), ..Regeneration::default() };
    let (a, b) = tokio::join!(
        one.regenerate(&iris, Slot::Primary, &same, NOW),
        other.regenerate(&rose, Slot::Primary, &same, NOW)
    );
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");

    let mut state = other.read().await.unwrap();
    let mut watch = other.watch(state.revision).await.unwrap();
    for round in 0..50 {
        let slot = Slot::ALL[round % 2];
        let revision = one.regenerate(&iris, slot, &Regeneration::default(), NOW).await.unwrap();
        let answered = Instant::now();
        catch_up(&other, &mut state, &mut watch, revision).await;
        assert!(answered.elapsed() < Duration::from_secs(1), "round {round}: {:?}", answered.elapsed());
        let whole = other.read().await.unwrap();
        let (Held::Keys(followed), Held::Keys(read)) = (state.slots(&iris), whole.slots(&iris)) else { panic!() };
        assert!(followed == read, "round {round}");
    }
}
