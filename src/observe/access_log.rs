//! The access log's way out: a buffer a worker, and one thread that writes.
//!
//! A request only appends to its worker's buffer. A full buffer, or one that a timer flushes, goes to the
//! writer in one piece; nothing here ever waits. Where the reader of the log is too slow, whole buffers are
//! dropped and their lines counted, rather than requests delayed.

use std::cell::RefCell;
use std::io;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use super::metrics::Metrics;

/// A buffer this large goes to the writer: about eighty lines. Larger ones save no measurable time.
const CHUNK_BYTES: usize = 32 * 1024;
/// Buffers that may wait for the writer, all workers together: 2 MiB.
const WAITING_CHUNKS: usize = 64;

/// One worker's end of the access log. What it holds is flushed when it is dropped.
#[derive(Debug)]
pub struct AccessLog {
    filling: RefCell<Chunk>,
    writer: SyncSender<Chunk>,
    metrics: Arc<Metrics>,
}

/// Whole lines.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u64,
}

impl AccessLog {
    /// Appends what `write` appends, and the end of the line. What fails to be written leaves nothing behind.
    pub(super) fn line<E>(&self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) {
        let Ok(mut chunk) = self.filling.try_borrow_mut() else { return self.metrics.gateway.access_log_dropped(1) };
        if chunk.bytes.capacity() == 0 {
            chunk.bytes.reserve_exact(CHUNK_BYTES + CHUNK_BYTES / 8);
        }
        let before = chunk.bytes.len();
        if write(&mut chunk.bytes).is_err() {
            chunk.bytes.truncate(before);
            return self.metrics.gateway.access_log_dropped(1);
        }
        chunk.bytes.push(b'\n');
        chunk.lines += 1;
        if chunk.bytes.len() >= CHUNK_BYTES {
            self.send(std::mem::take(&mut chunk));
        }
    }

    /// Hands what there is to the writer. A worker calls it on a timer, so that a quiet log is not a late one.
    pub fn flush(&self) {
        if let Ok(mut chunk) = self.filling.try_borrow_mut()
            && chunk.lines > 0
        {
            self.send(std::mem::take(&mut chunk));
        }
    }

    fn send(&self, chunk: Chunk) {
        if let Err(mpsc::TrySendError::Full(chunk) | mpsc::TrySendError::Disconnected(chunk)) =
            self.writer.try_send(chunk)
        {
            self.metrics.gateway.access_log_dropped(chunk.lines);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The thread that writes the access log.
#[derive(Debug)]
pub struct AccessLogWriter {
    writer: SyncSender<Chunk>,
    finished: Receiver<()>,
    metrics: Arc<Metrics>,
}

/// Whether everything was written when the process had to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLines {
    /// Every line that was handed over has been written or counted as dropped.
    Written,
    /// A worker still holds its end, or whoever reads the log has stopped.
    Abandoned,
}

impl AccessLogWriter {
    /// Starts the thread; `sink` is standard output outside of tests.
    ///
    /// # Errors
    /// When the operating system refuses another thread.
    pub fn start(sink: Box<dyn Write + Send>, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (writer, chunks) = mpsc::sync_channel(WAITING_CHUNKS);
        let (finishing, finished) = mpsc::sync_channel(1);
        let counted = Arc::clone(&metrics);
        let thread = move || {
            write_all(&chunks, sink, &counted);
            // Nobody may be waiting any longer.
            let _ = finishing.try_send(());
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(thread)?;
        Ok(Self { writer, finished, metrics })
    }

    /// A worker's end.
    #[must_use]
    pub fn log(&self) -> AccessLog {
        AccessLog { filling: RefCell::default(), writer: self.writer.clone(), metrics: Arc::clone(&self.metrics) }
    }

    /// Waits until everything is written that the workers' ends, all dropped, have handed over; `longest` at most.
    #[must_use]
    pub fn finish(self, longest: Duration) -> LastLines {
        drop(self.writer);
        match self.finished.recv_timeout(longest) {
            Ok(()) => LastLines::Written,
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => LastLines::Abandoned,
        }
    }
}

fn write_all(chunks: &Receiver<Chunk>, mut sink: Box<dyn Write + Send>, metrics: &Metrics) {
    let mut works = true;
    for chunk in chunks {
        let written = sink.write_all(&chunk.bytes).and_then(|()| sink.flush());
        if let Err(error) = &written {
            metrics.gateway.access_log_dropped(chunk.lines);
            if works {
                tracing::warn!(%error, "the access log cannot be written; gateway_access_log_dropped_total counts what is lost");
            }
        }
        works = written.is_ok();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::PoisonError;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::AccessLog;
    use super::AccessLogWriter;
    use super::CHUNK_BYTES;
    use super::LastLines;
    use super::WAITING_CHUNKS;
    use crate::observe::metrics::Metrics;

    const SOON: Duration = Duration::from_secs(10);

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Writes nothing until it is let go.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn append(log: &AccessLog, text: &str) {
        log.line(|buffer| {
            buffer.extend_from_slice(text.as_bytes());
            Ok::<(), Infallible>(())
        });
    }

    fn dropped(metrics: &Metrics) -> String {
        let exposition = metrics.exposition();
        let line = exposition.lines().find(|line| line.starts_with("gateway_access_log_dropped_total ")).unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    }

    #[test]
    fn every_line_of_every_worker_is_written_by_the_time_it_finishes() {
        let (metrics, sink) = (Arc::new(Metrics::new()), Kept::default());
        let writer = AccessLogWriter::start(Box::new(sink.clone()), Arc::clone(&metrics)).unwrap();
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let log = writer.log();
                std::thread::spawn(move || (0..2000).for_each(|n| append(&log, &format!("worker {worker} line {n}"))))
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(writer.finish(SOON), LastLines::Written);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 6000);
        assert!(text.lines().all(|line| line.starts_with("worker ")), "lines run into each other");
        assert_eq!(dropped(&metrics), "0");
    }

    #[test]
    fn a_flush_brings_out_what_a_quiet_worker_holds() {
        let sink = Kept::default();
        let writer = AccessLogWriter::start(Box::new(sink.clone()), Arc::new(Metrics::new())).unwrap();
        let log = writer.log();
        append(&log, "one");
        log.line(|buffer| {
            buffer.extend_from_slice(b"half a li");
            Err("the rest could not be written")
        });
        log.flush();
        drop(log);
        assert_eq!(writer.finish(SOON), LastLines::Written);
        assert_eq!(*sink.0.lock().unwrap(), b"one\n");
    }

    #[test]
    fn a_reader_that_stops_costs_counted_lines_and_never_a_wait() {
        let metrics = Arc::new(Metrics::new());
        let (let_go, held) = mpsc::channel();
        let writer = AccessLogWriter::start(Box::new(Stuck(held)), Arc::clone(&metrics)).unwrap();
        let log = writer.log();
        let line = "x".repeat(CHUNK_BYTES);
        // One chunk may be with the writer; all others wait, or are dropped.
        for _ in 0..WAITING_CHUNKS + 5 {
            append(&log, &line);
        }
        let lost: u32 = dropped(&metrics).parse().unwrap();
        assert!((4..=5).contains(&lost), "{lost}");
        assert_eq!(writer.finish(Duration::from_millis(10)), LastLines::Abandoned);
        drop(let_go);
    }

    #[test]
    fn a_reader_that_is_gone_costs_counted_lines() {
        let metrics = Arc::new(Metrics::new());
        let writer = AccessLogWriter::start(Box::new(Closed), Arc::clone(&metrics)).unwrap();
        let log = writer.log();
        append(&log, "one");
        append(&log, "two");
        drop(log);
        assert_eq!(writer.finish(SOON), LastLines::Written);
        assert_eq!(dropped(&metrics), "2");
    }
}
