//! What the operator tells Prometheus. Every label has a bounded set of values, or goes with the cluster that it names.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

use crate::error::Error;

/// Content type of what [`Metrics::encode`] gives: the Prometheus text format.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The operator's metrics.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    reconciles: HistogramVec,
    errors: IntCounterVec,
    actions: IntCounterVec,
    reports: IntCounterVec,
    totals: TotalGauges,
    leader: IntGauge,
    watch_errors: IntCounter,
}

/// Sums over all clusters, as last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// WebSocketClusters.
    pub clusters: u32,
    /// WebSocketClusters whose spec can't work or can't be read.
    pub refused: u32,
    /// Gateway pods.
    pub pods: u32,
    /// Live connections by the last reports.
    pub connections: u64,
    /// Gateway pods that are being drained.
    pub draining: u32,
    /// Conditions of every WebSocketCluster.
    pub conditions: Vec<ClusterCondition>,
}

/// A condition of a WebSocketCluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterCondition {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub name: String,
    /// Type of the condition.
    pub condition: String,
    /// Whether its status is True.
    pub is_true: bool,
}

#[derive(Clone)]
struct TotalGauges {
    clusters: IntGauge,
    refused: IntGauge,
    pods: IntGauge,
    connections: IntGauge,
    draining: IntGauge,
}

impl Metrics {
    /// All metrics at zero.
    ///
    /// # Errors
    /// Only for a name that is wrong or used twice.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let reconciles = HistogramVec::new(
            HistogramOpts::new(
                "mooring_operator_reconcile_duration_seconds",
                "Duration of one pass over a cluster.",
            )
            .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            &["outcome"],
        )?;
        let errors = counters("reconcile_errors_total", "Passes that failed.", &["class", "error"])?;
        let actions = counters("actions_total", "What was done to the cluster.", &["action"])?;
        let reports = counters("gateway_reports_total", "Reports asked of gateways.", &["outcome"])?;
        let leader = gauge("leader", "1 while this operator holds the lease.")?;
        let watch_errors = IntCounter::new(
            "mooring_operator_watch_errors_total",
            "Lists and watches that failed; each is tried again.",
        )?;
        let totals = TotalGauges {
            clusters: gauge("clusters", "WebSocketClusters.")?,
            refused: gauge("refused_clusters", "WebSocketClusters whose spec can't work or can't be read.")?,
            pods: gauge("gateway_pods", "Gateway pods.")?,
            connections: gauge("connections", "Live connections by the last reports.")?,
            draining: gauge("draining_pods", "Gateway pods that are being drained.")?,
        };
        registry.register(Box::new(reconciles.clone()))?;
        for counter in [&errors, &actions, &reports] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(watch_errors.clone()))?;
        let sums = [&totals.clusters, &totals.refused, &totals.pods, &totals.connections, &totals.draining];
        for gauge in sums.into_iter().chain([&leader]) {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(Self { registry, reconciles, errors, actions, reports, totals, leader, watch_errors })
    }

    /// A pass ended after `seconds`.
    pub fn reconciled(&self, seconds: f64, failure: Option<&Error>) {
        let outcome = failure.map_or("ok", |e| e.class().label());
        self.reconciles.with_label_values(&[outcome]).observe(seconds);
        if let Some(error) = failure {
            self.errors.with_label_values(&[error.class().label(), error.label()]).inc();
        }
    }

    /// An action was carried out.
    pub fn acted(&self, action: &'static str) {
        self.actions.with_label_values(&[action]).inc();
    }

    /// A gateway was asked for its report.
    pub fn reported(&self, answered: bool) {
        self.reports.with_label_values(&[if answered { "ok" } else { "error" }]).inc();
    }

    /// A list or a watch failed.
    pub fn watch_failed(&self) {
        self.watch_errors.inc();
    }

    /// This process leads, or no longer.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Everything in the Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn encode(&self, totals: &Totals) -> Result<Vec<u8>, prometheus::Error> {
        self.totals.clusters.set(totals.clusters.into());
        self.totals.refused.set(totals.refused.into());
        self.totals.pods.set(totals.pods.into());
        self.totals.connections.set(totals.connections.try_into().unwrap_or(i64::MAX));
        self.totals.draining.set(totals.draining.into());
        let mut families = self.registry.gather();
        if !totals.conditions.is_empty() {
            families.extend(conditions(&totals.conditions)?.collect());
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

/// Made anew at each scrape: what is said of a cluster goes with it. Labels of their own, since Prometheus's `namespace` is
/// the operator's.
fn conditions(conditions: &[ClusterCondition]) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(
        Opts::new("mooring_operator_cluster_condition", "1 while a condition of a WebSocketCluster is True."),
        &["cluster_namespace", "cluster_name", "condition"],
    )?;
    for ClusterCondition { namespace, name, condition, is_true } in conditions {
        gauges.with_label_values(&[namespace, name, condition]).set(i64::from(*is_true));
    }
    Ok(gauges)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(format!("mooring_operator_{name}"), help), labels)
}

fn gauge(name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(format!("mooring_operator_{name}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pass_is_counted_by_class_and_variant() {
        let metrics = Metrics::new().unwrap();
        metrics.reconciled(0.02, Some(&Error::NotLeading));
        let text = String::from_utf8(metrics.encode(&Totals::default()).unwrap()).unwrap();
        let line = r#"mooring_operator_reconcile_errors_total{class="transient",error="not_leading"} 1"#;
        assert!(text.lines().any(|l| l == line), "{text}");
    }

    #[test]
    fn the_totals_are_those_of_the_moment() {
        let metrics = Metrics::new().unwrap();
        let condition = |condition: &str, is_true| ClusterCondition {
            namespace: "demo".into(),
            name: "chat".into(),
            condition: condition.into(),
            is_true,
        };
        let conditions = vec![condition("Available", true), condition("Draining", false)];
        let totals = Totals { clusters: 2, refused: 1, pods: 3, connections: 4_000, draining: 1, conditions };
        let text = String::from_utf8(metrics.encode(&totals).unwrap()).unwrap();
        for line in [
            "clusters 2",
            "refused_clusters 1",
            "gateway_pods 3",
            "connections 4000",
            "draining_pods 1",
            "leader 0",
            r#"cluster_condition{cluster_name="chat",cluster_namespace="demo",condition="Available"} 1"#,
            r#"cluster_condition{cluster_name="chat",cluster_namespace="demo",condition="Draining"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == format!("mooring_operator_{line}")), "{line} in {text}");
        }
    }
}
