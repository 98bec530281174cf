//! Tests of the rule, with a number as the clock.

use super::*;

const SEC: i64 = 1000;
const MIN: i64 = 60 * SEC;
const HOUR: i64 = 60 * MIN;
/// The start of a minute, far from the epoch.
const START: i64 = 1_800_000_000_000 - 1_800_000_000_000 % MIN;

struct Bench {
    rule: Rule,
    prefix: Net,
    country: Net,
    now: i64,
}

impl Bench {
    fn new() -> Self {
        Self { rule: Rule::default(), prefix: Net::default(), country: Net::default(), now: START }
    }

    fn code_request(&mut self) -> Verdict {
        judge(
            &self.rule,
            &mut Nets { prefix: &mut self.prefix, country: &mut self.country },
            self.now,
        )
    }

    /// Requests codes until one is refused. Returns how many were admitted, and the wait.
    fn until_refused(&mut self, every_ms: i64) -> (u64, i64) {
        for admitted in 0..100_000 {
            if let Some(wait) = self.code_request().refused {
                return (admitted, wait);
            }
            self.now += every_ms;
        }
        panic!("never refused");
    }

    fn verify(&mut self) -> Vec<Change> {
        Nets { prefix: &mut self.prefix, country: &mut self.country }
            .verify(&self.rule, true, true, self.now)
    }
}

fn states(changes: &[Change]) -> Vec<(Kind, State, u32)> {
    changes.iter().map(|change| (change.kind, change.state, change.level)).collect()
}

#[test]
fn a_fast_attack_gets_the_set_figure_and_no_more() {
    let mut bench = Bench::new();
    let (admitted, wait) = bench.until_refused(1);
    assert_eq!(admitted, bench.rule.min_sends + bench.rule.doubt);
    assert_eq!(admitted, 70);
    // Blocked by the send that reached the figure, a millisecond before the refused request.
    assert_eq!(wait, 900 * SEC - 1);
}

#[test]
fn a_slow_attack_is_judged_by_its_old_sends() {
    let mut bench = Bench::new();
    // One a minute: three are young at any time, 20 must be old.
    assert_eq!(bench.until_refused(MIN).0, 22);
    let mut bench = Bench::new();
    // One every 150 s, 24 an hour: none is young when the next one comes.
    assert_eq!(bench.until_refused(150 * SEC).0, 20);
}

#[test]
fn fewer_sends_than_the_minimum_never_block_a_net() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        assert_eq!(bench.code_request().refused, None);
        bench.now += 200 * SEC; // 18 an hour
    }
}

#[test]
fn honest_traffic_is_never_refused() {
    for convert_one_in in [1, 2, 3, 9] {
        let mut bench = Bench::new();
        for n in 0..20_000_i64 {
            assert_eq!(bench.code_request().refused, None, "1 of {convert_one_in}, after {n}");
            if n % convert_one_in == 0 {
                bench.verify();
            }
            bench.now += 2 * SEC;
        }
    }
}

#[test]
fn a_crowd_that_verifies_late_lifts_its_block_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.until_refused(10).0, 70);
    bench.now += 40 * SEC;
    let changes: Vec<Change> = (0..2).flat_map(|_| bench.verify()).collect();
    assert_eq!(states(&changes), [(Kind::Prefix, State::Open, 0)], "2 of the 20 that are judged");
    assert_eq!(bench.code_request().refused, None);
}

#[test]
fn a_block_ends_in_probes_and_opens_when_they_convert() {
    let mut bench = Bench::new();
    let (_, wait) = bench.until_refused(1);
    bench.now += wait - 1;
    assert_eq!(bench.code_request().refused, Some(1), "the wait is exact");
    bench.now += 1;
    let first = bench.code_request();
    assert_eq!(
        (first.refused, states(&first.changes)),
        (None, vec![(Kind::Prefix, State::Probing, 1)])
    );
    assert_eq!(first.counted.unwrap().prefix, Mark::Probe);
    let (more, wait) = bench.until_refused(0);
    assert_eq!((more + 1, wait), (10, 180 * SEC), "ten probes, three minutes to convert");
    assert_eq!(states(&bench.verify()), []);
    assert_eq!(states(&bench.verify()), [(Kind::Prefix, State::Open, 1)], "two of ten");
    assert_eq!(bench.code_request().refused, None);
    assert_eq!(bench.prefix.counts(), (1, 0), "the counts behind the block are forgotten");
}

#[test]
fn probes_that_do_not_convert_block_for_longer_each_time() {
    let mut bench = Bench::new();
    let mut blocks = vec![bench.until_refused(1).1 + 1];
    let mut probes = Vec::new();
    for _ in 0..6 {
        bench.now += bench.code_request().refused.unwrap();
        let (admitted, grace) = bench.until_refused(0);
        probes.push(admitted);
        bench.now += grace;
        let verdict = bench.code_request();
        assert_eq!(states(&verdict.changes)[0].1, State::Blocked);
        blocks.push(verdict.refused.unwrap());
    }
    assert_eq!(probes, [10; 6]);
    assert_eq!(blocks, [900, 1800, 3600, 7200, 14400, 14400, 14400].map(|secs| secs * SEC));
}

#[test]
fn a_request_long_after_a_failed_probe_starts_the_next_probe() {
    let mut bench = Bench::new();
    let (_, wait) = bench.until_refused(1);
    bench.now += wait;
    let (_, grace) = bench.until_refused(0);
    bench.now += grace + 1800 * SEC;
    let verdict = bench.code_request();
    assert_eq!(
        (verdict.refused, states(&verdict.changes)),
        (None, vec![(Kind::Prefix, State::Probing, 2)])
    );
}

#[test]
fn a_day_after_its_last_block_a_net_starts_anew() {
    let mut bench = Bench::new();
    let (_, wait) = bench.until_refused(1);
    bench.now += wait + 24 * HOUR - 1;
    assert_eq!(states(&bench.code_request().changes), [(Kind::Prefix, State::Probing, 1)]);
    bench.now += 1;
    assert_eq!(states(&bench.code_request().changes), [(Kind::Prefix, State::Open, 0)]);
    assert!(!bench.prefix.is_over(&bench.rule, bench.now));
    assert!(bench.prefix.is_over(&bench.rule, bench.now + 24 * HOUR));
}

#[test]
fn verifications_from_an_hour_ago_have_no_effect() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.code_request();
        bench.verify();
    }
    bench.now += HOUR;
    assert_eq!(bench.until_refused(1).0, 70);
}

#[test]
fn proven_traffic_is_blocked_in_proportion_only() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        bench.code_request();
        bench.verify();
    }
    // A hundred verifications allow a thousand judged sends; one more falls below the threshold.
    assert_eq!(bench.until_refused(1).0, 1001 + 50 - 100);
}

#[test]
fn a_withdrawn_request_is_uncounted_and_lifts_the_block_it_caused() {
    let mut bench = Bench::new();
    let counted: Vec<Counted> = (0..70).map(|_| bench.code_request().counted.unwrap()).collect();
    assert!(bench.code_request().refused.is_some());
    let rule = bench.rule;
    let mut nets = Nets { prefix: &mut bench.prefix, country: &mut bench.country };
    assert_eq!(states(&nets.withdraw(&rule, counted[0], START)), [(Kind::Prefix, State::Open, 0)]);
    for one in &counted[1..] {
        nets.withdraw(&rule, *one, START + MIN);
    }
    assert_eq!((bench.prefix.counts(), bench.country.counts()), ((0, 0), (0, 0)));
    assert_eq!(bench.until_refused(1).0, 70);
}

#[test]
fn a_withdrawn_probe_may_be_sent_again() {
    let mut bench = Bench::new();
    let (_, wait) = bench.until_refused(1);
    bench.now += wait;
    let first = bench.code_request().counted.unwrap();
    assert_eq!(bench.until_refused(0).0, 9);
    let rule = bench.rule;
    Nets { prefix: &mut bench.prefix, country: &mut bench.country }
        .withdraw(&rule, first, bench.now);
    assert_eq!(bench.until_refused(0).0, 1);
}

#[test]
fn an_attack_over_many_prefixes_is_caught_by_the_country_and_good_prefixes_pass() {
    let rule = Rule::default();
    let (mut country, mut good, mut now) = (Net::default(), Net::default(), START);
    let mut spread: Vec<Net> = vec![Net::default(); 2000];
    let mut admitted = 0;
    for round in 0..30_000_usize {
        now += 100;
        let prefix = &mut spread[round % 2000];
        admitted += u64::from(
            judge(&rule, &mut Nets { prefix, country: &mut country }, now).refused.is_none(),
        );
        if round % 100 == 0 {
            let mut nets = Nets { prefix: &mut good, country: &mut country };
            let verdict = judge(&rule, &mut nets, now);
            assert_eq!(verdict.refused, None, "round {round}");
            nets.verify(&rule, true, verdict.counted.unwrap().country.is_some(), now);
        }
    }
    assert_ne!(country.state(), State::Open);
    // 700, plus what the good prefix's verifications allow; then ten probes.
    assert!((700..1000).contains(&admitted), "{admitted}");
}
