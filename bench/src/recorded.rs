//! What was measured before, for what computes with it.

use serde_json::Value;

const SCALING: &str = include_str!("../scaling.jsonl");

/// Texts a second of one sms-worker whose provider takes half a second, as `bench/scaling` recorded it.
pub fn slow_worker_rate() -> Option<f64> {
    let mut lines = SCALING.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_it = |one: &Value| {
        one["kind"] == "sms-worker" && one["provider_ms"] == 500 && one["workers"] == 1
    };
    lines.find(is_it)?["rate"].as_f64()
}
