//! The thread that writes the audit log: events in batches, a checkpoint when it has been quiet, and another attempt
//! each second while it fails.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::Audit;
use super::AuditError;
use super::DENIALS_PER_SECOND;
use super::Event;
use super::NotRecorded;
use super::Order;
use super::Shared;
use super::WAITING;
use super::chain::Said;
use super::chain::TORN;
use super::file::Log;
use super::file::Torn;
use crate::config::AuditLog;
use crate::config::OnAuditFailure;
use crate::model::time::since_epoch;
use crate::observe::metrics::Metrics;

/// Events that are made durable together.
const BATCH: usize = 256;

/// How often the thread wakes by itself.
const TICK: Duration = Duration::from_secs(1);

/// Ticks without an event after which what is there is signed.
const QUIET_TICKS: u32 = 5;

/// The thread that writes the audit log.
#[derive(Debug)]
pub struct AuditWriter {
    orders: SyncSender<Order>,
    finished: Receiver<()>,
}

impl AuditWriter {
    /// Opens the log and starts the thread.
    ///
    /// # Errors
    /// [`AuditError`]; where the configuration says `count`, a log that cannot be opened is counted and tried again.
    pub fn start(config: &AuditLog, metrics: Arc<Metrics>) -> Result<(Audit, Self), AuditError> {
        let (orders, inbox) = mpsc::sync_channel(WAITING);
        let (finishing, finished) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            on_failure: config.on_failure,
            failing: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            denials: AtomicU64::new(0),
            metrics,
        });
        let mut writer = Writer {
            config: config.clone(),
            log: None,
            inbox,
            shared: Arc::clone(&shared),
            lost: 0,
            second: 0,
            left_out: 0,
        };
        match (writer.open(), config.on_failure) {
            (Ok(()), _) => {}
            (Err(error), OnAuditFailure::Block) => return Err(error),
            (Err(error), OnAuditFailure::Count) => writer.failed(&error),
        }
        let thread = move || {
            writer.run();
            // Nobody may be waiting any longer.
            let _ = finishing.try_send(());
        };
        thread::Builder::new().name("audit".to_owned()).spawn(thread).map_err(AuditError::Thread)?;
        Ok((Audit::to(config.directory.clone(), orders.clone(), shared), Self { orders, finished }))
    }

    /// Writes and signs what has been handed over, and ends the thread; waits for `longest` at most.
    pub fn finish(self, longest: Duration) {
        let told = self.orders.try_send(Order::Close).is_ok();
        if !told || self.finished.recv_timeout(longest).is_err() {
            tracing::warn!("the last lines of the audit log may not be written");
        }
    }
}

type Ack = oneshot::Sender<Result<(), NotRecorded>>;

#[derive(Debug)]
struct Writer {
    config: AuditLog,
    /// `None` until it could be opened.
    log: Option<Log>,
    inbox: Receiver<Order>,
    shared: Arc<Shared>,
    /// Events that could not be written since the last that could.
    lost: u64,
    /// Which second's denials are counted.
    second: u64,
    /// Denials above their limit that no line has told of yet.
    left_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Event,
    End,
}

impl Writer {
    fn run(mut self) {
        let mut quiet = 0;
        loop {
            let received = self.inbox.recv_timeout(TICK);
            self.begin_second();
            match received {
                Ok(Order::Write(event, ack)) => {
                    quiet = 0;
                    if self.write_waiting(event, ack) == Next::End {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    quiet = u32::min(quiet + 1, QUIET_TICKS);
                    self.tick(quiet);
                }
                Ok(Order::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.sign();
    }

    /// Lets denials be recorded again once a second has passed.
    fn begin_second(&mut self) {
        let second = since_epoch().as_secs();
        if second != self.second {
            self.second = second;
            self.left_out += self.shared.denials.swap(0, Ordering::Relaxed).saturating_sub(DENIALS_PER_SECOND);
        }
    }

    fn write_waiting(&mut self, event: Event, ack: Option<Ack>) -> Next {
        let (mut events, mut acks) = (vec![event], Vec::from_iter(ack));
        let mut next = Next::Event;
        while events.len() < BATCH {
            match self.inbox.try_recv() {
                Ok(Order::Write(event, ack)) => {
                    events.push(event);
                    acks.extend(ack);
                }
                Ok(Order::Close) => {
                    next = Next::End;
                    break;
                }
                Err(_none_waits) => break,
            }
        }
        self.shared.waiting.fetch_sub(events.len(), Ordering::Relaxed);
        let outcome = self.write(&events);
        for ack in acks {
            // Whoever waited may have gone.
            let _ = ack.send(outcome);
        }
        next
    }

    fn tick(&mut self, quiet: u32) {
        if self.shared.failing.load(Ordering::Relaxed) || self.left_out > 0 {
            // A log that works again says so, and how much it lacks.
            let _still_failing = self.write(&[]);
        } else if quiet == QUIET_TICKS {
            self.sign();
        }
    }

    fn write(&mut self, events: &[Event]) -> Result<(), NotRecorded> {
        let count = events.len() as u64;
        match self.try_write(events) {
            Ok(()) => {
                self.shared.metrics.gateway.audit_written(count);
                self.worked();
                Ok(())
            }
            Err(error) => {
                self.shared.metrics.gateway.audit_dropped(count);
                self.lost = self.lost.saturating_add(count);
                self.failed(&error);
                Err(NotRecorded)
            }
        }
    }

    fn try_write(&mut self, events: &[Event]) -> Result<(), AuditError> {
        if self.log.is_none() {
            self.open()?;
        }
        let Some(log) = &mut self.log else { return Ok(()) };
        let resumed = json!({ "lost": self.lost });
        let failed_before = self.shared.failing.load(Ordering::Relaxed);
        let first = failed_before.then(|| Said::by_the_log("log.resumed", &resumed));
        let left_out = json!({ "denials": self.left_out });
        let limited = (self.left_out > 0).then(|| Said::by_the_log("log.denials_left_out", &left_out));
        let lines: Vec<Said<'_>> = first.into_iter().chain(limited).chain(events.iter().map(said)).collect();
        let path = || self.config.directory.clone();
        log.append(&lines, since_epoch()).map_err(|source| AuditError::File { path: path(), source })?;
        self.left_out = 0;
        Ok(())
    }

    fn open(&mut self) -> Result<(), AuditError> {
        let (mut log, Torn(bytes)) = Log::open(&self.config)?;
        let (torn, start) = (json!({ "bytes": bytes }), json!({ "version": env!("CARGO_PKG_VERSION") }));
        let mut lines = vec![Said::by_the_log("log.start", &start)];
        if bytes > 0 {
            tracing::warn!(
                bytes,
                "the last line of the audit log was unfinished; what there was of it is in audit.torn"
            );
            lines.insert(0, Said::by_the_log(TORN, &torn));
        }
        let path = self.config.directory.clone();
        log.append(&lines, since_epoch()).map_err(|source| AuditError::File { path, source })?;
        self.log = Some(log);
        Ok(())
    }

    fn sign(&mut self) {
        let Some(log) = self.log.as_mut().filter(|log| log.unsigned() > 0) else { return };
        if let Err(source) = log.checkpoint(since_epoch()) {
            self.failed(&AuditError::File { path: self.config.directory.clone(), source });
        }
    }

    fn worked(&mut self) {
        if self.shared.failing.swap(false, Ordering::Relaxed) {
            tracing::warn!(lost = self.lost, "the audit log can be written again");
        }
        self.lost = 0;
        self.shared.metrics.gateway.audit_works();
    }

    fn failed(&self, error: &AuditError) {
        if !self.shared.failing.swap(true, Ordering::Relaxed) {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, source, "the audit log cannot be written; gateway_audit_events_dropped_total counts what is lost");
        }
        self.shared.metrics.gateway.audit_fails();
    }
}

fn said(event: &Event) -> Said<'_> {
    let Event { act, who, resource, rule, detail, decision } = event;
    Said { act: act.as_str(), who, resource, rule, detail, decision }
}
