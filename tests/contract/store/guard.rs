//! The contract of the pumping guard in the store: each test runs in memory and on a private Redis (P13).

use std::collections::BTreeMap;
use std::time::Duration;

use domain::clock::Clock;
use domain::ids::{CodeId, RequestId, UserId};
use domain::keys::{Keys, PhoneKey};
use domain::limits::Limits;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, PumpingGuard};
use guard::{Destination, Finding, Kind, Replay, Report, Rule, State, Tally};
use proptest::prelude::*;
use secrecy::SecretString;
use sql::Pool;
use store::{AddressLimit, Admission, Admit, Answered, Closing, Idempotency, Scope, Store};
use testkit::engines::Engines;

const MINUTE: u64 = 60;

/// Runs each test on both stores.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(
                #[tokio::test]
                async fn $name() {
                    Box::pin(super::$name(super::GuardFixture::memory())).await;
                }
            )+
        }
        mod redis_on_the_engines {
            $(
                #[tokio::test]
                async fn $name() {
                    testkit::stalls::steady(async || {
                        super::$name(super::GuardFixture::redis().await).await;
                    })
                    .await;
                }
            )+
        }
    };
}

contract!(
    a_block_of_numbers_gets_the_set_figure_and_the_next_request_waits_to_the_second,
    a_blocked_net_is_probed_and_opens_when_the_probes_convert,
    probes_that_do_not_convert_block_for_longer,
    record_notes_what_enforce_would_refuse_and_refuses_nothing,
    off_counts_nothing,
    f11_what_passes_a_block_by_trust_is_counted_in_no_net,
    a_withdrawn_request_is_uncounted,
    a_replayed_request_counts_once_and_a_code_verifies_once,
    a_request_that_a_limit_refuses_is_not_counted,
    pumping_among_honest_traffic_is_stopped_at_the_set_figure_and_the_replay_names_the_same_block,
);

struct GuardFixture {
    store: Store,
    clock: Clock,
    keys: Box<Keys>,
    limits: Limits,
    addresses: Vec<AddressLimit>,
    mode: PumpingGuard,
    next: std::cell::Cell<u64>,
}

/// The most texts that one prefix gets without a verification until it is blocked, however fast the requests come.
fn set_figure(rule: Rule) -> u64 {
    rule.min_sends + rule.doubt
}

/// A number of a block and its code request.
#[derive(Clone)]
struct Requester {
    phone: PhoneKey,
    country: &'static str,
    prefix: String,
    request: RequestId,
    code: CodeId,
}

impl Requester {
    fn destination(&self) -> Destination<'_> {
        Destination { country: self.country, operator_prefix: &self.prefix }
    }
}

impl GuardFixture {
    fn memory() -> Self {
        let clock = Clock::manual();
        Self::of(Store::memory(clock.clone()), clock)
    }

    async fn redis() -> Self {
        let clock = Clock::manual();
        let url = SecretString::from(Engines::one_by_one().redis().await);
        let store =
            Store::connect_redis(&url, clock.clone()).await.expect("the private Redis answers");
        Self::of(store, clock)
    }

    fn of(store: Store, clock: Clock) -> Self {
        // At the start of a minute: which sends are young does not depend on when the test started.
        let into = u64::try_from(clock.now_ms() % 60_000).unwrap();
        clock.advance(Duration::from_millis(60_000 - into));
        let keys = Box::new(Keys::from_secret(b"thirty-two bytes or more for tests", None));
        Self {
            store,
            clock,
            keys,
            limits: Limits::NONE,
            addresses: Vec::new(),
            mode: PumpingGuard::Enforce,
            next: 0.into(),
        }
    }

    /// Returns the next number of a block.
    fn number(&self, country: &'static str, prefix: &str) -> Requester {
        let number = self.next.replace(self.next.get() + 1);
        let phone = Phone::trusted(&format!("+98912{number:07}")).unwrap();
        Requester {
            phone: self.keys.phone_key(phone.e164()),
            country,
            prefix: prefix.to_owned(),
            request: RequestId::new(&self.clock),
            code: CodeId::new(&self.clock),
        }
    }

    fn admit<'a>(&'a self, requester: &'a Requester) -> Admit<'a> {
        Admit {
            request_id: requester.request,
            new_code_id: requester.code,
            only_code: None,
            phone: &requester.phone,
            scope: Scope::Login,
            ttl_ms: 300_000,
            attempts: 5,
            route: "otp",
            idempotency: None,
            addresses: &self.addresses,
            country: requester.country,
            operator_prefix: &requester.prefix,
            channel: Channel::Sms,
            locale: None,
            limits: &self.limits,
            guard: self.mode,
            asker: "",
            known_device: None,
            device: None,
            proven_passes: true,
        }
    }

    /// Requests a code. Returns the wait if the guard refuses.
    async fn judge(&self, requester: &Requester) -> Option<u64> {
        match self.store.codes().admit(&self.admit(requester)).await.unwrap() {
            Admission::Admitted { .. } => None,
            Admission::Limited { limit: Limit::Blocked, retry_after } => Some(retry_after),
            other => panic!("{other:?}"),
        }
    }

    async fn code_request(&self, prefix: &str) -> Option<u64> {
        self.judge(&self.number("IR", prefix)).await
    }

    /// Requests codes for new numbers until one is refused. Returns how many were admitted, and the wait.
    async fn until_refused(&self, prefix: &str) -> (u64, u64) {
        for admitted in 0..10_000 {
            if let Some(wait) = self.code_request(prefix).await {
                return (admitted, wait);
            }
        }
        panic!("never refused");
    }

    async fn close(&self, requester: &Requester) {
        let closing = Closing::Used(Some(Answered::named(requester.request)));
        self.store
            .codes()
            .close(&requester.phone, Scope::Login, requester.code, closing, requester.destination())
            .await
            .unwrap();
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    fn found(&self) -> Vec<(Kind, State, u32)> {
        let brief = |found: &Finding| (found.change.kind, found.change.state, found.change.level);
        self.store.guard_findings().take().changes.iter().map(brief).collect()
    }

    /// The counts that the history would hold: sends, verified, refused.
    fn tallied(&self) -> (i64, i64, i64) {
        let tallies = self.store.guard_findings().take().tallies;
        tallies
            .iter()
            .fold((0, 0, 0), |sum, t| (sum.0 + t.sends, sum.1 + t.verified, sum.2 + t.refused))
    }
}

async fn a_block_of_numbers_gets_the_set_figure_and_the_next_request_waits_to_the_second(
    fixture: GuardFixture,
) {
    assert_eq!(fixture.until_refused("989991").await, (set_figure(Rule::default()), 900));
    let findings = fixture.store.guard_findings().take();
    let [found] = &findings.changes[..] else { panic!("{:?}", findings.changes) };
    assert_eq!((found.country.as_str(), found.operator_prefix.as_str()), ("IR", "989991"));
    assert_eq!(
        (found.change.state, found.change.sends, found.change.verified),
        (State::Blocked, 70, 0)
    );
    let until = found.change.until.unwrap();
    assert!((899_000..=900_000).contains(&(until.ms() - fixture.clock.now_ms())), "{until}");
    assert_eq!(findings.conversions.len(), 1);
    assert_eq!((findings.conversions[0].sends, findings.conversions[0].verified), (70, 0));
    assert_eq!(fixture.code_request("989992").await, None, "its neighbour is not blocked");
    // Waiting the given time is enough, and less is not.
    fixture.pass(898);
    assert!(fixture.code_request("989991").await.is_some_and(|wait| (1..=2).contains(&wait)));
    fixture.pass(2);
    assert_eq!(fixture.code_request("989991").await, None);
}

async fn a_blocked_net_is_probed_and_opens_when_the_probes_convert(fixture: GuardFixture) {
    let (_, wait) = fixture.until_refused("989991").await;
    fixture.pass(wait);
    let probes: Vec<Requester> = (0..10).map(|_| fixture.number("IR", "989991")).collect();
    for probe in &probes {
        assert_eq!(fixture.judge(probe).await, None);
    }
    assert_eq!(
        fixture.code_request("989991").await,
        Some(180),
        "until it is known whether they convert"
    );
    fixture.close(&probes[3]).await;
    assert!(fixture.code_request("989991").await.is_some());
    fixture.close(&probes[7]).await;
    assert_eq!(fixture.code_request("989991").await, None);
    let prefix = Kind::Prefix;
    assert_eq!(
        fixture.found(),
        [(prefix, State::Blocked, 1), (prefix, State::Probing, 1), (prefix, State::Open, 1)]
    );
}

async fn probes_that_do_not_convert_block_for_longer(fixture: GuardFixture) {
    let (_, wait) = fixture.until_refused("989991").await;
    fixture.pass(wait);
    for longer in [1800, 3600] {
        let (probes, grace) = fixture.until_refused("989991").await;
        assert_eq!((probes, grace), (10, 180));
        fixture.pass(grace);
        let wait = fixture.code_request("989991").await.unwrap();
        // The block started when the probes failed, up to a second ago.
        assert!((longer - 1..=longer).contains(&wait), "{wait}");
        fixture.pass(wait);
    }
    assert_eq!(fixture.code_request("989991").await, None);
}

async fn record_notes_what_enforce_would_refuse_and_refuses_nothing(mut fixture: GuardFixture) {
    fixture.mode = PumpingGuard::Record;
    for _ in 0..100 {
        assert_eq!(fixture.code_request("989991").await, None);
    }
    let one = fixture.number("IR", "989991");
    assert_eq!(fixture.judge(&one).await, None);
    fixture.close(&one).await;
    let findings = fixture.store.guard_findings().take();
    assert_eq!(findings.would_refuse, 31);
    assert_eq!(findings.changes.len(), 1);
    let sum = |pick: fn(&Tally) -> i64| findings.tallies.iter().map(pick).sum::<i64>();
    assert_eq!(
        (sum(|t| t.sends), sum(|t| t.verified), sum(|t| t.refused)),
        (101, 1, 0),
        "the history has all of it"
    );
    assert_eq!(findings.changes[0].change.state, State::Blocked);
}

async fn off_counts_nothing(mut fixture: GuardFixture) {
    fixture.mode = PumpingGuard::Off;
    for _ in 0..100 {
        let one = fixture.number("IR", "989991");
        assert_eq!(fixture.judge(&one).await, None);
        fixture.close(&one).await;
    }
    assert!(fixture.store.guard_findings().take().tallies.is_empty());
    fixture.mode = PumpingGuard::Enforce;
    assert_eq!(fixture.until_refused("989991").await.0, 70);
}

async fn f11_what_passes_a_block_by_trust_is_counted_in_no_net(fixture: GuardFixture) {
    let owner = fixture.number("IR", "989991");
    assert_eq!(fixture.judge(&owner).await, None);
    fixture.close(&owner).await;
    fixture.until_refused("989991").await;
    let again = |of: &Requester| Requester {
        request: RequestId::new(&fixture.clock),
        code: CodeId::new(&fixture.clock),
        ..of.clone()
    };
    fixture.store.guard_findings().take();
    for _ in 0..3 {
        assert_eq!(fixture.judge(&again(&owner)).await, None, "it verified");
        assert!(fixture.code_request("989991").await.is_some());
    }
    assert!(fixture.judge(&again(&owner)).await.is_some(), "three a day");
    let device = again(&owner);
    let known = Admit {
        known_device: Some(UserId::new(&fixture.clock)),
        proven_passes: false,
        ..fixture.admit(&device)
    };
    let admitted = fixture.store.codes().admit(&known).await.unwrap();
    assert!(matches!(admitted, Admission::Admitted { .. }), "{admitted:?}");
    let findings = fixture.store.guard_findings().take();
    assert_eq!((findings.changes.len(), findings.would_refuse), (0, 0));
    let tallied =
        findings.tallies.iter().fold((0, 0), |sum, t| (sum.0 + t.sends, sum.1 + t.refused));
    assert_eq!(tallied, (4, 4), "the history has them");
    // They are no probes either.
    fixture.pass(900);
    for _ in 0..10 {
        assert_eq!(fixture.code_request("989991").await, None);
    }
    assert_eq!(fixture.code_request("989991").await, Some(180));
}

async fn a_withdrawn_request_is_uncounted(fixture: GuardFixture) {
    let asked: Vec<Requester> = (0..70).map(|_| fixture.number("IR", "989991")).collect();
    for one in &asked {
        assert_eq!(fixture.judge(one).await, None);
    }
    assert!(fixture.code_request("989991").await.is_some());
    // The minute of the request counts, not that of its withdrawal.
    fixture.pass(MINUTE);
    for one in &asked {
        fixture.store.codes().withdraw(&fixture.admit(one)).await.unwrap();
    }
    assert_eq!(
        fixture.found(),
        [(Kind::Prefix, State::Blocked, 1), (Kind::Prefix, State::Open, 0)]
    );
    assert_eq!(fixture.until_refused("989991").await.0, 70);
    for one in &asked {
        fixture.store.codes().withdraw(&fixture.admit(one)).await.unwrap();
    }
    assert_eq!(fixture.tallied(), (70, 0, 1), "a second withdrawal has no effect");
    // A withdrawn probe may be sent again.
    fixture.pass(900);
    let probe = fixture.number("IR", "989991");
    assert_eq!(fixture.judge(&probe).await, None);
    assert_eq!(fixture.until_refused("989991").await.0, 9);
    fixture.store.codes().withdraw(&fixture.admit(&probe)).await.unwrap();
    assert_eq!(fixture.until_refused("989991").await.0, 1);
}

async fn a_replayed_request_counts_once_and_a_code_verifies_once(fixture: GuardFixture) {
    let one = fixture.number("IR", "989991");
    let given = Some(Idempotency { key: "key".to_owned(), body: "body".to_owned() });
    for _ in 0..5 {
        fixture
            .store
            .codes()
            .admit(&Admit { idempotency: given.clone(), ..fixture.admit(&one) })
            .await
            .unwrap();
    }
    for _ in 0..5 {
        fixture.close(&one).await;
    }
    let findings = fixture.store.guard_findings().take();
    assert_eq!((findings.conversions[0].sends, findings.conversions[0].verified), (1, 1));
    assert_eq!(
        findings.tallies.iter().map(|t| (t.sends, t.verified)).collect::<Vec<_>>(),
        [(1, 1)]
    );
}

async fn a_request_that_a_limit_refuses_is_not_counted(mut fixture: GuardFixture) {
    fixture.addresses = address(5);
    let mut limited = 0;
    for _ in 0..100 {
        let one = fixture.number("IR", "989991");
        limited += u64::from(matches!(
            fixture.store.codes().admit(&fixture.admit(&one)).await.unwrap(),
            Admission::Limited { limit: Limit::IpHour, .. }
        ));
    }
    assert_eq!((limited, fixture.tallied()), (95, (5, 0, 0)));
    fixture.addresses.clear();
    assert_eq!(fixture.until_refused("989991").await.0, 65);
    // A request that the guard refuses uses up no limit: the address made five requests and makes five elsewhere.
    // The key holds the figure.
    fixture.addresses = address(10);
    assert!(fixture.code_request("989991").await.is_some());
    for _ in 0..5 {
        assert_eq!(fixture.code_request("989992").await, None);
    }
}

fn address(most: u64) -> Vec<AddressLimit> {
    vec![AddressLimit { key: "an address".into(), most }]
}

/// 10,000 numbers of one block, five a second, among the honest traffic of three countries.
async fn pumping_among_honest_traffic_is_stopped_at_the_set_figure_and_the_replay_names_the_same_block(
    fixture: GuardFixture,
) {
    const NUMBERS: u64 = 10_000;
    let honest: Vec<(&'static str, String)> = (10..30)
        .map(|n| {
            [("IR", format!("9891{n}")), ("DE", format!("4915{n}")), ("GB", format!("4477{n}"))]
                [n % 3]
                .clone()
        })
        .collect();
    let mut waiting: BTreeMap<u64, Vec<Requester>> = BTreeMap::new();
    let (mut bought, mut stopped, mut served) = (0_u64, 0_u64, 0_u64);
    for second in 0..NUMBERS / 5 {
        for _ in 0..5 {
            match fixture.code_request("989999").await {
                None => bought += 1,
                Some(_) => stopped += 1,
            }
        }
        let (country, prefix) = &honest[usize::try_from(second).unwrap() % honest.len()];
        let one = fixture.number(country, prefix);
        assert_eq!(fixture.judge(&one).await, None, "honest traffic is untouched, second {second}");
        served += 1;
        // Six of ten type their code, after 10 to 59 seconds.
        if (second + second / 20) % 10 < 6 {
            waiting.entry(second + 10 + second * 7 % 50).or_default().push(one);
        }
        while let Some(now) = waiting.first_entry().filter(|entry| *entry.key() <= second) {
            for one in now.remove() {
                fixture.close(&one).await;
            }
        }
        fixture.pass(1);
    }
    let rule = Rule::default();
    // The set figure, and ten probes after the first block of 15 minutes; the second outlasts the attack's 33 minutes.
    assert_eq!(
        (bought, stopped, served),
        (set_figure(rule) + rule.probes, NUMBERS - 80, NUMBERS / 5)
    );

    let findings = fixture.store.guard_findings().take();
    assert!(
        findings
            .changes
            .iter()
            .all(|found| found.change.kind == Kind::Prefix && found.operator_prefix == "989999")
    );
    let blocked_at = findings.changes[0].at;
    let report = replayed(&findings.tallies, rule).await;
    assert_eq!((report.code_requests, report.stops.len()), (NUMBERS + served, 1));
    let stop = &report.stops[0];
    assert_eq!(
        (stop.kind, stop.prefix.as_deref(), stop.country.as_str()),
        ("prefix", Some("989999"), "IR")
    );
    assert_eq!((stop.opened, stop.sends, stop.verified), (None, 70, 0));
    assert!(
        (blocked_at.ms() - stop.from.ms()).abs() < 60_000,
        "within its minute: {} and {}",
        blocked_at,
        stop.from
    );
    assert_eq!(stop.stopped, report.stopped);
    // The history has a resolution of a minute, so a block may end up to a minute early in the replay.
    assert_eq!(report.stopped, stopped, "{report:?}");
    // A laxer rule stops nothing.
    let lax = replayed(&findings.tallies, Rule::parse("min_sends=20000").unwrap()).await;
    assert_eq!((lax.stopped, lax.stops), (0, Vec::new()));
}

/// Through the database, as `latchkey guard replay` does it.
async fn replayed(tallies: &[Tally], rule: Rule) -> Report {
    let folder = tempfile();
    let db = Pool::sqlite(&folder).await.unwrap();
    db.migrate(accounts::FUNCTIONS).await.unwrap();
    accounts::GuardHistory::new(&db).add(tallies).await.unwrap();
    let (from, to) = (Timestamp::from_ms(0), Timestamp::from_ms(i64::MAX / 2));
    let mut replay = Replay::new(rule);
    for row in accounts::GuardHistory::new(&db).page(from, to, None, 100_000).await.unwrap() {
        replay.feed(&row);
    }
    db.close().await;
    std::fs::remove_dir_all(folder).unwrap();
    replay.finish()
}

fn tempfile() -> std::path::PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::env::temp_dir().join(format!("latchkey-guard-{}-{n}", std::process::id()))
}

/// One operation on the store, or time passing.
#[derive(Clone, Copy, Debug)]
enum Step {
    CodeRequest(usize),
    Verify(usize),
    Withdraw(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_usize).prop_map(Step::CodeRequest),
        3 => any::<usize>().prop_map(Step::Verify),
        1 => any::<usize>().prop_map(Step::Withdraw),
        3 => prop_oneof![Just(1), Just(60), Just(180), Just(900), 1..2000_u64].prop_map(Step::Pass),
    ]
}

/// A rule so small that every state is reached within a few steps.
fn small() -> Rule {
    Rule::parse("min_sends=3,doubt=2,conversion=0.3,window=600,settle=120,probes=2,probes_verified=1,block=600,block_cap=1200,forget=3600,country_factor=2")
        .unwrap()
}

mod only_on_the_engines {
    use testkit::launch::Keeps;
    use testkit::redis::Redis;

    use super::super::raw_redis::Raw;
    use super::*;

    #[tokio::test]
    async fn admission_and_close_cost_one_command_each_with_the_guard_in_force() {
        let server = Redis::start(Keeps::Nothing).await;
        let clock = Clock::manual();
        let url = SecretString::from(server.database());
        let fixture =
            GuardFixture::of(Store::connect_redis(&url, clock.clone()).await.unwrap(), clock);
        // The server knows the scripts after their first use, and first use opens each shared connection.
        let first = fixture.number("IR", "989990");
        for _ in 0..10 {
            fixture.judge(&first).await;
            fixture.close(&first).await;
        }
        let mut monitor = Raw::connect(&server.url(0));
        assert_eq!(monitor.command(&["MONITOR"]), "+OK");
        let mut stats = Raw::connect(&server.url(0));
        stats.command(&["CONFIG", "RESETSTAT"]);
        let asked: Vec<Requester> = (0..100).map(|_| fixture.number("IR", "989991")).collect();
        let mut admitted = 0;
        for one in &asked {
            admitted += u64::from(fixture.judge(one).await.is_none());
        }
        for one in &asked {
            fixture.close(one).await;
        }
        assert_eq!(stats.command(&["ECHO", "the end"]).trim_end(), "the end");
        let seen = monitor.lines_until("the end");
        // Commands that a script runs inside the server are marked as such.
        let ours: Vec<&String> = seen
            .iter()
            .filter(|line| {
                !line.contains(" lua]") && !line.contains("RESETSTAT") && !line.contains("AUTH")
            })
            .collect();
        assert!(ours.iter().all(|line| line.contains("\"EVALSHA\"")), "{ours:?}");
        assert_eq!(
            (ours.len(), admitted),
            (200, 70),
            "100 requests and 100 closes; a refused request costs no more"
        );
        assert_eq!(stats.calls().get("evalsha"), Some(&200));
        // Every key has a TTL.
        let mut keys = Raw::connect(&server.url(0));
        let endless = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'lk:guard:*')) do \
                   if redis.call('PTTL', key) < 0 then n = n + 1000 else n = n + 1 end end return n";
        assert_eq!(keys.command(&["EVAL", endless, "0"]), ":3", "two prefixes and a country");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn p13_memory_and_redis_decide_alike(steps in proptest::collection::vec(step(), 1..80)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (memory, redis) = (GuardFixture::memory(), GuardFixture::redis().await);
                let both = [memory, redis].map(|fixture| GuardFixture { store: fixture.store.clone().with_guard_rule(small()), ..fixture });
                let mut asked: Vec<[Requester; 2]> = Vec::new();
                for (n, step) in steps.iter().enumerate() {
                    match *step {
                        Step::CodeRequest(prefix) => {
                            let pair = both.each_ref().map(|fixture| fixture.number("IR", ["989991", "989992", "989993"][prefix]));
                            let one = both[0].judge(&pair[0]).await;
                            let two = both[1].judge(&pair[1]).await;
                            // The two clocks are milliseconds apart, never a whole second.
                            assert_eq!(one.is_some(), two.is_some(), "step {n}: {one:?} {two:?}");
                            assert!(one.unwrap_or(0).abs_diff(two.unwrap_or(0)) <= 1, "step {n}: {one:?} {two:?}");
                            if one.is_none() {
                                asked.push(pair);
                            }
                        }
                        Step::Verify(which) | Step::Withdraw(which) if !asked.is_empty() => {
                            let pair = asked.swap_remove(which % asked.len());
                            for (fixture, requester) in both.iter().zip(&pair) {
                                if matches!(step, Step::Verify(_)) {
                                    fixture.close(requester).await;
                                } else {
                                    fixture.store.codes().withdraw(&fixture.admit(requester)).await.unwrap();
                                }
                            }
                        }
                        Step::Verify(_) | Step::Withdraw(_) => {}
                        Step::Pass(secs) => both.iter().for_each(|fixture| fixture.pass(secs)),
                    }
                    let seen = both.each_ref().map(|fixture| {
                        let findings = fixture.store.guard_findings().take();
                        let changes: Vec<_> = findings.changes.iter().map(|f| {
                            (f.change.kind, f.change.state, f.change.sends, f.change.verified, f.change.level)
                        }).collect();
                        let tallies: Vec<_> = findings.tallies.iter().map(|t| (t.sends, t.verified, t.refused)).collect();
                        (changes, tallies, findings.would_refuse)
                    });
                    assert_eq!(seen[0], seen[1], "step {n} of {steps:?}");
                }
            });
        }
    }
}
