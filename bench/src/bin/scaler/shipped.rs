//! What the product says: the `ScaledObject` of sms-worker, and what a worker takes at once.

use crate::rule::{Policy, Settings};

/// The manifest itself, so that what is simulated is what is shipped.
const MANIFEST: &str = include_str!("../../../../deploy/k8s/components/keda/sms-worker.yaml");

/// How many calls of a provider a worker begins with: `START` of its limiter (contract, section 8).
pub const FIRST_CALLS: f64 = 16.0;

/// How many messages a worker takes at once: twice its 64 handlers (`common/bus/src/consumer`).
pub const PREFETCH: f64 = 128.0;

/// The settings of the `ScaledObject`.
pub fn settings() -> Settings {
    let up = after("scaleUp:", MANIFEST);
    let down = after("scaleDown:", MANIFEST);
    let policy = |text| Policy {
        value: figure("value:", text),
        period_secs: figure("periodSeconds:", text),
    };
    Settings {
        least: count("minReplicaCount:"),
        most: count("maxReplicaCount:"),
        oldest_secs: Some(figure("targetValue:", after("oldest_seconds", MANIFEST))),
        length: Some(figure("value:", after("QueueLength", MANIFEST))),
        in_hand: Some(figure("targetValue:", after("messages_in_hand", MANIFEST))),
        up: policy(up),
        down: policy(down),
        down_after_secs: figure("stabilizationWindowSeconds:", down),
    }
}

fn after<'a>(mark: &str, text: &'a str) -> &'a str {
    text.split_once(mark).map_or("", |(_, rest)| rest)
}

/// The number behind a key; not a number if there is none.
fn figure(key: &str, text: &str) -> f64 {
    let rest = after(key, text).trim_start_matches([' ', '"']);
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().unwrap_or(f64::NAN)
}

fn count(key: &str) -> u32 {
    let rest = after(key, MANIFEST).trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bench::recorded::slow_worker_rate;

    use super::*;

    #[test]
    fn every_setting_of_the_manifest_is_found() {
        let shipped = settings();
        assert!(shipped.least >= 2 && shipped.most > shipped.least, "{shipped:?}");
        let figures = [
            shipped.oldest_secs,
            shipped.length,
            shipped.in_hand,
            Some(shipped.up.value),
            Some(shipped.up.period_secs),
            Some(shipped.down.value),
            Some(shipped.down.period_secs),
            Some(shipped.down_after_secs),
        ];
        assert!(figures.iter().all(|one| one.is_some_and(|one| one > 0.0)), "{shipped:?}");
        assert!(slow_worker_rate().is_some_and(|rate| rate > 10.0));
    }
}
