//! Metrics that share one label value and leave the registry together.
//!
//! A service's name is a *constant* label of each of its metrics rather than a variable one of a family that
//! all services share. Removing a service is then one call that cannot miss a series, a handle that outlives
//! it cannot bring a series back, and no two services can meet in one series: the crate finds a series by a
//! hash of the label values run together, in which `("a", "bc")` and `("ab", "c")` are the same.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::OnceLock;

use prometheus::Gauge;
use prometheus::Histogram;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::core::Collector;
use prometheus::core::Desc;
use prometheus::core::MetricVec;
use prometheus::core::MetricVecBuilder;
use prometheus::proto::MetricFamily;

const NAMESPACE: &str = "gateway";

/// The values that one label can have.
pub(super) trait Label: Copy + 'static {
    /// The label.
    const NAME: &'static str;
    /// Every value, in the order of [`Self::index`].
    const ALL: &'static [Self];
    /// The value's text.
    fn value(self) -> &'static str;
    /// Where the value stands in [`Self::ALL`].
    fn index(self) -> usize;
}

/// Metrics in the making that share one label value.
pub(super) struct Group {
    label: Option<(&'static str, String)>,
    members: Vec<Box<dyn Collector>>,
}

impl Group {
    /// Metrics of the whole process.
    pub(super) fn unlabelled() -> Self {
        Self { label: None, members: Vec::new() }
    }

    /// Metrics of the one thing that `label="value"` names.
    pub(super) fn labelled(label: &'static str, value: &str) -> Self {
        Self { label: Some((label, value.to_owned())), members: Vec::new() }
    }

    pub(super) fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(self.opts(name, help)))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(self.opts(name, help)))
    }

    /// A gauge with a fraction.
    pub(super) fn seconds(&mut self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(self.opts(name, help)))
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() }))
    }

    /// A gauge that does not exist before it is first set: a moment that nobody knows is absent, not 1970.
    pub(super) fn late_gauge(&mut self, name: &str, help: &str) -> LateGauge {
        LateGauge(self.add(IntGaugeVec::new(self.opts(name, help), &[])))
    }

    /// A counter for each value of one label, each made at its first use unless made earlier.
    pub(super) fn counters<L: Label>(&mut self, name: &str, help: &str) -> Counters<L> {
        Family::new(self.add(IntCounterVec::new(self.opts(name, help), &[L::NAME])))
    }

    /// A gauge for each value of one label, each made at its first use unless made earlier.
    pub(super) fn gauges<L: Label>(&mut self, name: &str, help: &str) -> Gauges<L> {
        Family::new(self.add(IntGaugeVec::new(self.opts(name, help), &[L::NAME])))
    }

    /// A histogram for each value of one label, each made at its first use unless made earlier.
    pub(super) fn histograms<L: Label>(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histograms<L> {
        let opts = HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() };
        Family::new(self.add(HistogramVec::new(opts, &[L::NAME])))
    }

    /// Gauges by a label whose values are names from the configuration.
    pub(super) fn gauges_by(&mut self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.add(IntGaugeVec::new(self.opts(name, help), &[label]))
    }

    /// Counters by two labels. Whoever asks for one gives both values, in this order.
    pub(super) fn counters_by_two(&mut self, name: &str, help: &str, labels: [&str; 2]) -> IntCounterVec {
        self.add(IntCounterVec::new(self.opts(name, help), &labels))
    }

    /// Gauges by two labels. Whoever asks for one gives both values, in this order.
    pub(super) fn gauges_by_two(&mut self, name: &str, help: &str, labels: [&str; 2]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(self.opts(name, help), &labels))
    }

    /// Adds a collector that names its own metrics.
    pub(super) fn collector(&mut self, collector: impl Collector + 'static) {
        self.members.push(Box::new(collector));
    }

    /// Shows the group to whoever scrapes.
    pub(super) fn register(self, registry: &Registry) -> Registered {
        let registered = Registered(self.members.into_iter().map(Member::from).collect());
        for member in &*registered.0 {
            fits(registry.register(Box::new(member.clone())));
        }
        registered
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        let opts = Opts::new(name, help).namespace(NAMESPACE);
        match &self.label {
            Some((label, value)) => opts.const_label(*label, value.as_str()),
            None => opts,
        }
    }

    fn add<M: Collector + Clone + 'static>(&mut self, built: prometheus::Result<M>) -> M {
        let metric = fits(built);
        self.members.push(Box::new(metric.clone()));
        metric
    }
}

/// Unpacks what the crate only refuses when a name or a label is malformed or there twice.
#[expect(clippy::expect_used, reason = "names and labels are literals of this module, and each is built by its tests")]
fn fits<T>(built: prometheus::Result<T>) -> T {
    built.expect("names and labels are well-formed and unique")
}

/// A group that is in a registry.
///
/// Its metrics are registered one by one. The registry tells collectors apart by the sum of their descriptions' hashes,
/// and the sums of two groups with names as alike as `a` and `b` can be the same.
#[derive(Clone)]
pub(super) struct Registered(Arc<[Member]>);

impl Registered {
    /// Takes every series of the group out of the registry.
    pub(super) fn unregister(&self, registry: &Registry) {
        for member in &*self.0 {
            if let Err(error) = registry.unregister(Box::new(member.clone())) {
                tracing::error!(%error, "metrics could not be removed");
            }
        }
    }
}

/// One metric of a group, known to the group and to the registry.
#[derive(Clone)]
struct Member(Arc<dyn Collector>);

impl From<Box<dyn Collector>> for Member {
    fn from(metric: Box<dyn Collector>) -> Self {
        Self(metric.into())
    }
}

impl Collector for Member {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registered({} metrics)", self.0.len())
    }
}

/// A gauge that is absent until it is first set.
#[derive(Debug)]
pub(super) struct LateGauge(IntGaugeVec);

impl LateGauge {
    pub(super) fn set(&self, value: i64) {
        self.0.with_label_values::<&str>(&[]).set(value);
    }
}

/// The crate's metrics by labels, by a name that can be written: its builder types are private.
pub(super) trait Series {
    /// One of them.
    type Metric;
    /// The one with this value of its only label, made at 0 where it does not exist.
    fn of(&self, value: &str) -> Self::Metric;
}

impl<B: MetricVecBuilder> Series for MetricVec<B> {
    type Metric = B::M;

    fn of(&self, value: &str) -> B::M {
        self.with_label_values(&[value])
    }
}

/// One metric for each value of a label; after the first use of a value, no lock and no hash.
#[derive(Debug)]
pub(super) struct Family<L, S: Series> {
    series: S,
    handles: Box<[OnceLock<S::Metric>]>,
    label: PhantomData<L>,
}

/// Counters by one label.
pub(super) type Counters<L> = Family<L, IntCounterVec>;
/// Gauges by one label.
pub(super) type Gauges<L> = Family<L, IntGaugeVec>;
/// Histograms by one label.
pub(super) type Histograms<L> = Family<L, HistogramVec>;

impl<L: Label, S: Series> Family<L, S> {
    fn new(series: S) -> Self {
        Self { series, handles: L::ALL.iter().map(|_| OnceLock::new()).collect(), label: PhantomData }
    }

    /// Makes the series of these values, at 0.
    pub(super) fn with(self, values: impl IntoIterator<Item = L>) -> Self {
        self.create(values);
        self
    }

    /// Makes the series of every value, at 0.
    pub(super) fn with_all(self) -> Self {
        self.with(L::ALL.iter().copied())
    }

    /// Makes the series of these values, at 0, where they do not exist.
    pub(super) fn create(&self, values: impl IntoIterator<Item = L>) {
        for value in values {
            self.of(value);
        }
    }

    /// The series of all values.
    pub(super) fn series(&self) -> &S {
        &self.series
    }

    /// The metric of this value. Always there: a value's index is below the number of values.
    fn of(&self, value: L) -> Option<&S::Metric> {
        let handle = self.handles.get(value.index())?;
        Some(handle.get_or_init(|| self.series.of(value.value())))
    }
}

impl<L: Label> Counters<L> {
    /// All values together.
    pub(super) fn sum(&self) -> u64 {
        self.handles.iter().filter_map(OnceLock::get).map(IntCounter::get).sum()
    }

    pub(super) fn inc(&self, value: L) {
        if let Some(counter) = self.of(value) {
            counter.inc();
        }
    }
}

impl<L: Label> Gauges<L> {
    pub(super) fn add(&self, value: L, by: i64) {
        if let Some(gauge) = self.of(value) {
            gauge.add(by);
        }
    }

    pub(super) fn set(&self, value: L, to: i64) {
        if let Some(gauge) = self.of(value) {
            gauge.set(to);
        }
    }
}

impl<L: Label> Histograms<L> {
    pub(super) fn observe(&self, value: L, seconds: f64) {
        if let Some(histogram) = self.of(value) {
            histogram.observe(seconds);
        }
    }
}
