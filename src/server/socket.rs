//! Sockets that listen: one per worker for TCP, one shared by all for a Unix path.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;

use socket2::Domain;
use socket2::Protocol;
use socket2::SockFilter;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;

use crate::config::Address;
use crate::model::name::Name;
use crate::server::activation::Inherited;

/// Connections that the kernel completes before a worker takes them, per socket. Bounded by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What may wait in the kernel for one client before a write waits. Of the usual 4 MiB the socket tells only by the megabyte
/// that there is room again, and a slow client looks like one that takes nothing.
pub(super) const UNSENT_BYTES: u32 = 256 * 1024;

/// Drops segments with SYN and no ACK (RFC 9293 §3.1: the flags are the header's byte 13) and passes all others.
/// Classic BPF: load the flags, mask the two, compare, and say how many bytes of the segment to keep.
const BEGINS_NOTHING: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// A listening socket that no runtime has taken yet.
#[derive(Debug)]
pub enum Socketed {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// TCP, on a socket that whoever passed it holds as well.
    Passed(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

impl Socketed {
    /// The same socket once more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Passed(socket) => socket.try_clone().map(Self::Passed),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }
}

/// The sockets of one listener.
#[derive(Debug)]
pub struct Bound {
    /// The listener's name.
    pub name: Name,
    /// Where it listens; a port 0 is resolved.
    pub address: Address,
    /// A socket for each worker.
    pub sockets: Vec<Socketed>,
}

impl Bound {
    /// Logs where the listener listens now: with a port 0 nothing else tells.
    pub(super) fn announce(&self) {
        tracing::info!(listener = %self.name, address = show(&self.address), "listening");
    }
}

/// An address as a configuration writes it.
pub(super) fn show(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("listener {name}: {address} is in use by another process")]
    InUse {
        /// Which listener.
        name: Name,
        /// Where.
        address: String,
    },
    /// The path exists and is no socket.
    #[error("listener {name}: {} exists and is no socket", path.display())]
    NotASocket {
        /// Which listener.
        name: Name,
        /// Where.
        path: PathBuf,
    },
    /// The system refused.
    #[error("listener {name}: cannot listen on {address}")]
    System {
        /// Which listener.
        name: Name,
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens `count` sockets for a listener, or takes the one that was passed for it.
///
/// # Errors
/// [`BindError`] names the listener and the address.
pub fn bind(name: &Name, address: &Address, count: usize, inherited: &Inherited) -> Result<Bound, BindError> {
    let passed = inherited.bound(name, address, count);
    if let Some(bound) = passed.map_err(|source| failed(name, show(address), source))? {
        return Ok(bound);
    }
    match address {
        Address::Tcp(wanted) => bind_tcp(*wanted, count)
            .map(|(at, sockets)| Bound { name: name.clone(), address: Address::Tcp(at), sockets })
            .map_err(|source| failed(name, wanted.to_string(), source)),
        Address::Unix(path) => bind_unix(name, path, count),
    }
}

/// Each worker gets a socket of its own (`SO_REUSEPORT`), and the kernel spreads connections over them.
///
/// That option would also let a second gateway share the port unnoticed, so the first socket is opened
/// without it: it fails where anybody listens already.
fn bind_tcp(wanted: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<Socketed>)> {
    let probe = tcp_socket(wanted)?;
    probe.bind(&wanted.into())?;
    let address = probe.local_addr()?.as_socket().unwrap_or(wanted);
    drop(probe);
    let sockets = (0..count).map(|_| {
        let socket = tcp_socket(address)?;
        socket.set_reuse_port(true)?;
        // Connections that it accepts have it from here.
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Socketed::Tcp(socket.into()))
    });
    Ok((address, sockets.collect::<io::Result<_>>()?))
}

/// Begins no further handshake on a listening socket, and completes those that have begun. A client that asks to connect is
/// not answered; it asks again after a second (RFC 6298 §2.1), and by then the socket is closed and refuses.
///
/// # Errors
/// Where the system has no socket filters.
pub(super) fn turn_away_newcomers(listening: &impl AsFd) -> io::Result<()> {
    SockRef::from(listening).attach_filter(&BEGINS_NOTHING)
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn bind_unix(name: &Name, path: &Path, count: usize) -> Result<Bound, BindError> {
    let system = |source| failed(name, format!("unix:{}", path.display()), source);
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(BindError::NotASocket { name: name.clone(), path: path.to_owned() });
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(BindError::InUse { name: name.clone(), address: format!("unix:{}", path.display()) });
        }
        // Left behind by a process that was killed.
        std::fs::remove_file(path).map_err(system)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(system)?;
    listener.set_nonblocking(true).map_err(system)?;
    let sockets =
        (0..count).map(|_| listener.try_clone().map(Socketed::Unix)).collect::<io::Result<_>>().map_err(system)?;
    Ok(Bound { name: name.clone(), address: Address::Unix(path.to_owned()), sockets })
}

fn failed(name: &Name, address: String, source: io::Error) -> BindError {
    if source.kind() == io::ErrorKind::AddrInUse {
        BindError::InUse { name: name.clone(), address }
    } else {
        BindError::System { name: name.clone(), address, source }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;
    use std::time::Duration;

    use super::BindError;
    use super::bind;
    use super::turn_away_newcomers;
    use crate::config::Address;
    use crate::model::name::Name;
    use crate::server::activation::Inherited;

    #[test]
    fn a_second_gateway_on_the_same_port_is_an_error() {
        let name = Name::parse("traffic-0").unwrap();
        let first = bind(&name, &Address::Tcp("127.0.0.1:0".parse().unwrap()), 2, &Inherited::default()).unwrap();
        assert_eq!(first.sockets.len(), 2);
        let again = bind(&name, &first.address, 2, &Inherited::default()).unwrap_err();
        assert!(matches!(again, BindError::InUse { .. }), "{again}");
        assert!(again.to_string().contains("traffic-0"), "{again}");
    }

    #[test]
    fn who_has_connected_is_accepted_and_speaks_after_newcomers_are_turned_away() {
        let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let mut before = TcpStream::connect(address).unwrap();
        turn_away_newcomers(&listening).unwrap();
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err();
        let (mut accepted, _) = listening.accept().unwrap();
        before.write_all(b"heard").unwrap();
        drop(before);
        assert_eq!(std::io::read_to_string(&mut accepted).unwrap(), "heard");
        listening.set_nonblocking(true).unwrap();
        assert!(listening.accept().is_err(), "nobody else has come");
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let name = Name::parse("sock").unwrap();
        let path = directory.path().join("s");
        let address = Address::Unix(path.clone());
        drop(bind(&name, &address, 2, &Inherited::default()).unwrap());
        let live = bind(&name, &address, 2, &Inherited::default()).unwrap();
        assert!(matches!(bind(&name, &address, 1, &Inherited::default()), Err(BindError::InUse { .. })));
        drop(live);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&name, &address, 1, &Inherited::default()), Err(BindError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
