//! A real etcd of one member, which a test can freeze, kill and start again, and a connection to it that can be cut.

use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::net::IpAddr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::client;
use super::client::Client;
use super::eventually;
use super::gateway::free_address;

/// Ends etcd when its input ends, and that ends with this process, however it ends.
const SCRIPT: &str = r#""$@" >/dev/null 2>&1 & echo $!; read -r _; kill -9 $!; wait"#;

/// A running etcd. Killed when dropped, with its data.
#[derive(Debug)]
pub(crate) struct Etcd {
    _data: TempDir,
    client: SocketAddr,
    command: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    /// The process id of etcd.
    id: u32,
}

impl Etcd {
    /// Starts one, empty, and waits until it answers.
    pub(crate) fn start() -> Self {
        let client = free_address();
        let url = format!("http://{client}");
        let mut etcd = Self::new(client, &["etcd", "--listen-client-urls", &url, "--advertise-client-urls", &url]);
        etcd.resume();
        etcd
    }

    /// One that a command starts, once it has been told its data and its peers: of these it has none.
    pub(crate) fn new(client: SocketAddr, command: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let path = data.path().to_str().expect("temporary directories have names in UTF-8");
        let peer = format!("http://{}", free_address());
        let cluster = format!("default={peer}");
        let common = [
            ["--data-dir", path],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &cluster],
            ["--heartbeat-interval", "50"],
            ["--election-timeout", "500"],
        ];
        let command = command.iter().chain(common.as_flattened()).map(|word| (*word).to_owned()).collect();
        Self { _data: data, client, command, running: None }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.client
    }

    /// Says that it is found at another address than it was thought to be.
    pub(crate) fn move_to(&mut self, address: IpAddr) {
        self.client.set_ip(address);
    }

    /// Starts it on the data and the port that it had, and waits until it answers.
    pub(crate) fn resume(&mut self) {
        self.spawn();
        self.wait();
    }

    /// Starts it, and tells its process id.
    pub(crate) fn spawn(&mut self) -> u32 {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args(&self.command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        let mut told = BufReader::new(shell.stdout.take().expect("it is piped"));
        told.read_line(&mut line).expect("the shell tells the process id");
        let id = line.trim().parse().expect("a process id");
        self.running = Some(Running { shell, id });
        id
    }

    /// Waits until it answers.
    pub(crate) fn wait(&self) {
        eventually("etcd answers; it is the Debian package etcd-server", || {
            Client::try_connect(self.client)?;
            let health = client::get(self.client, "/health", &[]);
            (health.status == 200 && health.json()["health"] == "true").then_some(())
        });
    }

    /// As kill -9 does.
    pub(crate) fn kill(&mut self) {
        if let Some(Running { mut shell, .. }) = self.running.take() {
            drop(shell.stdin.take());
            shell.wait().expect("a child can be waited for");
        }
    }

    /// Leaves every connection open and answers nobody, until it is thawed.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Goes on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.running.as_ref().expect("it runs").id;
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
        assert!(sent.expect("there is a shell").success(), "SIG{name} could not be sent");
    }

    /// Forgets every revision but the newest.
    pub(crate) fn compact(&self) {
        // "AA==" is a key of one zero byte.
        let newest = self.ask("range", &json!({ "key": "AA==" }))["header"]["revision"].clone();
        self.ask("compaction", &json!({ "revision": newest, "physical": true }));
    }

    /// Calls etcd's gateway from JSON to gRPC.
    fn ask(&self, call: &str, body: &Value) -> Value {
        let answer = client::post(self.client, &format!("/v3/kv/{call}"), &[], body.to_string());
        assert_eq!(answer.status, 200, "{call}: {}", answer.text());
        answer.json()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A way to a server that can be cut.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Wire {
    /// Passes on what comes.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut state = shared.lock().expect("no test panics while it holds the state");
                // What cannot be passed on is closed.
                if let (false, Ok(stream)) = (state.is_cut, stream) {
                    state.open.extend(join(&stream, server).unwrap_or_default());
                }
            }
        });
        Self { address, state }
    }

    /// Where to connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and takes no new one.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().expect("no test panics while it holds the state");
        state.is_cut = true;
        for stream in state.open.drain(..) {
            // It may be closed already.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        self.state.lock().expect("no test panics while it holds the state").is_cut = false;
    }
}

/// Both ends of a connection that is passed on.
fn join(stream: &TcpStream, server: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let other = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    other.set_nodelay(true)?;
    for (from, to) in [(stream, &other), (&other, stream)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            io::copy(&mut from, &mut to).unwrap_or_default();
            to.shutdown(Shutdown::Both).unwrap_or_default();
        });
    }
    Ok(vec![stream.try_clone()?, other])
}
