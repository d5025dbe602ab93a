//! What is counted of a connection.

use std::cell::Cell;
use std::sync::Arc;

use crate::observe::metrics::PoolState;
use crate::observe::metrics::UpstreamMetrics;

/// Counts a connection for as long as it is kept.
#[derive(Debug)]
pub struct Counted {
    metrics: Option<Arc<UpstreamMetrics>>,
    state: Cell<PoolState>,
}

impl Counted {
    /// It has been made, and carries its first request.
    pub fn opened(metrics: Option<&Arc<UpstreamMetrics>>) -> Self {
        if let Some(metrics) = metrics {
            metrics.connection_opened();
        }
        Self { metrics: metrics.map(Arc::clone), state: Cell::new(PoolState::Active) }
    }

    /// It does something else.
    pub fn turn(&self, to: PoolState) {
        let from = self.state.replace(to);
        if let Some(metrics) = &self.metrics
            && from != to
        {
            metrics.connection_turned(from, to);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_closed(self.state.get());
        }
    }
}
