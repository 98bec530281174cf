//! The metrics of contract section 11, in Prometheus format.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use domain::vocabulary::{Limit, PumpingGuard};

/// Buckets in seconds for response and delivery times: 1 ms to 30 s, including the 2.5 s of P1.
const LATENCY_SECS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Buckets in seconds for work that may wait through an outage: up to the longest lifetime of a code.
const WAIT_SECS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// The outcomes of a code request; the labels of `latchkey_otp_requests_total`.
pub const OTP_REQUEST_OUTCOMES: [&str; 5] =
    ["accepted", "exhausted", "unavailable", "unpublished", "expired_unsent"];

/// The outcomes of a code check; the labels of `latchkey_otp_verifications_total`.
pub const OTP_VERIFICATION_OUTCOMES: [&str; 6] =
    ["right", "wrong", "exhausted", "waiting", "blocked", "used"];

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
    let name = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets(&LATENCY_SECS)
        .and_then(|b| b.set_buckets_for_metric(name("latchkey_event_lag_seconds"), &WAIT_SECS))
        .and_then(|b| {
            b.set_buckets_for_metric(name("latchkey_request_to_sent_seconds"), &WAIT_SECS)
        })
        .expect("the buckets are not empty")
}

/// A metric: its name, its Prometheus type and its help text.
type Metric = (&'static str, &'static str, &'static str);

/// Every metric of every service (contract, section 11). A process also describes those that it has no values for, so
/// that any ops port lists all that an operator can watch.
#[rustfmt::skip]
const METRICS: [Metric; 19] = [
    ("latchkey_http_request_seconds", "histogram", "Time to answer a request"),
    ("latchkey_otp_requests_total", "counter", "Code requests, by outcome"),
    ("latchkey_otp_verifications_total", "counter", "Code checks, by outcome"),
    ("latchkey_attempts_refused_total", "counter", "Refused attempts at codes and passwords, by kind and outcome"),
    ("latchkey_sms_total", "counter", "Attempts to send a message, by provider, status and country"),
    ("latchkey_request_to_sent_seconds", "histogram", "Time from an accepted code request until the provider takes its message"),
    ("latchkey_provider_open", "gauge", "1 while a provider is not used because it fails or refuses us, else 0"),
    ("latchkey_conversion_ratio", "gauge", "Share of a country's codes that were used"),
    ("latchkey_guard_blocks_total", "counter", "Times the pumping guard blocked a prefix or a country, or would have, by mode"),
    ("latchkey_guard_would_refuse_total", "counter", "Code requests that the pumping guard in record mode admitted and would have refused"),
    ("latchkey_attempts_suspicious_total", "counter", "Windows of ten minutes in which attempts failed at suspiciously many phones"),
    ("latchkey_connections_refused_total", "counter", "Connections refused because their address holds as many as it may"),
    ("latchkey_event_streams_refused_total", "counter", "Event streams refused because their request, address or process has as many as it may"),
    ("latchkey_bodies_refused_total", "counter", "Requests refused because their address or process waits for as many bodies as it may"),
    ("latchkey_limited_total", "counter", "Requests refused, by limit"),
    ("latchkey_breached_passwords_total", "counter", "New passwords looked up at the service of breached ones, by outcome"),
    ("latchkey_queue_oldest_seconds", "gauge", "Age of the oldest message that a worker has in hand or has postponed, by event time"),
    ("latchkey_event_lag_seconds", "histogram", "Time from an event to its first delivery to a worker"),
    ("latchkey_dead_letters", "gauge", "Messages in the dead-letter queue"),
];

fn describe() {
    for (name, kind, help) in METRICS {
        match kind {
            "histogram" => describe_histogram!(name, help),
            "gauge" => describe_gauge!(name, help),
            _ => describe_counter!(name, help),
        }
    }
}

/// The descriptions of the metrics without values in this process.
fn described_only(rendered: &str) -> String {
    let mut text = String::new();
    for (name, kind, help) in METRICS {
        if !rendered.contains(&format!("# TYPE {name} ")) {
            for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n\n"] {
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
        for (name, kind, _) in METRICS {
            let line = format!("# TYPE {name} {kind}\n");
            assert_eq!(text.matches(&line).count(), 1, "{name}:\n{text}");
        }
        assert!(
            handle.render().contains("{route=\"/test\",le=\"0.005\"} 1"),
            "both handles show the same recorder"
        );
    }
}
