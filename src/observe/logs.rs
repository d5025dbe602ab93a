//! The process log on standard error, and what a panic leaves behind.
//!
//! The access log is not part of it: that is `observe::access_log`, on standard output.

use std::env::VarError;
use std::io::IsTerminal;
use std::panic;
use std::panic::Location;
use std::sync::Arc;

use tracing::Level;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::metrics::Metrics;

/// The environment variable that says what is logged: a level, or `target=level` separated by commas. Default `info`.
pub const FILTER_VARIABLE: &str = "SCOREGATE_LOG";

/// How the process log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

impl Format {
    /// Text where standard error is a terminal, JSON where a machine reads it.
    #[must_use]
    pub fn for_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Why the process log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The variable is not Unicode.
    #[error("want SCOREGATE_LOG to be text")]
    NotText,
    /// The variable is no filter.
    #[error("want SCOREGATE_LOG to be a level or a list such as info,scoregate::reload=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody else's log was started before.
    #[error("the process already has a log")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the process log on standard error. To be called once, at the start of `main`.
///
/// # Errors
/// [`LogsError`] when the filter cannot be read, or when the process already has a log.
pub fn start(format: Format) -> Result<(), LogsError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(written) => EnvFilter::builder().parse(written)?,
        Err(VarError::NotPresent) => EnvFilter::new("info"),
        Err(VarError::NotUnicode(_)) => return Err(LogsError::NotText),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => Box::new(lines.json().flatten_event(true)),
        Format::Text => Box::new(lines),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter.and(FilterFn::new(no_headers)))).try_init()?;
    Ok(())
}

/// Keeps the HTTP crates at `error`, whatever the filter says: what they warn of is a peer's doing, as often as it likes,
/// and below `info` they print header blocks, credentials among them.
fn no_headers(event: &Metadata<'_>) -> bool {
    let speaks_http = ["h2", "hyper", "hyper_util"]
        .iter()
        .any(|name| event.target().strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
    !speaks_http || *event.level() <= Level::ERROR
}

/// Makes every panic count and leave a line that says where. The message is left out: it can hold what a client sent.
pub fn count_panics(metrics: Arc<Metrics>) {
    panic::set_hook(Box::new(move |panic| panicked(&metrics, panic.location())));
}

fn panicked(metrics: &Metrics, at: Option<&Location<'_>>) {
    metrics.gateway.panicked();
    let thread = std::thread::current();
    let (file, line) = at.map_or(("unknown", 0), |at| (at.file(), at.line()));
    tracing::error!(file, line, thread = thread.name().unwrap_or("unnamed"), "a thread panicked; this is a bug");
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;
    use std::sync::Mutex;

    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::FilterFn;
    use tracing_subscriber::layer::SubscriberExt;

    use super::no_headers;
    use super::panicked;
    use crate::observe::metrics::Metrics;

    struct Targets(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Targets {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target().to_owned());
        }
    }

    #[test]
    fn the_http_crates_never_get_to_print_headers() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let layer = Targets(Arc::clone(&seen)).with_filter(FilterFn::new(no_headers));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::trace!(target: "h2::codec", "authorization: secret");
            tracing::debug!(target: "hyper", "authorization: secret");
            tracing::debug!(target: "hyper_util::client", "authorization: secret");
            tracing::warn!(target: "h2::proto", "a peer can cause it");
            tracing::error!(target: "h2", "fit to see");
            tracing::trace!(target: "h2o", "another crate");
            tracing::trace!(target: "scoregate::reload", "our own");
        });
        assert_eq!(*seen.lock().unwrap(), ["h2", "h2o", "scoregate::reload"]);
    }

    #[test]
    fn a_panic_is_counted() {
        let metrics = Metrics::new();
        panicked(&metrics, Some(Location::caller()));
        panicked(&metrics, None);
        assert!(metrics.exposition().contains("\ngateway_panics_total 2\n"));
    }
}
