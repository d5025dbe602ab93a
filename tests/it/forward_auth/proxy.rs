//! A proxy that asks, by the very example that is shipped: only addresses are put in their places.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::python;
use crate::support::upstream::Upstream;

pub(super) const KEY: &str = "a-key-that-opens-iris";
pub(super) const MAKER_KEY: &str = "the-key-of-the-maker-of-doors";

/// The proxies, in the order of their listeners in the example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Envoy,
    Traefik,
    Caddy,
    Nginx,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Envoy, Self::Traefik, Self::Caddy, Self::Nginx];

    /// Its word in the configuration and in logs.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Caddy => "caddy",
            Self::Nginx => "nginx",
        }
    }

    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Envoy => &["envoy.yaml"],
            Self::Traefik => &["traefik.yaml", "traefik-routes.yaml"],
            Self::Caddy => &["Caddyfile"],
            Self::Nginx => &["nginx.conf"],
        }
    }

    fn command(self, directory: &Path) -> Command {
        let installed = |name| Command::new(python::program("proxies", name).unwrap());
        match self {
            Self::Envoy => {
                let mut command = installed("envoy");
                command.args([
                    "--config-path",
                    "envoy.yaml",
                    "--use-dynamic-base-id",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "warning",
                ]);
                command
            }
            Self::Traefik => {
                let mut command = installed("traefik");
                command.arg("--configFile=traefik.yaml");
                command
            }
            Self::Caddy => {
                let mut command = installed("caddy");
                command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
                command
            }
            Self::Nginx => {
                // Debian has it where only root looks for programs.
                let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
                let here = directory.display();
                let mut command = Command::new("nginx");
                command.env("PATH", path).arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
                command.arg("-e").arg("stderr").arg("-g");
                command.arg(format!("daemon off; master_process off; pid {here}/pid;"));
                command
            }
        }
    }
}

/// Where the gateway listens for each proxy's questions.
#[derive(Debug)]
pub(super) struct Decisions {
    pub(super) gateway: Gateway,
    listeners: [SocketAddr; 4],
}

impl Decisions {
    /// A gateway with the example's configuration; the keys are known, and `more` services are there.
    pub(super) fn start(upstream: &Upstream, more: &str) -> Self {
        let directory = scratch();
        fs::write(directory.path().join("key"), KEY).unwrap();
        fs::write(directory.path().join("maker"), MAKER_KEY).unwrap();
        let listeners = Kind::ALL.map(|_| free_address());
        let mut yaml = example("gateway.yaml");
        for (port, address) in (9001..).zip(listeners) {
            put(&mut yaml, &format!("127.0.0.1:{port}"), &address.to_string());
        }
        put(&mut yaml, "127.0.0.1:8081", "$MANAGEMENT");
        put(&mut yaml, "127.0.0.1:8082", "$HEALTH");
        put(&mut yaml, "127.0.0.1:5001", &upstream.address().to_string());
        put(&mut yaml, "{key: {}}", "{key: {keys: {primary: {key: 'file:$DIR/key'}}}}");
        put(&mut yaml, "accounts/door-maker}", "accounts/door-maker, keys: {primary: {key: 'file:$DIR/maker'}}}");
        Self { gateway: Gateway::start_in(directory, &format!("{yaml}{more}")), listeners }
    }

    pub(super) fn listener(&self, kind: Kind) -> SocketAddr {
        self.listeners[kind as usize]
    }
}

/// A running proxy. Killed when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Proxy {
    /// Starts one and waits until it accepts connections.
    pub(super) fn start(kind: Kind, decisions: &Decisions, upstream: &Upstream) -> Self {
        let (directory, address) = (scratch(), free_address());
        let at = directory.path();
        for file in kind.files() {
            let mut text = example(file);
            for (from, to) in
                [(8000, address), (9001 + kind as u16, decisions.listener(kind)), (5001, upstream.address())]
            {
                let before = text.clone();
                text = text.replace(&format!("127.0.0.1:{from}"), &to.to_string());
                for before in ["port_value: ", "http://:"] {
                    text = text.replace(&format!("{before}{from}"), &format!("{before}{}", to.port()));
                }
                assert!(kind == Kind::Traefik || text != before, "{file} says nothing of port {from}");
            }
            // Where whoever is not root may write.
            let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let places = places.map(|place| format!("{place}_temp_path {}/{place};", at.display())).concat();
            text = text.replace("http {\n", &format!("http {{\n{places} access_log off;\n"));
            fs::write(at.join(file), text).unwrap();
        }
        let log = fs::File::create(at.join("log")).unwrap();
        let mut command = kind.command(at);
        command.current_dir(at).env("HOME", at).env("XDG_DATA_HOME", at).env("XDG_CONFIG_HOME", at);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{kind:?}: {error}; `tests/run forward-auth`"));
        let mut proxy = Self { child, address, directory };
        eventually(&format!("{kind:?} accepts connections"), || {
            let ended = proxy.child.try_wait().unwrap();
            assert!(ended.is_none(), "{kind:?} ended with {ended:?}\n{}", proxy.log());
            Client::try_connect(address)
        });
        proxy
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            writeln!(std::io::stderr(), "the proxy's log:\n{}", self.log()).unwrap_or_default();
        }
        self.child.kill().and_then(|()| self.child.wait()).expect("a child can be killed");
    }
}

fn example(file: &str) -> String {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/forward-auth");
    fs::read_to_string(examples.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn put(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "the example says nothing of {from}");
    *text = text.replace(from, to);
}
