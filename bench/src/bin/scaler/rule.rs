//! The rule by which Kubernetes' `HorizontalPodAutoscaler` sets the number of pods, as KEDA sets it up from a `ScaledObject`.
//!
//! Source: `pkg/controller/podautoscaler` of Kubernetes. A trigger of `metricType: Value` multiplies the pods that are
//! ready by value / target; one of `AverageValue` divides the sum by the target. Within a tenth of the target nothing
//! changes. The largest counts, then come the stabilization and the policies.

/// By how much a value may miss its target without a change: `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// What a `ScaledObject` sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub least: u32,
    pub most: u32,
    /// The age of the oldest waiting message in seconds; `None`: no such trigger.
    pub oldest_secs: Option<f64>,
    /// Messages for each pod that no pod has taken: over AMQP, KEDA counts only these.
    pub length: Option<f64>,
    /// Messages for each pod that the pods have in hand.
    pub in_hand: Option<f64>,
    /// At most so many percent more pods in so many seconds.
    pub up: Policy,
    /// At most so many pods fewer in so many seconds.
    pub down: Policy,
    /// The largest recommendation of so many seconds bounds a decrease.
    pub down_after_secs: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    pub value: f64,
    pub period_secs: f64,
}

/// What the rule looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Pods that are wanted now, those that start included.
    pub pods: u32,
    pub ready: u32,
    pub oldest_secs: f64,
    /// Messages that no pod has taken.
    pub length: f64,
    /// Messages that all pods have in hand.
    pub in_hand: f64,
}

/// The rule and what it remembers.
pub struct Rule<'a> {
    settings: &'a Settings,
    /// Unlimited recommendations of the past, and when they were made.
    recommended: Vec<(f64, u32)>,
    /// By how much the number of pods was changed, and when.
    changed: Vec<(f64, f64)>,
}

impl<'a> Rule<'a> {
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings, recommended: Vec::new(), changed: Vec::new() }
    }

    /// The number of pods from now on.
    pub fn decide(&mut self, now_secs: f64, seen: &Seen) -> u32 {
        let settings = self.settings;
        let wanted = recommend(settings, seen).clamp(settings.least, settings.most);
        self.recommended.push((now_secs, wanted));
        let window = now_secs - settings.down_after_secs;
        self.recommended.retain(|(at, _)| *at >= window);
        let largest = self.recommended.iter().map(|(_, pods)| *pods).max().unwrap_or(wanted);
        // Increases are not stabilized.
        let wanted = if wanted < seen.pods { largest.min(seen.pods) } else { wanted };
        let pods = f64::from(seen.pods);
        let allowed = if wanted > seen.pods {
            let before = pods - self.changes(now_secs, settings.up.period_secs, 1.0);
            let most = (before * (1.0 + settings.up.value / 100.0)).ceil();
            wanted.min(whole(most).max(seen.pods))
        } else {
            let before = pods + self.changes(now_secs, settings.down.period_secs, -1.0);
            let least = (before - settings.down.value).max(0.0);
            wanted.max(whole(least).min(seen.pods))
        };
        if allowed != seen.pods {
            self.changed.push((now_secs, f64::from(allowed) - pods));
        }
        allowed
    }

    /// The sum of the changes of a period in one direction.
    fn changes(&self, now_secs: f64, period_secs: f64, sign: f64) -> f64 {
        let recent = self.changed.iter().filter(|(at, _)| *at > now_secs - period_secs);
        recent.map(|(_, change)| (change * sign).max(0.0)).sum()
    }
}

/// The largest recommendation of the triggers.
fn recommend(settings: &Settings, seen: &Seen) -> u32 {
    let by_age = settings.oldest_secs.map(|target| {
        let ratio = seen.oldest_secs / target;
        if is_near(ratio) { seen.pods } else { whole((ratio * f64::from(seen.ready)).ceil()) }
    });
    let divided = [(settings.length, seen.length), (settings.in_hand, seen.in_hand)];
    let divided = divided.into_iter().filter_map(|(target, sum)| Some((target?, sum)));
    let divided = divided.map(|(target, sum)| {
        let ratio = sum / (target * f64::from(seen.pods));
        if is_near(ratio) { seen.pods } else { whole((sum / target).ceil()) }
    });
    by_age.into_iter().chain(divided).max().unwrap_or(seen.pods)
}

fn is_near(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE
}

/// A number of pods.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number that is not negative"
)]
pub fn whole(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn settings() -> Settings {
        Settings {
            least: 2,
            most: 20,
            oldest_secs: Some(2.0),
            length: Some(200.0),
            in_hand: Some(40.0),
            up: Policy { value: 300.0, period_secs: 15.0 },
            down: Policy { value: 1.0, period_secs: 60.0 },
            down_after_secs: 300.0,
        }
    }

    #[test]
    fn the_age_multiplies_the_pods_that_are_ready_and_the_sums_are_divided_by_their_targets() {
        let seen = Seen { pods: 4, ready: 2, oldest_secs: 6.0, length: 900.0, in_hand: 100.0 };
        assert_eq!(recommend(&settings(), &seen), 6, "3 times 2 ready pods");
        let young = Seen { oldest_secs: 0.0, ..seen };
        assert_eq!(recommend(&settings(), &young), 5, "900 by 200");
        assert_eq!(recommend(&settings(), &Seen { length: 0.0, ..young }), 3, "100 by 40");
        let near = Seen { oldest_secs: 2.1, length: 0.0, in_hand: 0.0, ..seen };
        assert_eq!(recommend(&settings(), &near), 4, "within a tenth nothing changes");
    }

    #[test]
    fn pods_quadruple_in_a_period_at_most_and_leave_one_by_one_after_the_stabilization() {
        let settings = settings();
        let mut rule = Rule::new(&settings);
        let seen =
            |pods, oldest_secs| Seen { pods, ready: pods, oldest_secs, length: 0.0, in_hand: 0.0 };
        assert_eq!(rule.decide(0.0, &seen(2, 100.0)), 8);
        assert_eq!(
            rule.decide(5.0, &seen(8, 100.0)),
            8,
            "four times as many in this period already"
        );
        assert_eq!(rule.decide(15.0, &seen(8, 100.0)), 20, "the maximum");
        assert_eq!(rule.decide(300.0, &seen(20, 0.0)), 20, "more were wanted five minutes ago");
        assert_eq!(rule.decide(316.0, &seen(20, 0.0)), 19);
        assert_eq!(rule.decide(330.0, &seen(19, 0.0)), 19, "one a minute");
        assert_eq!(rule.decide(376.0, &seen(19, 0.0)), 18);
    }
}
