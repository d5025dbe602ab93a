//! Sockets that systemd has opened for the gateway (`sd_listen_fds(3)`), by the names of the listeners they are for.
//!
//! A port below 1024 then needs no capability, and connections wait while the gateway is restarted.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Address;
use crate::config::Listener;
use crate::config::Listeners;
use crate::model::name::Name;
use crate::server::socket::Bound;
use crate::server::socket::Socketed;
use crate::server::socket::UNSENT_BYTES;
use crate::server::socket::show;

/// The names of the sockets, in their order, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// The sockets that were passed. They stay open as long as the process: a listener may come back to one.
#[derive(Debug, Default)]
pub struct Inherited(BTreeMap<String, Passed>);

#[derive(Debug)]
struct Passed {
    address: Address,
    socket: Socketed,
}

/// Why sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// A socket is for no listener.
    #[error("systemd passed a socket called {name:?}; want FileDescriptorName= to name a listener, one of {listeners}")]
    Unknown {
        /// What it is called.
        name: String,
        /// The listeners that there are.
        listeners: String,
    },
    /// A socket has no name.
    #[error("systemd passed {passed} sockets and named {named} of them; want FileDescriptorName= in each socket unit")]
    Unnamed {
        /// How many sockets there are.
        passed: usize,
        /// How many names.
        named: usize,
    },
    /// Two sockets are for the same listener.
    #[error("systemd passed two sockets called {name:?}; want one ListenStream= for a listener")]
    Twice {
        /// What they are called.
        name: String,
    },
    /// The socket is not where the listener is to be.
    #[error("listener {name}: systemd passed a socket at {passed}, the configuration says {configured}; want the same")]
    Elsewhere {
        /// Which listener.
        name: Name,
        /// Where the socket is.
        passed: String,
        /// Where the listener is to be.
        configured: String,
    },
    /// It does not listen for streams.
    #[error("systemd passed {name:?}, which is no TCP or Unix stream socket")]
    NoStream {
        /// What it is called.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Inherited {
    /// Takes the sockets that the environment tells of; none where it tells of none.
    ///
    /// # Errors
    /// [`ActivationError`] for sockets without a name of their own, and for what is no socket.
    pub fn from_environment() -> Result<Self, ActivationError> {
        let mut sockets = ListenFd::from_env();
        if sockets.len() == 0 {
            return Ok(Self::default());
        }
        let names = std::env::var(NAMES).unwrap_or_default();
        let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
        if names.len() != sockets.len() {
            return Err(ActivationError::Unnamed { passed: sockets.len(), named: names.len() });
        }
        let mut inherited = BTreeMap::new();
        for (index, name) in names.into_iter().enumerate() {
            let name = name.to_owned();
            match take(&mut sockets, index) {
                Ok(passed) => {
                    if inherited.insert(name.clone(), passed).is_some() {
                        return Err(ActivationError::Twice { name });
                    }
                }
                Err(source) => return Err(ActivationError::NoStream { name, source }),
            }
        }
        Ok(Self(inherited))
    }

    /// Holds that every socket is for a listener, and where that listener is to be.
    ///
    /// # Errors
    /// [`ActivationError`] for the first that is not.
    pub fn check(&self, listeners: &Listeners) -> Result<(), ActivationError> {
        let all: Vec<&Listener> =
            listeners.traffic.iter().chain(&listeners.management).chain([&listeners.health]).collect();
        for (name, passed) in &self.0 {
            let Some(listener) = all.iter().find(|listener| listener.name.as_str() == name) else {
                let names: Vec<&str> = all.iter().map(|listener| listener.name.as_str()).collect();
                return Err(ActivationError::Unknown { name: name.clone(), listeners: names.join(", ") });
            };
            if listener.address != passed.address {
                return Err(ActivationError::Elsewhere {
                    name: listener.name.clone(),
                    passed: show(&passed.address),
                    configured: show(&listener.address),
                });
            }
        }
        Ok(())
    }

    /// The socket of this listener, `count` times, where one was passed for this address.
    pub(super) fn bound(&self, name: &Name, address: &Address, count: usize) -> io::Result<Option<Bound>> {
        let Some(passed) = self.0.get(name.as_str()).filter(|passed| passed.address == *address) else {
            return Ok(None);
        };
        let sockets = (0..count).map(|_| passed.socket.try_clone()).collect::<io::Result<_>>()?;
        Ok(Some(Bound { name: name.clone(), address: address.clone(), sockets }))
    }
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Passed> {
    if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
        listener.set_nonblocking(true)?;
        SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT_BYTES)?;
        return Ok(Passed { address: Address::Tcp(listener.local_addr()?), socket: Socketed::Passed(listener) });
    }
    let listener = sockets.take_unix_listener(index)?.ok_or(io::ErrorKind::NotFound)?;
    listener.set_nonblocking(true)?;
    Ok(Passed { address: Address::Unix(path_of(&listener)?), socket: Socketed::Unix(listener) })
}

fn path_of(listener: &UnixListener) -> io::Result<PathBuf> {
    let address = listener.local_addr()?;
    let path = address.as_pathname().ok_or_else(|| io::Error::other("want a Unix socket with a path"))?;
    Ok(path.to_owned())
}
