//! Every metric of every service (contract, section 11): its name, its labels, and the values that each label can have.
//! `docs/operations.md` describes them one by one; a test holds the page, the alerts and the dashboards to this list.

use bus::Queue;
use bus::consumer::{EVENT_TYPES, OTHER_TYPE};
use config::ProviderName;
use domain::vocabulary::{Limit, PumpingGuard};

/// The outcomes of a code request; the labels of `latchkey_otp_requests_total`.
pub const OTP_REQUEST_OUTCOMES: [&str; 5] =
    ["accepted", "exhausted", "unavailable", "unpublished", "expired_unsent"];

/// The outcomes of a code check; the labels of `latchkey_otp_verifications_total`.
pub const OTP_VERIFICATION_OUTCOMES: [&str; 8] =
    ["right", "wrong", "exhausted", "waiting", "blocked", "used", "foreign", "not_staff"];

/// The outcomes of a refresh; the labels of `latchkey_refresh_total`.
pub const REFRESH_OUTCOMES: [&str; 5] = ["rotated", "repeated", "reused", "ended", "unproven"];

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// The word of the Prometheus text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The values that a label can have. There are always few: each is a time series.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These words.
    Words(fn() -> Vec<&'static str>),
    /// A region of the numbering plans (ISO 3166), `ZZ` for a test number outside all of them, or `other`.
    Country,
    /// The pattern of a route of ours, such as `/v1/otp/{request_id}`, or `unmatched`.
    Route,
    /// The status of an HTTP answer, such as `200`.
    HttpStatus,
    /// The version of the program.
    Version,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [(&'static str, Values)],
    /// The line `# HELP` at `/metrics`.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [(&'static str, Values)],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

const PROVIDER: (&str, Values) = ("provider", Values::Words(providers));
const QUEUE: (&str, Values) = ("queue", Values::Words(|| Queue::ALL.map(Queue::as_str).to_vec()));
const LIMIT: (&str, Values) = ("limit", Values::Words(|| Limit::ALL.map(Limit::as_str).to_vec()));
const COUNTRY: (&str, Values) = ("country", Values::Country);

/// The providers of the settings, and none: of a message that no provider took.
fn providers() -> Vec<&'static str> {
    ProviderName::ALL.map(ProviderName::as_str).into_iter().chain(["none"]).collect()
}

fn event_types() -> Vec<&'static str> {
    EVENT_TYPES.into_iter().chain([OTHER_TYPE]).collect()
}

/// The metrics. A process also describes those that it has no values for, so that any ops port lists all that an operator
/// can watch.
#[rustfmt::skip]
pub const METRICS: [Metric; 44] = {
    use Kind::{Counter, Gauge, Histogram};
    use Values::Words;
    [
        metric("latchkey_build_info", Gauge, &[("version", Values::Version), ("service", Words(|| vec!["all-in-one", "gateway", "otp-worker", "sms-worker"]))], "Always 1; its labels say what runs"),
        metric("latchkey_http_request_seconds", Histogram, &[("method", Words(|| vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OTHER"])), ("route", Values::Route), ("status", Values::HttpStatus)], "Time to answer a request"),
        metric("latchkey_otp_requests_total", Counter, &[("outcome", Words(|| OTP_REQUEST_OUTCOMES.to_vec()))], "Code requests, by outcome"),
        metric("latchkey_test_number_requests_total", Counter, &[], "Accepted code requests for test numbers"),
        metric("latchkey_codes_requested_total", Counter, &[COUNTRY], "Accepted code requests, without those for test numbers"),
        metric("latchkey_codes_verified_total", Counter, &[COUNTRY], "Codes that were used, without those of test numbers"),
        metric("latchkey_request_to_verified_seconds", Histogram, &[], "Time from the first request for a code until it is used"),
        metric("latchkey_otp_verifications_total", Counter, &[("outcome", Words(|| OTP_VERIFICATION_OUTCOMES.to_vec()))], "Code checks, by outcome"),
        metric("latchkey_attempts_refused_total", Counter, &[("kind", Words(|| vec!["code", "password"])), ("outcome", Words(|| vec!["wrong", "exhausted", "waiting", "address", "key_reused", "blocked"]))], "Refused attempts at codes and passwords, by kind and outcome"),
        metric("latchkey_attempts_suspicious_total", Counter, &[], "Windows of ten minutes in which attempts failed at suspiciously many phones"),
        metric("latchkey_refresh_total", Counter, &[("outcome", Words(|| REFRESH_OUTCOMES.to_vec()))], "Refreshes of tokens, by outcome"),
        metric("latchkey_signing_key_age_seconds", Gauge, &[], "Age of the key that signs access tokens, by the time of its file"),
        metric("latchkey_sms_total", Counter, &[PROVIDER, ("status", Words(|| vec!["sent", "delivered", "undelivered", "failed", "expired"])), COUNTRY], "Attempts to send a message, by provider, status and country"),
        metric("latchkey_segments_total", Counter, &[PROVIDER, COUNTRY], "Segments of the sent messages, where the provider tells them: what it bills"),
        metric("latchkey_request_to_sent_seconds", Histogram, &[], "Time from an accepted code request until the provider takes its message"),
        metric("latchkey_sent_to_delivered_seconds", Histogram, &[PROVIDER], "Time from a provider's answer to its receipt that the message is delivered"),
        metric("latchkey_provider_open", Gauge, &[PROVIDER], "1 while a provider is not used because it fails or refuses us, else 0"),
        metric("latchkey_conversion_ratio", Gauge, &[COUNTRY], "Share of a country's codes that were used"),
        metric("latchkey_guard_blocks_total", Counter, &[("mode", Words(|| PumpingGuard::ALL.map(PumpingGuard::as_str).to_vec()))], "Times the pumping guard blocked a prefix or a country, or would have, by mode"),
        metric("latchkey_guard_blocked_nets", Gauge, &[COUNTRY], "Prefixes of a country, and the country itself, that the pumping guard blocks now, or would"),
        metric("latchkey_guard_would_refuse_total", Counter, &[], "Code requests that the pumping guard in record mode admitted and would have refused"),
        metric("latchkey_limited_total", Counter, &[LIMIT], "Requests refused, by limit"),
        metric("latchkey_limit_value", Gauge, &[LIMIT], "The limits in effect; 0: off"),
        metric("latchkey_distinct_client_addresses", Gauge, &[], "Client addresses of the code requests of the last five to ten minutes, 2,000 at most"),
        metric("latchkey_connections_refused_total", Counter, &[], "Connections refused because their address holds as many as it may"),
        metric("latchkey_event_streams_refused_total", Counter, &[], "Event streams refused because their request, address or process has as many as it may"),
        metric("latchkey_bodies_refused_total", Counter, &[], "Requests refused because their address or process waits for as many bodies as it may"),
        metric("latchkey_requests_shed_total", Counter, &[("priority", Words(|| vec!["high", "normal", "low"]))], "Requests refused because they, or the codes that they request, could not be answered in time, by priority"),
        metric("latchkey_requests_limit", Gauge, &[], "The most requests that may be in hand; it follows the time that answers take"),
        metric("latchkey_code_requests_limit", Gauge, &[], "The most code requests that this gateway accepts, a second; 0: any number"),
        metric("latchkey_requests_in_hand", Gauge, &[], "Requests that are worked on at this moment"),
        metric("latchkey_breached_passwords_total", Counter, &[("outcome", Words(|| vec!["found", "not_found", "unavailable"]))], "New passwords looked up at the service of breached ones, by outcome"),
        metric("latchkey_hash_wait_seconds", Histogram, &[], "Time that a password waits until its hash begins, or is refused"),
        metric("latchkey_admin_refused_total", Counter, &[("reason", Words(|| vec!["key", "role", "browser"]))], "Calls of the admin API refused for their key, their role or because a browser made them, by reason"),
        metric("latchkey_consumer_up", Gauge, &[QUEUE], "1 while a worker takes messages of its queue, else 0"),
        metric("latchkey_queue_oldest_seconds", Gauge, &[QUEUE], "Age of the oldest message that a worker has in hand or has postponed, by event time"),
        metric("latchkey_own_queue_oldest_seconds", Gauge, &[], "Age of the oldest message that waits for a free handler of this process; 0 while more workers would not help"),
        metric("latchkey_own_messages_in_hand", Gauge, &[], "Messages in this process's hands; 0 while more workers would not help"),
        metric("latchkey_event_lag_seconds", Histogram, &[("type", Words(event_types))], "Time from an event to its first delivery to a worker"),
        metric("latchkey_dead_letters", Gauge, &[QUEUE], "Messages in the dead-letter queue"),
        metric("latchkey_outbox_oldest_seconds", Gauge, &[], "Age of the first event that the broker does not have yet"),
        metric("latchkey_engine_seconds", Histogram, &[("engine", Words(|| vec!["postgresql", "redis", "rabbitmq"])), ("operation", Words(|| vec!["sign_in", "refresh", "begin_attempts", "finish_attempts", "other", "command", "publish"]))], "Time that an engine takes for an operation, with the wait for a connection"),
        metric("latchkey_db_pool", Gauge, &[("state", Words(|| vec!["in_use", "idle", "most"]))], "Connections of this process to PostgreSQL, and the most that it may open"),
        metric("latchkey_clock_skew_seconds", Gauge, &[], "How far this host's clock is ahead of the database's"),
    ]
};
