//! What systemd is told of the gateway's life (`sd_notify(3)`): ready, reloading, stopping, how it is, and that it lives.
//!
//! Without `NOTIFY_SOCKET` nothing is told and nothing is counted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;
use tokio::time::MissedTickBehavior;

use crate::server::fleet::RollCall;

/// Longest wait for a service manager that does not read.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// The service manager that started the process, if one did.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that the gateway lives; `None` is never.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(super) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let Some(name) = socket else { return Self::default() };
        let socket = connect(&name)
            .inspect_err(|error| tracing::warn!(%error, "the service manager cannot be told anything"))
            .ok();
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_meant = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|within| is_meant && *within > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// The gateway serves, also after a reload.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload was asked for by SIGHUP and has begun. systemd compares the time with that of its own request.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let (seconds, nanoseconds) = (i128::from(now.tv_sec), i128::from(now.tv_nsec));
        let microseconds = seconds * 1_000_000 + nanoseconds / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration"));
    }

    /// The drain has begun.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Says twice in each period of the watchdog that the gateway lives, as long as every worker answers. Ends with the
    /// runtime; at once where nobody wants to hear it.
    pub(super) async fn keep_watchdog(self: Arc<Self>, roll_call: RollCall, draining: Arc<AtomicBool>) {
        let Some(within) = self.watchdog.filter(|_| self.socket.is_some()) else { return };
        let mut clock = tokio::time::interval(within / 2);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let all_answered = roll_call.is_answered_by_all().await;
            // Workers that drain answer no more; the drain has a deadline of its own.
            if all_answered || draining.load(Ordering::Relaxed) {
                self.tell("WATCHDOG=1");
            }
        }
    }

    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::warn!(%error, message, "the service manager was not told");
        }
    }
}

fn connect(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address(name)?)?;
    socket.set_write_timeout(Some(TELL_WITHIN))?;
    Ok(socket)
}

/// A path, or after `@` a name in the abstract namespace of Linux.
fn address(name: &OsStr) -> std::io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(abstract_name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(abstract_name),
        #[cfg(not(target_os = "linux"))]
        Some(_) => Err(std::io::ErrorKind::Unsupported.into()),
        None => SocketAddr::from_pathname(name),
    }
}
