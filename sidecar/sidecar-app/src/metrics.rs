//! The metrics of the engine in OpenMetrics text, made from a snapshot at each scrape.
//!
//! Invariants: every metric stands in one table ([`FAMILIES`]) with its unit, labels and help, and in `docs/metrics.md`
//! likewise; names are never reused for another meaning; base units only (seconds, bytes); labels take few values (peers,
//! fixed words), never a path, a caller or a target. It holds no state: counters are those of the rooms that count.
//! Test to read first: `every_line_is_a_sample_of_a_described_metric`.

mod families;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use self::families::FAMILIES;

use crate::status::EngineStatus;

/// What [`render`] returns, for the Content-Type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What begins every name.
const PREFIX: &str = "hoft";

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from zero at the engine's start. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A metric with all its time series.
pub(crate) struct Family {
    /// Its name without the prefix `hoft_`, the unit and `_total`.
    pub(crate) name: &'static str,
    /// What it does over time.
    pub(crate) kind: Kind,
    /// What its name says it is measured in.
    pub(crate) unit: Option<Base>,
    /// The names of its labels.
    pub(crate) labels: &'static [&'static str],
    /// What it means: one sentence without its full stop, which the encoder adds.
    pub(crate) help: &'static str,
    /// Reads its samples from a snapshot.
    pub(crate) read: fn(&EngineStatus, &mut Samples),
}

/// A base unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Base {
    const fn unit(self) -> Unit {
        match self {
            Self::Seconds => Unit::Seconds,
            Self::Bytes => Unit::Bytes,
        }
    }
}

/// The samples of one family: label values in the order of its label names, and a value.
#[derive(Default)]
pub(crate) struct Samples(Vec<(Vec<String>, Value)>);

#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

impl Samples {
    /// Adds a whole number.
    pub(crate) fn whole(&mut self, labels: &[&str], value: u64) {
        self.push(labels, Value::Whole(value));
    }

    /// Adds a real number: gauges only.
    pub(crate) fn real(&mut self, labels: &[&str], value: f64) {
        self.push(labels, Value::Real(value));
    }

    /// Adds a yes (1) or no (0).
    pub(crate) fn flag(&mut self, labels: &[&str], value: bool) {
        self.whole(labels, u64::from(value));
    }

    fn push(&mut self, labels: &[&str], value: Value) {
        self.0.push((labels.iter().map(|label| (*label).to_owned()).collect(), value));
    }
}

/// Everything a snapshot says, as metrics. `/metrics` serves it.
#[must_use]
pub fn render(status: &EngineStatus) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Snapshot(status.clone())));
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &registry).is_err() {
        // Writing into a String does not fail, and the encoders below add no failure of their own.
        tracing::error!("the metrics could not be encoded");
    }
    text
}

#[derive(Debug)]
struct Snapshot(EngineStatus);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            let mut samples = Samples::default();
            (family.read)(&self.0, &mut samples);
            // A family without samples is left out, as a peer that was never measured has no round trip.
            if !samples.0.is_empty() {
                family.encode(&mut encoder, &samples)?;
            }
        }
        Ok(())
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>, samples: &Samples) -> fmt::Result {
        let unit = self.unit.map(Base::unit);
        let metric_type = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut metric =
            encoder.encode_descriptor(self.name, &format!("{}.", self.help), unit.as_ref(), metric_type)?;
        for (values, value) in &samples.0 {
            debug_assert_eq!(values.len(), self.labels.len(), "labels of {}", self.name);
            if self.labels.is_empty() {
                return value.encode(self.kind, metric);
            }
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            value.encode(self.kind, metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Value {
    fn encode(self, kind: Kind, sample: MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (Kind::Counter, Self::Whole(count)) => ConstCounter::new(count).encode(sample),
            (Kind::Counter, Self::Real(count)) => ConstCounter::new(count).encode(sample),
            (Kind::Gauge, Self::Whole(level)) => ConstGauge::new(level).encode(sample),
            (Kind::Gauge, Self::Real(level)) => ConstGauge::new(level).encode(sample),
        }
    }
}

#[cfg(test)]
mod tests;
