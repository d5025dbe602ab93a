//! Real upstream servers that nobody here wrote, in Python: started, waited for, and stopped with the test.
//!
//! `tests/run python` makes the virtual environments, `tests/servers/` has the launchers. A launcher stops when its
//! stdin closes, so none outlives the test process, however that one ends. Everything here blocks.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use serde::Deserialize;
use tempfile::TempDir;

/// Longest wait for a server. `MLServer` takes 4 s on an idle machine and shares it with the build's last tests.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Longest wait for a server that was told to stop; the launchers themselves give up after 3 s.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A launcher in `tests/servers/`; what each server answers is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Launcher {
    /// azureml-inference-server-http with `score.py`. One request at a time unless `--workers` says otherwise.
    AzureMl,
    /// `MLServer` with the model `iris`: REST, gRPC and metrics.
    MlServer,
    /// A WebSocket server by the library `websockets`.
    WebSocketEcho,
    /// Server-sent events by Python's own `http.server`.
    ServerSentEvents,
}

impl Launcher {
    /// The environment in `tests/env/` and the script in `tests/servers/`.
    fn environment_and_script(self) -> (&'static str, &'static str) {
        match self {
            Self::AzureMl => ("azureml", "azureml_server.py"),
            Self::MlServer => ("mlserver", "mlserver_iris.py"),
            Self::WebSocketEcho => ("streams", "websocket_echo.py"),
            Self::ServerSentEvents => ("streams", "sse.py"),
        }
    }
}

/// A server that accepts requests, until it is dropped.
#[derive(Debug)]
pub(crate) struct PythonServer {
    child: Child,
    ready: Ready,
    // Working directory, temporary files and log of the server; removed after it has stopped.
    _scratch: TempDir,
}

/// The line that a launcher prints when its server accepts requests.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Ready {
    port: u16,
    grpc_port: Option<u16>,
}

impl PythonServer {
    /// Starts a server on loopback ports of its own choice, or those in `arguments`, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`PythonError`], with the end of the server's log where it started and failed.
    pub(crate) fn start(launcher: Launcher, arguments: &[&str]) -> Result<Self, PythonError> {
        let (environment, script) = launcher.environment_and_script();
        let scratch = TempDir::new()?;
        let log = scratch.path().join("log");
        let mut child = python(environment, script)?
            .args(arguments)
            .current_dir(scratch.path())
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        match child.stdout.take().and_then(wait_until_ready) {
            Some(ready) => Ok(Self { child, ready, _scratch: scratch }),
            None => {
                stop(&mut child);
                Err(PythonError::NotReady { script, log: end_of(&log) })
            }
        }
    }

    /// Where it speaks HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        loopback(self.ready.port)
    }

    /// Where it speaks gRPC; `MLServer` only.
    pub(crate) fn grpc(&self) -> Option<SocketAddr> {
        self.ready.grpc_port.map(loopback)
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Makes one gRPC call with `tests/servers/grpc_client.py` and returns the object that it prints. A status other than
/// OK is a result. The call ends after 20 s unless `--timeout` says otherwise.
///
/// # Errors
///
/// [`PythonError`], with what the client wrote to stderr where it failed.
pub(crate) fn call_grpc(arguments: &[&str]) -> Result<serde_json::Value, PythonError> {
    let output = python("mlserver", "grpc_client.py")?.args(arguments).stdin(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).map_err(|_not_json| PythonError::Failed {
        status: output.status,
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Drives one of Azure's published clients: plays a scenario of a script in `tests/servers/`, which reads `told`, and
/// returns what it printed, a line a claim that held.
///
/// # Errors
///
/// [`PythonError`], with the claim that did not hold, or what the client wrote to stderr.
pub(crate) fn drive(script: &str, scenario: &str, told: &serde_json::Value) -> Result<String, PythonError> {
    let mut command = python("sdk", script)?;
    let mut child =
        command.arg(scenario).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(told.to_string().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let log = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    Err(PythonError::Failed { status: output.status, log })
}

/// Fuzzes what a description of an API says with schemathesis; returns whether all of it held, and what it wrote.
///
/// # Errors
///
/// [`PythonError`] where it could not be run.
pub(crate) fn schemathesis(arguments: &[&str]) -> Result<(ExitStatus, String), PythonError> {
    // It leaves files of its own behind.
    let scratch = TempDir::new()?;
    let program = environment("schemathesis")?.join("bin/schemathesis");
    let output = Command::new(program).args(arguments).current_dir(scratch.path()).stdin(Stdio::null()).output()?;
    Ok((output.status, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Why there is no server, or no answer of the client. `Debug` prints the sentence, for tests that unwrap.
#[derive(thiserror::Error)]
pub(crate) enum PythonError {
    #[error("no Python environment in {}; `tests/run python` makes it", .0.display())]
    NoEnvironment(PathBuf),
    #[error("{script} ended, or was not ready after {} s; the end of its log:\n{log}", START_LIMIT.as_secs())]
    NotReady { script: &'static str, log: String },
    #[error("the client ended with {status}:\n{log}")]
    Failed { status: ExitStatus, log: String },
    #[error("could not run Python: {0}")]
    Io(#[from] io::Error),
}

impl fmt::Debug for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A program of an environment of `tests/env/`.
///
/// # Errors
///
/// [`PythonError`] where there is no such environment.
pub(crate) fn program(environment: &str, name: &str) -> Result<PathBuf, PythonError> {
    Ok(self::environment(environment)?.join("bin").join(name))
}

/// A command that runs a script of `tests/servers/` in an environment of `tests/env/`.
fn python(environment: &str, script: &str) -> Result<Command, PythonError> {
    let mut command = Command::new(self::environment(environment)?.join("bin/python"));
    // Without bytecode files, which would land in the source tree.
    command.arg("-B").arg(tests().join("servers").join(script));
    Ok(command)
}

/// The directory of an environment of `tests/env/`.
fn environment(name: &str) -> Result<PathBuf, PythonError> {
    let requirements = fs::read(tests().join("env").join(name).with_extension("txt"))?;
    find_environment(&environments()?, name, &requirements)
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Where `tests/run` keeps the environments.
fn environments() -> io::Result<PathBuf> {
    let chosen = std::env::var_os("SCOREGATE_TEST_ENV").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let usual = home.unwrap_or_default().join(".cache/scoregate-tests");
    // The servers run in directories of their own.
    std::path::absolute(chosen.unwrap_or(usual))
}

/// The directory of an environment by the rule of `make_environment` in `tests/run`: named after the requirements file
/// and the first twelve hexadecimal digits of its SHA-256, complete when `.complete` is in it.
fn find_environment(environments: &Path, name: &str, requirements: &[u8]) -> Result<PathBuf, PythonError> {
    let digest = digest::digest(&digest::SHA256, requirements);
    let key: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let directory = environments.join(format!("{name}-{key}"));
    if directory.join(".complete").exists() { Ok(directory) } else { Err(PythonError::NoEnvironment(directory)) }
}

/// The ready line, or `None` when the server ends or takes too long. A pipe has no time limit of its own, so a thread
/// reads it; it ends with the line, or with the server.
fn wait_until_ready(stdout: ChildStdout) -> Option<Ready> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            // Nobody listens any more when the wait took too long.
            sender.send(line).unwrap_or_default();
        }
    });
    let line = receiver.recv_timeout(START_LIMIT).ok()?;
    serde_json::from_str(&line).ok()
}

/// Ends a server: by closing its stdin, and by SIGKILL if that does not help.
fn stop(child: &mut Child) {
    drop(child.stdin.take());
    let deadline = Instant::now() + STOP_LIMIT;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        // In `drop`, perhaps in a panic already: say it and go on.
        writeln!(io::stderr(), "could not stop process {}: {error}", child.id()).unwrap_or_default();
    }
}

/// The last 30 lines of a log.
fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_else(|error| format!("(no log: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(30)).map(|line| format!("  {line}\n")).collect()
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_found_only_when_complete() {
        let environments = TempDir::new().unwrap();
        // `printf 'six==1.17.0\n' | sha256sum` begins so.
        let directory = environments.path().join("example-ebf206bd17b4");
        let find = || find_environment(environments.path(), "example", b"six==1.17.0\n");

        fs::create_dir(&directory).unwrap();
        let error = find().unwrap_err().to_string();
        assert!(error.contains("tests/run") && error.contains("example-ebf206bd17b4"), "{error}");

        fs::write(directory.join(".complete"), "").unwrap();
        assert_eq!(find().unwrap(), directory);
    }

    #[test]
    fn a_server_that_fails_to_start_shows_its_log() {
        let error = PythonServer::start(Launcher::ServerSentEvents, &["--port", "none"]).unwrap_err().to_string();
        assert!(error.contains("invalid int value: 'none'"), "{error}");
    }
}
