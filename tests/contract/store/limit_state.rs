//! What staff may see of the limits: the same on memory and on Redis, what a request then meets, and nothing counted.

use std::time::Duration;

use domain::limits::Limits;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Limit, PumpingGuard};
use guard::{Kind, Rule, State};
use secrecy::ExposeSecret as _;
use store::{
    AddressLimit, Admission, Admit, Answered, Closing, FailureRange, LimitCount, LimitQuestion,
    LimitState, LoginAddresses, Scope,
};

use super::codes::{CodesFixture, PLACE};
use crate::accounts::deletion::redis_dump;

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $name() { Box::pin(super::$name(super::CodesFixture::memory())).await; })+
        }
        mod on_the_engines {
            $(#[tokio::test] async fn $name() {
                testkit::stalls::steady(async || {
                    super::$name(super::CodesFixture::redis().await).await;
                })
                .await;
            })+
        }
    };
}

contract!(
    p13_each_limit_shows_what_the_next_request_meets_until_it_frees,
    p13_logins_and_failures_of_an_address_show_what_the_next_login_meets,
    p13_the_guards_answer_is_known_before_it_is_given,
    p13_a_phone_that_verified_lately_is_known_while_its_budget_lasts,
    p13_looking_changes_nothing,
    p13_a_net_that_staff_open_begins_anew,
);

impl CodesFixture {
    async fn limits_now(&self) -> LimitState {
        let question = LimitQuestion {
            phone: Some((&self.phone, PLACE)),
            limits: &self.limits,
            addresses: &self.addresses,
            logins: &self.logins,
        };
        self.store.codes().limit_state(&question).await.unwrap()
    }

    /// The one limit that is on.
    async fn only(&self) -> (LimitCount, Timestamp) {
        let state = self.limits_now().await;
        let [count] = state.counts[..] else { panic!("one limit is on: {state:?}") };
        (count, state.now)
    }

    async fn refused_by(&self) -> Option<(Limit, u64)> {
        match self.store.codes().admit(&self.admit()).await.unwrap() {
            Admission::Admitted(_) => None,
            Admission::Limited { limit, retry_after } => Some((limit, retry_after)),
            other => panic!("{other:?}"),
        }
    }
}

async fn p13_each_limit_shows_what_the_next_request_meets_until_it_frees(
    mut fixture: CodesFixture,
) {
    let none = Limits::NONE;
    for (limit, limits) in [
        (Limit::PhoneHour, Limits { sends_per_phone_hour: 2, ..none }),
        (Limit::PhoneDay, Limits { sends_per_phone_day: 2, ..none }),
        (Limit::IpHour, none.clone()),
        (Limit::PrefixHour, Limits { sends_per_prefix_hour: 2, ..none }),
        (Limit::PrefixDay, Limits { sends_per_prefix_day: 2, ..none }),
        (Limit::CountryHour, Limits { sends_per_country_hour: 2, ..none }),
        (Limit::CountryDay, Limits { sends_per_country_day: 2, ..none }),
        (Limit::GlobalDay, Limits { sends_global_day: 2, ..none }),
    ] {
        fixture.limits = limits;
        fixture.addresses.clear();
        if limit == Limit::IpHour {
            fixture.addresses.push(AddressLimit { key: "an address".to_owned(), most: 2 });
        }
        // Two days later nothing of the limit before counts.
        fixture.clock.advance(Duration::from_hours(48));
        for made in 0..2 {
            let (count, _) = fixture.only().await;
            let range = (limit == Limit::IpHour).then_some(0);
            let wanted = LimitCount { limit, range, count: made, most: 2, frees_at: None };
            assert_eq!(count, wanted);
            assert_eq!(fixture.refused_by().await, None, "{limit}");
        }
        let (count, now) = fixture.only().await;
        let frees = count.frees_at.unwrap_or_else(|| panic!("{limit} is full: {count:?}"));
        assert_eq!(count.count, 2, "{limit}");
        let (by, wait) = fixture.refused_by().await.unwrap_or_else(|| panic!("{limit} refuses"));
        assert_eq!(by, limit);
        // Redis' time goes on between the two.
        assert!((1..=frees.secs_from(now)).contains(&wait), "{limit}: {wait}, {frees}, {now}");
        fixture.clock.advance(Duration::from_millis((frees.ms() - now.ms()).unsigned_abs()));
        assert_eq!(fixture.only().await.0.frees_at, None, "{limit}");
        assert_eq!(fixture.refused_by().await, None, "{limit}");
    }
}

async fn p13_logins_and_failures_of_an_address_show_what_the_next_login_meets(
    mut fixture: CodesFixture,
) {
    let range = |key: &str, most| AddressLimit { key: key.to_owned(), most };
    fixture.logins = LoginAddresses {
        logins: vec![range("narrow", 2), range("wide", 10)],
        failures: vec![FailureRange { key: "failing".to_owned(), most: 1, networks: 1 }],
    };
    let limits = fixture.store.limits();
    for made in 0..2 {
        let state = fixture.limits_now().await;
        let counts: Vec<_> =
            state.counts.iter().map(|it| (it.limit, it.range, it.count, it.frees_at)).collect();
        let wanted =
            [(Limit::LoginsIp, Some(0), made, None), (Limit::LoginsIp, Some(1), made, None)];
        assert_eq!(counts, wanted);
        assert_eq!(limits.count_login(&fixture.logins).await.unwrap(), None);
    }
    let state = fixture.limits_now().await;
    assert_eq!((state.counts[0].count, state.counts[1].count), (2, 2));
    let frees = state.counts[0].frees_at.expect("the narrow range is full");
    assert_eq!(state.counts[1].frees_at, None);
    let wait = limits.count_login(&fixture.logins).await.unwrap().expect("a wait");
    assert!((1..=frees.secs_from(state.now)).contains(&wait));
    // Too many phones fail in the wider range.
    assert_eq!(state.failures, [None]);
    for number in ["+989120000001", "+989120000002"] {
        let phone = fixture.keys.phone_key(&number.parse().unwrap());
        limits.note_failure(&fixture.logins.failures, &phone).await.unwrap();
    }
    fixture.clock.advance(Duration::from_secs(5));
    let state = fixture.limits_now().await;
    let until = state.failures[0].expect("the range waits");
    assert!(until > state.now);
    fixture.clock.advance(Duration::from_millis((until.ms() - state.now.ms()).unsigned_abs()));
    assert_eq!(fixture.limits_now().await.failures, [None]);
}

async fn p13_the_guards_answer_is_known_before_it_is_given(mut fixture: CodesFixture) {
    let rule = Rule { min_sends: 3, doubt: 0, probes: 2, probes_verified: 1, ..Rule::default() };
    fixture.store = fixture.store.clone().with_guard_rule(rule);
    let mut seen = Vec::new();
    // A block lasts 900 s and then twice as long; no step ends near the end of one, however slow the machine is.
    for step in 0..14 {
        let outlook = fixture.limits_now().await.guard.expect("a phone was asked for");
        let mut admit = fixture.admit();
        admit.guard = PumpingGuard::Enforce;
        let answer = fixture.store.codes().admit(&admit).await.unwrap();
        let refused = matches!(answer, Admission::Limited { limit: Limit::Blocked, .. });
        assert_eq!(outlook.wait_ms.is_some(), refused, "step {step}: {outlook:?}");
        seen.push(outlook.prefix.state);
        if refused {
            assert_eq!(outlook.prefix.until.is_some(), outlook.prefix.state == State::Blocked);
            fixture.clock.advance(Duration::from_mins(8));
        }
    }
    for state in State::ALL {
        assert!(seen.contains(&state), "{state}: {seen:?}");
    }
    let outlook = fixture.limits_now().await.guard.unwrap();
    assert!(outlook.prefix.level >= 2, "{outlook:?}");
}

async fn p13_a_phone_that_verified_lately_is_known_while_its_budget_lasts(
    mut fixture: CodesFixture,
) {
    assert!(!fixture.limits_now().await.is_proven);
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let closing = Closing::Used(Some(Answered::named(asked.request)));
    let codes = fixture.store.codes();
    codes.close(&fixture.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
    assert!(fixture.limits_now().await.is_proven);
    fixture.limits = Limits { sends_per_prefix_day: 1, ..Limits::NONE };
    assert_eq!(fixture.refused_by().await, None, "the limit is not full yet");
    for _ in 0..3 {
        assert!(fixture.limits_now().await.is_proven);
        assert_eq!(fixture.refused_by().await, None, "it passes by its budget");
    }
    assert!(!fixture.limits_now().await.is_proven);
    assert_eq!(fixture.refused_by().await.map(|(limit, _)| limit), Some(Limit::PrefixDay));
}

async fn p13_a_net_that_staff_open_begins_anew(mut fixture: CodesFixture) {
    let rule = Rule { min_sends: 3, doubt: 0, ..Rule::default() };
    fixture.store = fixture.store.clone().with_guard_rule(rule);
    let codes = fixture.store.codes();
    let ask = async || {
        let admit = Admit { guard: PumpingGuard::Enforce, ..fixture.admit() };
        matches!(codes.admit(&admit).await.unwrap(), Admission::Admitted(_))
    };
    let open = async |kind, name| codes.open_net(kind, name, PLACE.country).await.unwrap();
    for _ in 0..2 {
        for _ in 0..3 {
            assert!(ask().await);
        }
        assert!(!ask().await, "the net is blocked");
        fixture.store.guard_findings().take();
        assert!(!open(Kind::Prefix, "989999").await, "another net");
        assert!(!open(Kind::Country, PLACE.country).await, "the country is open");
        assert_eq!(fixture.store.guard_findings().take().changes, []);
        assert!(open(Kind::Prefix, PLACE.operator_prefix).await);
        assert!(!open(Kind::Prefix, PLACE.operator_prefix).await, "it is open already");
        let found = fixture.store.guard_findings().take().changes;
        let [found] = &found[..] else { panic!("one change is reported: {found:?}") };
        assert_eq!((found.change.kind, found.change.state), (Kind::Prefix, State::Open));
        assert_eq!(found.operator_prefix, PLACE.operator_prefix);
    }
}

async fn p13_looking_changes_nothing(mut fixture: CodesFixture) {
    fixture.limits = Limits {
        resend_cooldown_secs: 30,
        sends_per_phone_hour: 5,
        sends_per_phone_day: 5,
        sends_per_country_hour: 5,
        sends_per_country_day: 5,
        sends_per_prefix_hour: 5,
        sends_per_prefix_day: 5,
        sends_global_day: 5,
        ..Limits::NONE
    };
    fixture.addresses.push(AddressLimit { key: "an address".to_owned(), most: 2 });
    fixture.logins = LoginAddresses {
        logins: vec![AddressLimit { key: "an address".to_owned(), most: 2 }],
        failures: vec![FailureRange { key: "failing".to_owned(), most: 1, networks: 1 }],
    };
    fixture.code_request().await;
    fixture.store.limits().count_login(&fixture.logins).await.unwrap();
    // So that what is kept of the guard's window is due to be dropped.
    fixture.clock.advance(Duration::from_mins(90));
    let dump = async || match &fixture.url {
        Some(url) => redis_dump(url.expose_secret()).await,
        None => Vec::new(),
    };
    let (before, first) = (dump().await, fixture.limits_now().await);
    for _ in 0..10 {
        assert_eq!(LimitState { now: first.now, ..fixture.limits_now().await }, first);
    }
    assert_eq!(dump().await, before);
    assert_eq!(before.is_empty(), fixture.url.is_none());
    assert_eq!(fixture.refused_by().await, None);
}
