//! An upstream that does to its first callers what a case says, and then turns good.

use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::SockRef;

use super::case::Case;
use super::case::Connection;
use super::case::Moment;
use super::case::Over;
use super::case::Step;
use super::case::Then;
use super::case::bytes;
use crate::protocols::authority::Identity;
use crate::protocols::authority::accept;
use crate::protocols::wire::Wire;
use crate::protocols::wire::ok;
use crate::support::eventually;
use crate::support::gateway::free_address;

/// An upstream of one case.
#[derive(Debug)]
pub(super) struct Evil {
    address: SocketAddr,
    stage: Arc<Stage>,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) case: Case,
    tls: Arc<ServerConfig>,
    is_good: AtomicBool,
    log: Mutex<Log>,
}

/// Connections by their numbers.
#[derive(Debug, Default)]
struct Log {
    spoilt: Vec<usize>,
    done: Vec<usize>,
    ended: Vec<usize>,
    canaries: Vec<usize>,
}

impl Evil {
    pub(super) fn play(case: &Case, identity: &Identity) -> Self {
        let stage = Arc::new(Stage {
            case: case.clone(),
            tls: identity.server(&[], None),
            is_good: AtomicBool::new(false),
            log: Mutex::default(),
        });
        if case.at == Moment::Never {
            return Self { address: free_address(), stage };
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, Arc::clone(&stage));
        Self { address, stage }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on it answers each canary with its own name.
    pub(super) fn turn_good(&self) {
        self.stage.is_good.store(true, Ordering::SeqCst);
        if self.stage.case.at == Moment::Never {
            serve(TcpListener::bind(self.address).unwrap(), Arc::clone(&self.stage));
        }
    }

    /// Waits until all has been sent that the case says.
    pub(super) fn is_done(&self) {
        eventually("the upstream has done its worst", || {
            let log = self.stage.log();
            (log.done.len() == log.spoilt.len()).then_some(())
        });
    }

    /// The connections that the case was played on.
    pub(super) fn spoilt(&self) -> Vec<usize> {
        self.stage.log().spoilt.clone()
    }

    /// The connections that canaries came over.
    pub(super) fn canaries(&self) -> Vec<usize> {
        self.stage.log().canaries.clone()
    }

    /// Whether either side has closed each connection that the case was played on.
    pub(super) fn all_ended(&self) -> Option<()> {
        let log = self.stage.log();
        log.spoilt.iter().all(|number| log.ended.contains(number)).then_some(())
    }
}

fn serve(listener: TcpListener, stage: Arc<Stage>) {
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (Ok(stream), stage) = (stream, Arc::clone(&stage)) else { return };
            thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                // Whatever breaks is what the case wants, or the canary's to notice.
                stage.talk(&stream, number).unwrap_or_default();
                stage.log().ended.push(number);
            });
        }
    });
}

impl Stage {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    pub(super) fn is_good(&self) -> bool {
        self.is_good.load(Ordering::SeqCst)
    }

    pub(super) fn saw_canary(&self, number: usize) {
        self.log().canaries.push(number);
    }

    fn talk(&self, stream: &TcpStream, number: usize) -> io::Result<()> {
        if self.case.over == Over::Http2 {
            return super::evil_http2::talk(self, stream, number);
        }
        if self.case.at == Moment::Connect && !self.is_good() {
            return self.spoil(stream, number);
        }
        let mut wire = match self.case.over {
            Over::Tls => accept(stream.try_clone()?, &self.tls),
            Over::Http1 | Over::Http2 => Wire::tcp(stream.try_clone()?),
        };
        loop {
            let request = if self.case.at == Moment::Head { wire.try_head()? } else { wire.try_message("")?.head };
            if let Some(canary) = request.get("x-canary") {
                self.saw_canary(number);
                wire.try_send(ok(canary))?;
                continue;
            }
            self.spoil(stream, number)?;
            if self.case.connection == Connection::Gone {
                return Ok(());
            }
        }
    }

    /// Does what the case says; returns when the connection has ended, or where it may be used again.
    pub(super) fn spoil(&self, mut stream: &TcpStream, number: usize) -> io::Result<()> {
        self.log().spoilt.push(number);
        let sent = self.case.answer.iter().try_for_each(|step| play(stream, step));
        self.log().done.push(number);
        sent?;
        match (self.case.then, self.case.connection) {
            (Then::Stay, Connection::Kept) => Ok(()),
            (Then::Stay, Connection::Gone) => io::copy(&mut stream, &mut io::sink()).map(drop),
            (Then::Close, _) => Ok(()),
            (Then::Reset, _) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
        }
    }
}

fn play(mut stream: &TcpStream, step: &Step) -> io::Result<()> {
    match step {
        Step::Send(text) => stream.write_all(&bytes(text)),
        Step::Repeat { repeat, times } => stream.write_all(&bytes(repeat).repeat(*times)),
        Step::Pause { pause_ms } => {
            thread::sleep(Duration::from_millis(*pause_ms));
            Ok(())
        }
        Step::Forever { forever, every_ms } => loop {
            stream.write_all(&bytes(forever))?;
            thread::sleep(Duration::from_millis(*every_ms));
        },
    }
}
