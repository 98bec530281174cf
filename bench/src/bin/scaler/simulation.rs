//! A load, the pods, and the rule that scales them, in simulated time: no chance, no clock.

use crate::rule::{Rule, Seen, Settings, whole};
use crate::workers::{STEP_SECS, Worker, Workers};

/// A text that is sent so long after its request is late: by then users request another.
pub const LATE_SECS: f64 = 10.0;

/// What is not ours to set.
#[expect(clippy::struct_field_names, reason = "units belong into names")]
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// How often the rule looks: `--horizontal-pod-autoscaler-sync-period`. KEDA's `pollingInterval` does not matter
    /// here: it is for the step from none to one pod, and the rule asks for a new value each time.
    pub sync_secs: f64,
    /// From the decision until a new pod is ready: to be placed, started and probed, with the image on the node.
    pub pod_start_secs: f64,
    /// How old a value is: a worker looks at its queue once a second.
    pub value_age_secs: f64,
}

pub const CLUSTER: Cluster = Cluster { sync_secs: 15.0, pod_start_secs: 20.0, value_age_secs: 1.0 };

/// What happens.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seconds and jobs a second, straight lines between them.
    pub load: Vec<(f64, f64)>,
    /// From when to when every provider's circuit is open.
    pub circuit_open: Option<(f64, f64)>,
}

/// One second of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub secs: f64,
    pub load: f64,
    pub pods: u32,
    pub ready: u32,
    pub oldest_secs: f64,
    /// Jobs that no pod has taken.
    pub length: f64,
    /// Jobs that the pods have in hand.
    pub in_hand: f64,
}

pub struct Outcome {
    pub moments: Vec<Moment>,
    pub done: f64,
    /// Jobs that were done late.
    pub late: f64,
    /// Seconds in which the oldest job that waited was late, with its call.
    pub late_secs: u32,
}

impl Scenario {
    /// A load that rises tenfold in a minute, stays for half an hour, and falls again.
    pub fn rush(from: f64) -> Self {
        let to = from * 10.0;
        let load = [
            (0.0, from),
            (300.0, from),
            (360.0, to),
            (2_160.0, to),
            (2_220.0, from),
            (3_120.0, from),
        ];
        Self { load: load.to_vec(), circuit_open: None }
    }

    /// The same load for an hour.
    pub fn steady(rate: f64) -> Self {
        Self { load: vec![(0.0, rate), (3_600.0, rate)], circuit_open: None }
    }

    fn length_secs(&self) -> f64 {
        self.load.last().map_or(0.0, |(secs, _)| *secs)
    }

    fn rate(&self, at_secs: f64) -> f64 {
        let pairs = self.load.windows(2).find(|pair| at_secs < pair[1].0);
        let Some(&[(from_secs, from), (to_secs, to)]) = pairs else {
            return self.load.last().map_or(0.0, |(_, rate)| *rate);
        };
        from + (to - from) * ((at_secs - from_secs) / (to_secs - from_secs)).clamp(0.0, 1.0)
    }

    fn is_open(&self, at_secs: f64) -> bool {
        self.circuit_open.is_some_and(|(from, to)| (from..to).contains(&at_secs))
    }
}

/// Runs a scenario to its end.
pub fn simulate(
    scenario: &Scenario,
    worker: Worker,
    cluster: Cluster,
    settings: &Settings,
) -> Outcome {
    // It begins with as many as the first load needs.
    let needed = whole((scenario.rate(0.0) / worker.rate).ceil());
    let (mut rule, mut pods) = (Rule::new(settings), needed.clamp(settings.least, settings.most));
    let mut workers = Workers::new(worker, pods, cluster.pod_start_secs);
    let mut moments: Vec<Moment> = Vec::new();
    let mut late_secs = 0;
    let mut next_sync_secs = cluster.sync_secs;
    for step in 0_u32.. {
        let now = f64::from(step) * STEP_SECS;
        if now >= scenario.length_secs() {
            break;
        }
        let load = scenario.rate(now);
        workers.step(now, load * STEP_SECS, scenario.is_open(now), LATE_SECS);
        if step % 10 == 0 {
            let (ready, oldest_secs) = (workers.ready(now), workers.oldest_secs(now));
            late_secs += u32::from(oldest_secs + worker.call_secs > LATE_SECS);
            let (length, in_hand) = workers.length_and_in_hand(now);
            moments.push(Moment { secs: now, load, pods, ready, oldest_secs, length, in_hand });
        }
        if now >= next_sync_secs {
            next_sync_secs += cluster.sync_secs;
            let known = moments.iter().rev().find(|one| one.secs <= now - cluster.value_age_secs);
            if let Some(&Moment { oldest_secs, length, in_hand, .. }) = known {
                let ready = workers.ready(now);
                pods = rule.decide(now, &Seen { pods, ready, oldest_secs, length, in_hand });
                workers.scale(now, pods);
            }
        }
    }
    let (done, late) = (workers.done, workers.late);
    Outcome { moments, done, late, late_secs }
}

impl Outcome {
    pub fn most_pods(&self) -> u32 {
        self.moments.iter().map(|moment| moment.pods).max().unwrap_or(0)
    }

    pub fn oldest_secs(&self) -> f64 {
        self.moments.iter().map(|moment| moment.oldest_secs).fold(0.0, f64::max)
    }

    /// Pods times hours.
    pub fn pod_hours(&self) -> f64 {
        self.moments.iter().map(|moment| f64::from(moment.pods)).sum::<f64>() / 3_600.0
    }

    /// How often the number of pods changed its direction between these seconds: it flaps if it does so under a load
    /// that does not change.
    pub fn turns(&self, from_secs: f64, to_secs: f64) -> usize {
        let within = |moment: &&Moment| (from_secs..to_secs).contains(&moment.secs);
        let pods: Vec<u32> = self.moments.iter().filter(within).map(|moment| moment.pods).collect();
        let steps = pods.windows(2).map(|pair| pair[1].cmp(&pair[0]));
        let steps: Vec<_> = steps.filter(|order| order.is_ne()).collect();
        steps.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::settings;

    const WORKER: Worker =
        Worker { rate: 128.0, call_secs: 0.5, first_calls: 16.0, prefetch: 128.0 };

    fn run(scenario: &Scenario) -> Outcome {
        simulate(scenario, WORKER, CLUSTER, &settings())
    }

    #[test]
    fn without_a_load_there_are_two_pods() {
        let outcome = run(&Scenario::steady(0.0));
        assert!(outcome.moments.iter().all(|moment| moment.pods == 2));
        assert!(outcome.late.abs() < f64::EPSILON && outcome.done.abs() < f64::EPSILON);
    }

    #[test]
    fn a_load_beyond_the_maximum_stays_at_the_maximum() {
        let outcome = run(&Scenario::steady(5_000.0));
        assert_eq!(outcome.most_pods(), 20);
        assert!(
            outcome.moments.iter().filter(|moment| moment.secs > 120.0).all(|one| one.pods == 20)
        );
        assert!(outcome.late > 0.0 && outcome.oldest_secs() > 600.0);
    }

    #[test]
    fn an_open_circuit_starts_no_pod_while_it_is_open() {
        let scenario = Scenario { circuit_open: Some((600.0, 1_200.0)), ..Scenario::steady(150.0) };
        let outcome = run(&scenario);
        let open = outcome.moments.iter().filter(|one| (600.0..1_200.0).contains(&one.secs));
        assert!(open.clone().all(|moment| moment.pods == 2), "{:?}", open.collect::<Vec<_>>());
        let all: f64 = outcome.moments.iter().map(|moment| moment.load).sum();
        assert!((outcome.done - all).abs() < 200.0, "all are done afterwards: {}", outcome.done);
    }

    #[test]
    fn the_same_load_does_not_make_the_number_of_pods_swing() {
        for rate in [100.0, 300.0, 700.0, 1_000.0, 1_700.0] {
            let outcome = run(&Scenario::steady(rate));
            assert_eq!(outcome.turns(900.0, 3_600.0), 0, "{rate} a second");
        }
    }

    #[test]
    fn age_alone_makes_it_swing() {
        let by_age = Settings { length: None, in_hand: None, ..settings() };
        let outcome = simulate(&Scenario::steady(1_000.0), WORKER, CLUSTER, &by_age);
        assert!(outcome.turns(900.0, 3_600.0) > 2, "{}", outcome.turns(900.0, 3_600.0));
    }
}
