//! The gateway as its users run it: a child process with a configuration, stopped with the test.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;
use super::client;
use super::eventually;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_scoregate");

/// Parts of a configuration that most tests have nothing to say about; each is added where the test does not say it.
const USUAL: &[(&str, &str)] = &[
    (
        "listeners:",
        // Whole corpora of wrong credentials come from one address.
        "listeners:
  traffic: [{address: $TRAFFIC, limits: {failed_authentications: 10000000}}]
  management: {address: $MANAGEMENT, limits: {failed_authentications: 10000000}}
  health: {address: $HEALTH}
",
    ),
    ("store:", "store: {directory: $DIR/store}\n"),
    ("shutdown:", "shutdown: {delay: 0s, deadline: 5s}\n"),
];

/// Ports that the kernel gives nobody by itself, so that no outgoing connection takes one between its choice and its
/// use.
const PORTS: Range<u16> = 12_000..32_000;

/// Ports that were given out in this process.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A loopback address that nobody listens on and that no other test of this process gets.
pub(crate) fn free_address() -> SocketAddr {
    let count = PORTS.end - PORTS.start;
    // Other test processes of this moment begin elsewhere.
    let first = std::process::id().wrapping_mul(977) % u32::from(count);
    for _ in 0..count {
        let next = (first + u32::from(GIVEN.fetch_add(1, Ordering::Relaxed))) % u32::from(count);
        let port = PORTS.start + u16::try_from(next).expect("it is below `count`");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free in {PORTS:?}");
}

/// Where the three planes of a gateway listen.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    traffic: SocketAddr,
    management: SocketAddr,
    health: SocketAddr,
}

/// A running gateway in a directory of its own. Killed when dropped; a failing test shows what it wrote to stderr.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    directory: TempDir,
    addresses: Addresses,
    stdout: Lines,
    stderr: Lines,
}

/// What a pipe has said so far.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Reads a pipe to its end, on a thread that ends with it.
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let filled = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                filled.lock().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("no test panics while it holds the lines")
    }

    fn so_far(&self) -> Vec<String> {
        self.lock().clone()
    }
}

/// A directory whose files can be named in a configuration as `$DIR/…`.
pub(crate) fn scratch() -> TempDir {
    TempDir::new().expect("a temporary directory can be made")
}

impl Gateway {
    /// Starts a gateway with this `gateway.yaml` and waits until it is ready.
    ///
    /// Listeners, store and shutdown times are added where the text does not have them. In it, `$DIR` stands for the
    /// gateway's own directory, and `$TRAFFIC`, `$MANAGEMENT` and `$HEALTH` for the addresses of its planes.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_in(scratch(), yaml)
    }

    /// Like [`Gateway::start`], in a directory that holds files already.
    pub(crate) fn start_in(directory: TempDir, yaml: &str) -> Self {
        Self::start_under(&[], directory, yaml)
    }

    /// Like [`Gateway::start_in`], by a program that takes the gateway's command line after its own arguments and becomes
    /// it, such as `setpriv` or `prlimit`.
    pub(crate) fn start_under(program: &[&str], directory: TempDir, yaml: &str) -> Self {
        Self::start_from(Stdio::null(), program, directory, yaml)
    }

    /// Like [`Gateway::start_under`], with a standard input for the program.
    pub(crate) fn start_from(stdin: Stdio, program: &[&str], directory: TempDir, yaml: &str) -> Self {
        let addresses = Addresses { traffic: free_address(), management: free_address(), health: free_address() };
        let config = directory.path().join("gateway.yaml");
        fs::write(&config, completed(yaml, directory.path(), addresses)).expect("the configuration can be written");
        let (child, stdout, stderr) = spawn(stdin, program, &config);
        let mut gateway = Self { child, directory, addresses, stdout, stderr };
        gateway.wait_until_started();
        gateway
    }

    fn wait_until_started(&mut self) {
        eventually("the gateway starts", || {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the gateway ended with {ended:?}\n{}", self.stderr.so_far().join("\n"));
            self.log().iter().any(|line| line["message"] == "the gateway has started").then_some(())
        });
    }

    /// As kill -9 does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a child can be killed");
    }

    /// Starts it again, in its directory and on its addresses.
    pub(crate) fn restart(&mut self) {
        (self.child, self.stdout, self.stderr) = spawn(Stdio::null(), &[], &self.config());
        self.wait_until_started();
    }

    /// A path in its directory as the gateway sees it, which may have file systems of its own there.
    pub(crate) fn seen_by(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.id()));
        root.join(self.directory().strip_prefix("/").expect("it is absolute")).join(path)
    }

    /// Where the traffic plane listens.
    pub(crate) fn traffic(&self) -> SocketAddr {
        self.addresses.traffic
    }

    /// Where the management plane listens.
    pub(crate) fn management(&self) -> SocketAddr {
        self.addresses.management
    }

    /// Where the health plane listens.
    pub(crate) fn health(&self) -> SocketAddr {
        self.addresses.health
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory, in bytes.
    pub(crate) fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().strip_suffix(" kB").and_then(|size| size.parse::<usize>().ok()).expect("it is in kB") * 1024
    }

    /// The gateway's directory, `$DIR` of its configuration.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.directory().join("gateway.yaml")
    }

    /// Writes a file in its directory at once: to a new file, which then takes the place of the old one.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.directory().join(path);
        let new = path.with_extension("new");
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a directory can be made");
        fs::write(&new, content).expect("a file can be written");
        fs::rename(&new, &path).expect("a file can be renamed");
    }

    /// Replaces its configuration, completed as at the start.
    pub(crate) fn configure(&self, yaml: &str) {
        self.write("gateway.yaml", completed(yaml, self.directory(), self.addresses));
    }

    /// SIGHUP: reload now.
    pub(crate) fn hangup(&self) {
        self.signal("HUP");
    }

    /// SIGTERM: drain and leave.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`: the program of that name is not on every machine.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.expect("there is a shell").success(), "SIG{name} could not be sent");
    }

    /// Waits until it has left by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the gateway ends", || child.try_wait().expect("a child can be asked"))
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        client::get(self.health(), "/metrics", &[]).text()
    }

    /// The value of a series, as it is written in `/metrics`: `name` or `name{label="value",…}`; 0 when it is missing.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }

    /// The number of the snapshot in force.
    pub(crate) fn generation(&self) -> f64 {
        self.metric("gateway_config_generation")
    }

    /// The access log so far; a line may come up to a second after its request.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        let lines = self.stdout.so_far();
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of the access log is JSON")).collect()
    }

    /// The one access-log line with this decision id, the value of `x-scoregate-decision-id`.
    pub(crate) fn access_line(&self, decision: &str) -> Value {
        eventually(&format!("an access-log line for decision {decision}"), || {
            self.access_log().into_iter().find(|line| line["scoregate.decision_id"] == decision)
        })
    }

    /// The process log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.stderr.so_far();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_text| line.as_str().into())).collect()
    }

    /// Everything that it has written so far, both logs, as it was written.
    pub(crate) fn everything_written(&self) -> String {
        let mut lines = self.stdout.so_far();
        lines.extend(self.stderr.so_far());
        lines.join("\n")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            writeln!(std::io::stderr(), "could not stop process {}", self.child.id()).unwrap_or_default();
        }
        if thread::panicking() {
            let written = self.stderr.so_far().join("\n");
            writeln!(std::io::stderr(), "the gateway's process log:\n{written}").unwrap_or_default();
        }
    }
}

fn spawn(stdin: Stdio, program: &[&str], config: &Path) -> (Child, Lines, Lines) {
    let line = [program, &[PROGRAM, "run", "--config"]].concat();
    let mut child = Command::new(line[0])
        .args(&line[1..])
        .arg(config)
        .current_dir(config.parent().expect("a file is in a directory"))
        .env("SCOREGATE_LOG", "info")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let stdout = Lines::of(child.stdout.take().expect("it is piped"));
    let stderr = Lines::of(child.stderr.take().expect("it is piped"));
    (child, stdout, stderr)
}

/// A configuration: what the test says, and the usual for the rest.
fn completed(yaml: &str, directory: &Path, addresses: Addresses) -> String {
    let says = |part: &str| yaml.lines().any(|line| line.starts_with(part));
    let mut text: String = USUAL.iter().filter(|(part, _)| !says(part)).map(|(_, usual)| *usual).collect();
    text.push_str(yaml);
    let directory = directory.to_str().expect("temporary directories have names in UTF-8");
    text.replace("$DIR", directory)
        .replace("$TRAFFIC", &addresses.traffic.to_string())
        .replace("$MANAGEMENT", &addresses.management.to_string())
        .replace("$HEALTH", &addresses.health.to_string())
}

/// What the program did that ended by itself.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end, which has to come by itself.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Ran {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .current_dir(directory)
        .env("SCOREGATE_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stdout = thread::spawn(move || text_of(stdout));
    let stderr = thread::spawn(move || text_of(stderr));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().and_then(|()| child.wait()).expect("a child can be killed");
            break None;
        }
        thread::sleep(std::time::Duration::from_millis(5));
    };
    let stdout = stdout.join().expect("reading does not panic");
    let stderr = stderr.join().expect("reading does not panic");
    let Some(status) = status else { panic!("{arguments:?} did not end\n{stdout}\n{stderr}") };
    Ran { code: status.code(), stdout, stderr }
}

fn text_of(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    pipe.expect("it is piped").read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
