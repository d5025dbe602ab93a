//! `scoregate health`: asks the health listener of a running gateway, for images without a shell.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::fail;
use crate::cli::print;
use crate::config::Address;
use crate::reload::ReloadError;
use crate::reload::read_config;

/// Longest wait for each of connecting, writing and reading.
const WITHIN: Duration = Duration::from_secs(3);

/// Longest answer that is read, in bytes; a probe's has two hundred.
const MAX_ANSWER_BYTES: u64 = 16 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Probe {
    /// Whether it takes traffic.
    Ready,
    /// Whether the process answers.
    Live,
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error(transparent)]
    Config(#[from] ReloadError),
    #[error("the health listener of `listeners.health` cannot be asked")]
    Unreachable(#[source] io::Error),
    #[error("the answer is no HTTP")]
    NoHttp,
}

/// Prints what the probe answered; success is 200.
pub(super) fn health(config: &Path, probe: Probe) -> ExitCode {
    match ask(config, probe) {
        Ok((200, said)) => print(&said),
        Ok((_, said)) => {
            print(&said);
            ExitCode::FAILURE
        }
        Err(error) => fail(&error),
    }
}

fn ask(config: &Path, probe: Probe) -> Result<(u16, String), HealthError> {
    let config = read_config(config)?;
    let path = match probe {
        Probe::Ready => "/readyz",
        Probe::Live => "/livez",
    };
    let answer = exchange(&config.listeners.health.address, path).map_err(HealthError::Unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(HealthError::NoHttp)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(HealthError::NoHttp)?;
    Ok((status, body.to_owned()))
}

fn exchange(address: &Address, path: &str) -> io::Result<String> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), WITHIN)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            converse(stream, path)
        }
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            converse(stream, path)
        }
    }
}

fn converse(mut stream: impl Read + Write, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Who listens on every address is asked on loopback.
const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}
