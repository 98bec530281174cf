//! The metrics of contract section 11, in Prometheus format.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use domain::vocabulary::{Limit, PumpingGuard};

use super::catalogue::{
    Kind, METRICS, Metric, OTP_REQUEST_OUTCOMES, OTP_VERIFICATION_OUTCOMES, REFRESH_OUTCOMES,
};

/// Buckets in seconds for response and delivery times: 1 ms to 30 s, including the 2.5 s of P1.
const LATENCY_SECS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Buckets in seconds for work that may wait through an outage: up to the longest lifetime of a code.
const WAIT_SECS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// The histograms of such work.
const WAITS: [&str; 4] = [
    "latchkey_event_lag_seconds",
    "latchkey_request_to_sent_seconds",
    "latchkey_request_to_verified_seconds",
    "latchkey_sent_to_delivered_seconds",
];
const FULL: &str = "the buckets are not empty";

/// Renders the metrics recorded in this process. Cheap to clone.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

impl MetricsHandle {
    /// Renders the Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        text.push_str(&described_only(&text));
        text
    }

    /// Folds recorded samples into their histograms every 5 s, forever. Without it they pile up between scrapes.
    pub async fn upkeep(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

/// Installs the process's recorder; every call returns a handle to the same one. Counters whose labels are known in
/// advance start at 0, so that a rate sees the first event as an increase.
///
/// # Panics
/// When another crate installed its own recorder: our metrics would then be lost.
pub fn metrics() -> MetricsHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let handle =
            builder().install_recorder().expect("no other recorder is installed in this process");
        describe();
        show_at_zero();
        handle
    });
    MetricsHandle(handle.clone())
}

fn builder() -> PrometheusBuilder {
    let usual = PrometheusBuilder::new().set_buckets(&LATENCY_SECS);
    WAITS
        .into_iter()
        .try_fold(usual.expect(FULL), |builder, name| {
            builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &WAIT_SECS)
        })
        .expect(FULL)
}

fn describe() {
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            Kind::Histogram => describe_histogram!(name, help),
            Kind::Gauge => describe_gauge!(name, help),
            Kind::Counter => describe_counter!(name, help),
        }
    }
}

/// The descriptions of the metrics without values in this process.
fn described_only(rendered: &str) -> String {
    let mut text = String::new();
    for Metric { name, kind, help, .. } in METRICS {
        if !rendered.contains(&format!("# TYPE {name} ")) {
            for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind.as_str(), "\n\n"]
            {
                text.push_str(part);
            }
        }
    }
    text
}

fn show_at_zero() {
    for outcome in OTP_REQUEST_OUTCOMES {
        counter!("latchkey_otp_requests_total", "outcome" => outcome).increment(0);
    }
    for outcome in OTP_VERIFICATION_OUTCOMES {
        counter!("latchkey_otp_verifications_total", "outcome" => outcome).increment(0);
    }
    for outcome in REFRESH_OUTCOMES {
        counter!("latchkey_refresh_total", "outcome" => outcome).increment(0);
    }
    counter!("latchkey_test_number_requests_total").increment(0);
    counter!("latchkey_guard_would_refuse_total").increment(0);
    counter!("latchkey_attempts_suspicious_total").increment(0);
    for mode in [PumpingGuard::Record, PumpingGuard::Enforce] {
        counter!("latchkey_guard_blocks_total", "mode" => mode.as_str()).increment(0);
    }
    for limit in Limit::ALL {
        counter!("latchkey_limited_total", "limit" => limit.as_str()).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_counters_exist_before_their_first_event_and_latencies_fall_into_buckets() {
        let handle = metrics();
        metrics::histogram!("latchkey_http_request_seconds", "route" => "/test").record(0.003);
        let text = metrics().render();
        for line in [
            "latchkey_otp_requests_total{outcome=\"accepted\"} ",
            "latchkey_otp_verifications_total{outcome=\"wrong\"} ",
            "latchkey_limited_total{limit=\"phone_hour\"} ",
            "latchkey_guard_blocks_total{mode=\"enforce\"} ",
            "# HELP latchkey_guard_blocks_total ",
            "# HELP latchkey_guard_would_refuse_total ",
            "# TYPE latchkey_http_request_seconds histogram",
            "latchkey_http_request_seconds_bucket{route=\"/test\",le=\"0.0025\"} 0",
            "latchkey_http_request_seconds_bucket{route=\"/test\",le=\"0.005\"} 1",
            "# HELP latchkey_http_request_seconds ",
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
        for Metric { name, kind, .. } in METRICS {
            let line = format!("# TYPE {name} {}\n", kind.as_str());
            assert_eq!(text.matches(&line).count(), 1, "{name}:\n{text}");
        }
        assert!(
            handle.render().contains("{route=\"/test\",le=\"0.005\"} 1"),
            "both handles show the same recorder"
        );
    }
}
