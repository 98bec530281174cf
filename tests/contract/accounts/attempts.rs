//! Failed attempts: counts, soft waits, the lock and the share for known devices.

use accounts::{
    AttemptKind, AttemptLimits, Claimant, Counted, Deleter, Denied, LoginOutcome, PasswordChange,
    PasswordChangeDenied, PasswordSignIn, PhoneChange, SignIn, Throttle,
};
use domain::ids::UserId;
use futures::future::join_all;

use super::contract;
use super::fixture::{AccountsFixture, DAY, LIMITS, Phone, Raw, signed_in};

contract!(
    p4_the_throttle_judges_every_attempt_alike,
    p4_an_attempt_is_throttled_alike_where_it_is_asked_for_and_where_it_is_counted,
    p4_waits_begin_after_the_tenth_failure_and_double,
    p4_parallel_attempts_are_counted_one_after_the_other,
    f12_thirty_days_of_steady_guessing_are_ten_attempts_a_day,
    f12_a_success_or_staff_restores_the_full_count,
    f12_an_owner_is_told_of_a_lock_once_a_week,
    f13_the_tenth_failure_each_lock_and_its_end_leave_a_mark,
    f13_the_end_of_a_lock_is_told_for_passwords_too,
    f04_a_known_device_signs_in_while_strangers_are_locked_out,
    f04_a_known_device_has_ten_failures_a_day_of_its_own,
    f04_of_sixty_attempts_at_once_by_a_known_device_ten_are_judged,
    f04_attempts_of_a_known_device_at_a_code_are_counted_apart,
    f04_all_known_devices_of_a_phone_have_thirty_failures_a_day,
    f04_three_known_devices_are_counted_apart_at_a_code,
    f04_a_known_device_does_not_put_off_the_end_of_a_lock,
    f12_a_lock_that_no_text_told_of_is_told_later,
    f12_without_a_reset_a_few_failures_are_swept_and_no_lock,
    p4_a_device_is_known_only_while_its_account_has_the_phone,
    p4_only_a_success_resets_the_consecutive_failures,
    p4_codes_and_passwords_have_separate_counts,
    p4_an_attempt_that_must_wait_does_not_change_the_codes_count,
    staff_unlocks_a_phone,
    p4_a_rotation_of_the_secret_forgets_no_failure,
);

/// What a phone's past means for the next attempt.
#[derive(Clone, Copy, Debug)]
enum Next {
    Judged { failures: u32 },
    WaitFor(i64),
    Locked,
}

/// (failures, seconds since the last was judged, by a known device, what follows), for 100 failures and a day's reset.
const CASES: &[(u32, i64, bool, Next)] = &[
    (0, 0, false, Next::Judged { failures: 1 }),
    (9, 0, false, Next::Judged { failures: 10 }),
    (10, 0, false, Next::WaitFor(30)),
    (10, 29, false, Next::WaitFor(1)),
    (10, 30, false, Next::Judged { failures: 11 }),
    (10, 0, true, Next::Judged { failures: 11 }),
    (11, 0, false, Next::WaitFor(60)),
    (12, 0, false, Next::WaitFor(120)),
    (13, 0, false, Next::WaitFor(240)),
    (14, 0, false, Next::WaitFor(480)),
    (15, 0, false, Next::WaitFor(900)),
    (15, 899, false, Next::WaitFor(1)),
    (15, 900, false, Next::Judged { failures: 16 }),
    (40, 0, false, Next::WaitFor(900)),
    (89, 900, false, Next::Judged { failures: 90 }),
    (90, 900, false, Next::Locked),
    (90, 0, true, Next::Judged { failures: 91 }),
    (100, 900, true, Next::Judged { failures: 101 }),
    (100, 900, false, Next::Locked),
    (100, DAY - 1, false, Next::Locked),
    (100, DAY - 1, true, Next::Judged { failures: 101 }),
    // After a lock that time alone opened, ten are judged until the next one (ruling 42).
    (100, DAY, false, Next::Judged { failures: 81 }),
    (90, DAY, false, Next::Judged { failures: 81 }),
    (90, DAY, true, Next::Judged { failures: 81 }),
    (80, DAY, false, Next::Judged { failures: 81 }),
    (79, DAY, false, Next::Judged { failures: 80 }),
    (10, DAY, false, Next::Judged { failures: 11 }),
    (9, DAY, false, Next::Judged { failures: 1 }),
    (90, 30 * DAY - 1, false, Next::Judged { failures: 81 }),
    (90, 30 * DAY, false, Next::Judged { failures: 1 }),
];

async fn p4_the_throttle_judges_every_attempt_alike(fixture: AccountsFixture) {
    for &case in CASES {
        let (failures, ago, known, next) = case;
        let phone = Phone::new();
        let (user, _) = fixture.signed_in(&phone).await;
        let claimant = if known { phone.known(user.id) } else { phone.stranger() };
        fixture.set_failures(&phone, failures, ago).await;
        let now = fixture.now();
        // The test's clock advances between two reads: the state is set again to the millisecond.
        let at = now.plus_secs(-ago);
        let sql = format!(
            "UPDATE guesses SET last_judged_at = {} WHERE phone_key = '{}'",
            at.ms(),
            phone.key
        );
        fixture.raw().await.run(&sql).await.unwrap();
        let throttle = match next {
            Next::Judged { .. } => None,
            Next::WaitFor(secs) => Some(Throttle::Delayed { until: now.plus_secs(secs) }),
            Next::Locked => Some(Throttle::Locked { until: Some(at.plus_secs(DAY)) }),
        };
        let gate =
            fixture.db.attempts.throttle(claimant, AttemptKind::Code, LIMITS, now).await.unwrap();
        assert_eq!(gate, throttle, "throttle for {case:?}");

        let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
        (sign_in.claimant, sign_in.now) = (claimant, now);
        if let Some(throttle) = throttle {
            let refused = fixture.db.accounts.sign_in(sign_in).await.unwrap();
            assert_eq!(refused, Err(Denied::Throttled(throttle)), "sign-in for {case:?}");
        }
        let outcome = fixture
            .db
            .attempts
            .record_failure(claimant, AttemptKind::Code, None, LIMITS, now)
            .await
            .unwrap();
        let expected = match (throttle, next) {
            (Some(throttle), _) => Err(throttle),
            (None, Next::Judged { failures }) => {
                Ok(Counted { failures, code_failures: 0, by_device: known, locked: failures == 90 })
            }
            (None, _) => unreachable!(),
        };
        assert_eq!(outcome, expected, "attempt for {case:?}");
        if throttle.is_none() {
            fixture.set_failures(&phone, failures, ago).await;
            fixture.raw().await.run(&sql).await.unwrap();
            signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
        }
    }
    // Without a reset only a success or staff unlocks a phone; a small maximum puts nothing beyond the lock.
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    for (max_failures, failures, known, open) in [
        (100, 100, false, false),
        (9, 8, false, true),
        (9, 9, false, false),
        (9, 9, true, true),
        (20, 17, false, true),
        (20, 18, false, false),
        (20, 18, true, true),
    ] {
        let limits = AttemptLimits { max_failures, failure_reset_secs: 0, ..LIMITS };
        fixture.set_failures(&phone, failures, 400 * DAY).await;
        let claimant = if known { phone.known(user.id) } else { phone.stranger() };
        let throttle = (!open).then_some(Throttle::Locked { until: None });
        let gate = fixture
            .db
            .attempts
            .throttle(claimant, AttemptKind::Code, limits, fixture.now())
            .await
            .unwrap();
        assert_eq!(gate, throttle, "{max_failures} {failures} {known}");
        let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
        (sign_in.claimant, sign_in.limits) = (claimant, limits);
        match throttle {
            Some(throttle) => {
                assert_eq!(
                    fixture.db.accounts.sign_in(sign_in).await.unwrap(),
                    Err(Denied::Throttled(throttle))
                );
            }
            None => drop(signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap())),
        }
    }
}

/// On PostgreSQL, Rust judges the former and SQL the latter. Near every bound of the rule, for every kind of limit.
async fn p4_an_attempt_is_throttled_alike_where_it_is_asked_for_and_where_it_is_counted(
    fixture: AccountsFixture,
) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    let mut raw = fixture.raw().await;
    let kind = AttemptKind::Code;
    let now = fixture.now();
    for max_failures in [1, 9, 10, 11, 20, 100] {
        let strangers = max_failures - max_failures / 10;
        let near = [0, 1, 9, 10, 11, 14, 15, 50, strangers - 1, strangers, max_failures - 1];
        for failures in near.into_iter().chain([max_failures, max_failures + 1]) {
            for ago_ms in [
                0,
                29_999,
                30_000,
                479_999,
                899_999,
                900_000,
                86_399_999,
                86_400_000,
                2_592_000_000,
            ] {
                let (known, reset) = ((failures + max_failures) % 2 == 0, ago_ms % 2 == 0);
                let failure_reset_secs = if reset { DAY } else { 0 };
                let limits = AttemptLimits { max_failures, failure_reset_secs, ..LIMITS };
                let device = format!("{max_failures} {failures} {ago_ms}");
                let claimant =
                    if known { phone.device(user.id, &device) } else { phone.stranger() };
                let (key, at) = (&phone.key, now.plus_ms(-ago_ms).ms());
                let set = format!(
                    "DELETE FROM device_guesses;
                     INSERT INTO guesses VALUES ('{key}', 'code', {failures}, {at})
                     ON CONFLICT (phone_key, kind) DO UPDATE SET failures = {failures}, last_judged_at = {at}"
                );
                raw.run(&set).await.unwrap();
                let attempts = &fixture.db.attempts;
                let throttle = attempts.throttle(claimant, kind, limits, now).await.unwrap();
                let counted =
                    attempts.record_failure(claimant, kind, None, limits, now).await.unwrap();
                let case = (max_failures, failures, ago_ms, known, reset);
                assert_eq!(counted.err(), throttle, "{case:?}");
            }
        }
    }
}

async fn p4_waits_begin_after_the_tenth_failure_and_double(fixture: AccountsFixture) {
    let phone = Phone::new();
    let attempt = |at| {
        let kind = AttemptKind::Code;
        fixture.db.attempts.record_failure(phone.stranger(), kind, None, LIMITS, at)
    };
    let mut now = fixture.now();
    for n in 1..=10 {
        let counted =
            Ok(Counted { failures: n, code_failures: 0, by_device: false, locked: false });
        assert_eq!(attempt(now).await.unwrap(), counted);
    }
    for (n, wait) in [(11, 30), (12, 60), (13, 120), (14, 240), (15, 480), (16, 900), (17, 900)] {
        let until = now.plus_secs(wait);
        for early in [now, until.plus_ms(-1)] {
            let throttled = Err(Throttle::Delayed { until });
            assert_eq!(attempt(early).await.unwrap(), throttled, "before the {n}th");
        }
        now = until;
        assert_eq!(
            attempt(now).await.unwrap(),
            Ok(Counted { failures: n, code_failures: 0, by_device: false, locked: false })
        );
    }
}

async fn p4_parallel_attempts_are_counted_one_after_the_other(fixture: AccountsFixture) {
    let (phone, code) = (Phone::new(), fixture.code());
    let now = fixture.now();
    let code_of = Some((code.id, code.expires_at));
    let attempts = join_all((0..60).map(|_| {
        fixture.db.attempts.record_failure(
            phone.stranger(),
            AttemptKind::Code,
            code_of,
            LIMITS,
            now,
        )
    }))
    .await;
    let mut counted: Vec<_> = attempts
        .iter()
        .filter_map(|attempt| match attempt.as_ref().unwrap() {
            Ok(Counted { failures, code_failures, .. }) => Some((*failures, *code_failures)),
            _ => None,
        })
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, (1..=10).map(|n| (n, n)).collect::<Vec<_>>());
    let until = now.plus_secs(30);
    assert_eq!(
        attempts
            .iter()
            .filter(|g| *g.as_ref().unwrap() == Err(Throttle::Delayed { until }))
            .count(),
        50
    );
}

/// Whoever guesses as soon as it is judged again, or only as often as nobody notices, for thirty days: a sweep runs each
/// day, as in life.
async fn f12_thirty_days_of_steady_guessing_are_ten_attempts_a_day(fixture: AccountsFixture) {
    let attempts = &fixture.db.attempts;
    let kind = AttemptKind::Code;
    // How many attempts before each pause, at most.
    for at_once in [1000, 9, 50, 89] {
        let phone = Phone::new();
        let begin = fixture.now();
        let (mut now, mut judged) = (begin, 0);
        while now < begin.plus_secs(30 * DAY) {
            for _ in 0..at_once {
                match attempts
                    .record_failure(phone.stranger(), kind, None, LIMITS, now)
                    .await
                    .unwrap()
                {
                    Ok(_) => judged += 1,
                    Err(Throttle::Delayed { until }) => now = until,
                    Err(_) => break,
                }
            }
            now = now.plus_secs(DAY);
            fixture.db.sweeper.sweep(LIMITS, now).await.unwrap();
        }
        println!("{judged} of {at_once} at once are judged in thirty days");
        // The first hundred failures in a row less those reserved, then ten a day.
        assert!(judged <= 90 + 29 * 10, "{judged} with {at_once} at once");
    }
}

async fn f12_a_success_or_staff_restores_the_full_count(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    let failed =
        |failures| Ok(Counted { failures, code_failures: 0, by_device: false, locked: false });
    fixture.set_failures(&phone, 90, DAY).await;
    assert_eq!(fixture.attempt(phone.stranger(), None).await, failed(81));
    fixture.advance(900);
    fixture.signed_in(&phone).await;
    assert_eq!(fixture.attempt(phone.stranger(), None).await, failed(1));
    fixture.set_failures(&phone, 90, 0).await;
    let sign_in = SignIn {
        claimant: phone.device(user.id, "mine"),
        ..fixture.new_sign_in(&phone, fixture.code())
    };
    signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    assert_eq!(fixture.attempt(phone.stranger(), None).await, failed(1));
    fixture.set_failures(&phone, 90, 0).await;
    fixture
        .db
        .attempts
        .reset_failures(phone.stranger(), LIMITS, "staff:1", fixture.now())
        .await
        .unwrap();
    assert_eq!(fixture.attempt(phone.stranger(), None).await, failed(1));
}

/// The acts in the audit of a phone, newest first, with their details.
async fn marks(fixture: &AccountsFixture, phone: &Phone) -> Vec<(String, serde_json::Value)> {
    let page = fixture.db.audit.page(Some(phone.key.as_str()), None, 50).await.unwrap();
    let mark =
        |entry: accounts::AuditEntry| (entry.act, serde_json::from_str(&entry.detail).unwrap());
    page.into_iter().map(mark).collect()
}

/// The events of locks since the last look, in order.
async fn lock_events(fixture: &AccountsFixture) -> Vec<(String, serde_json::Value)> {
    let mut events = fixture.events().await;
    events.retain(|(kind, _)| kind.starts_with("phone."));
    events.into_iter().map(|(kind, event)| (kind, event["data"].clone())).collect()
}

async fn f13_the_tenth_failure_each_lock_and_its_end_leave_a_mark(fixture: AccountsFixture) {
    let (owned, nobodys) = (Phone::new(), Phone::new());
    let (user, _) = fixture.signed_in(&owned).await;
    for (phone, owner) in [(&owned, Some(user.id.to_string())), (&nobodys, None)] {
        fixture.events().await;
        for _ in 0..9 {
            fixture.attempt(phone.stranger(), None).await.unwrap();
        }
        assert!(marks(&fixture, phone).await.is_empty(), "anybody mistypes");
        fixture.attempt(phone.stranger(), None).await.unwrap();
        let detail = serde_json::json!({ "kind": "code", "failures": 10 });
        assert_eq!(marks(&fixture, phone).await, [("phone_slowed".to_owned(), detail)]);
        assert!(lock_events(&fixture).await.is_empty());

        fixture.set_failures(phone, 89, 900).await;
        let locked_at = fixture.now();
        assert!(fixture.attempt(phone.stranger(), None).await.unwrap().locked);
        for _ in 0..20 {
            fixture.attempt(phone.stranger(), None).await.unwrap_err();
        }
        let found = marks(&fixture, phone).await;
        assert_eq!(found.len(), 2, "a refused attempt leaves no mark: {found:?}");
        assert_eq!(found[0].0, "phone_locked");
        let events = lock_events(&fixture).await;
        assert_eq!(events.len(), 1);
        let (kind, data) = &events[0];
        assert_eq!(kind, "phone.locked.v1");
        assert_eq!(data["user_id"].as_str().map(str::to_owned), owner);
        let key = phone.key.as_str();
        assert_eq!((&data["subject"], &data["kind"]), (&key[..8].into(), &"code".into()));
        assert_eq!(data["failures"], 90);
        let until: domain::timestamp::Timestamp =
            serde_json::from_value(data["until"].clone()).unwrap();
        assert!(until >= locked_at.plus_secs(DAY), "{data}");

        // Time opens it: that is seen with the next attempt.
        fixture.advance(DAY);
        fixture.attempt(phone.stranger(), None).await.unwrap();
        let detail = serde_json::json!({ "kind": "code", "reason": "time" });
        assert_eq!(marks(&fixture, phone).await[0], ("phone_unlocked".to_owned(), detail));
        let events = lock_events(&fixture).await;
        assert_eq!((events.len(), events[0].0.as_str()), (1, "phone.unlocked.v1"));
        assert_eq!(events[0].1["reason"], "time");
        assert_eq!(events[0].1["user_id"].as_str().map(str::to_owned), owner);
        // Ten more, and it is locked again.
        for _ in 0..9 {
            fixture.advance(900);
            fixture.attempt(phone.stranger(), None).await.unwrap();
        }
        assert_eq!(marks(&fixture, phone).await[0].0, "phone_locked");
        assert_eq!(lock_events(&fixture).await.len(), 1);
    }
    // A known device opens it with a success, staff by a command.
    fixture.set_failures(&owned, 90, 0).await;
    let sign_in = SignIn {
        claimant: owned.device(user.id, "mine"),
        ..fixture.new_sign_in(&owned, fixture.code())
    };
    signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    let attempts = &fixture.db.attempts;
    let now = fixture.now();
    assert!(attempts.reset_failures(nobodys.stranger(), LIMITS, "staff:1", now).await.unwrap());
    let events = lock_events(&fixture).await;
    let reasons: Vec<_> = events.iter().map(|(_, data)| data["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("known_device"), Some("staff")]);
    assert_eq!(marks(&fixture, &owned).await[0].1["reason"], "known_device");
    assert_eq!(marks(&fixture, &nobodys).await[0].0, "phone_unlocked");
    // What was not locked is not unlocked.
    fixture.signed_in(&owned).await;
    attempts.reset_failures(owned.stranger(), LIMITS, "staff:1", now).await.unwrap();
    assert!(lock_events(&fixture).await.is_empty());
}

async fn f13_the_end_of_a_lock_is_told_for_passwords_too(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, session) = fixture.signed_in(&phone).await;
    fixture.set_password(&session, None, "hash").await.unwrap();
    let (key, at) = (&phone.key, fixture.now().ms());
    let sql = format!("INSERT INTO guesses VALUES ('{key}', 'password', 90, {at})");
    fixture.raw().await.run(&sql).await.unwrap();
    fixture.events().await;
    let sign_in = PasswordSignIn {
        claimant: phone.device(user.id, "mine"),
        user_id: user.id,
        hash: "hash",
        limits: LIMITS,
        session: fixture.new_session(),
        traceparent: None,
        now: fixture.now(),
    };
    fixture.db.accounts.start_password_session(sign_in).await.unwrap().unwrap();
    let events = lock_events(&fixture).await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0].1["kind"], &events[0].1["reason"]),
        (&"password".into(), &"known_device".into())
    );
    assert_eq!(events[0].1["user_id"], user.id.to_string());
}

/// How many texts the outbox got since it was last read.
async fn texts_since(fixture: &AccountsFixture) -> usize {
    let kinds = fixture.kinds().await;
    kinds.iter().filter(|kind| kind.starts_with("sms.requested.")).count()
}

/// Tells the owner of a lock of `phone`, by a text to the number of `to`.
async fn tell_of_lock(fixture: &AccountsFixture, user: UserId, phone: &Phone, to: &Phone) {
    let keys = domain::keys::Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
    let (to, text) = (domain::phone::Phone::from(to.number.clone()), "Locked.".to_owned());
    let notice = accounts::notice::prepare(&keys, &fixture.clock, &to, text, false).unwrap();
    let now = fixture.now();
    fixture.db.accounts.tell_of_lock(user, &phone.key, &notice, now).await.unwrap();
}

async fn f12_an_owner_is_told_of_a_lock_once_a_week(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    let tell = async || tell_of_lock(&fixture, user.id, &phone, &phone).await;
    let texts = async || texts_since(&fixture).await;
    fixture.events().await;
    for _ in 0..3 {
        tell().await;
        fixture.advance(2 * DAY);
    }
    assert_eq!(texts().await, 1);
    fixture.advance(DAY);
    tell().await;
    assert_eq!(texts().await, 1);
    fixture.advance(8 * DAY);
    fixture.delete(Deleter::Staff("cli"), user.id).await;
    fixture.events().await;
    tell().await;
    assert_eq!(texts().await, 0, "nobody is left to be told");
}

async fn f04_a_known_device_signs_in_while_strangers_are_locked_out(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    fixture.set_failures(&phone, 90, 1000).await;
    assert!(matches!(
        fixture.attempt(phone.stranger(), None).await,
        Err(Throttle::Locked { until: Some(_) })
    ));
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    assert!(matches!(
        fixture.db.accounts.sign_in(sign_in).await.unwrap(),
        Err(Denied::Throttled(Throttle::Locked { .. }))
    ));
    // The code was not judged, so it is not used: the subscriber's own device can sign in with it.
    sign_in.claimant = phone.known(user.id);
    signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    assert_eq!(
        fixture.attempt(phone.stranger(), None).await,
        Ok(Counted { failures: 1, code_failures: 0, by_device: false, locked: false })
    );
}

/// Counts a failure without a code, with no reset by time.
async fn fail(
    fixture: &AccountsFixture,
    claimant: Claimant<'_>,
    kind: AttemptKind,
) -> Result<Counted, Throttle> {
    let limits = AttemptLimits { failure_reset_secs: 0, ..LIMITS };
    let attempts = &fixture.db.attempts;
    attempts.record_failure(claimant, kind, None, limits, fixture.now()).await.unwrap()
}

async fn f04_a_known_device_has_ten_failures_a_day_of_its_own(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    let (mine, other) = (phone.device(user.id, "mine"), phone.device(user.id, "other"));
    let locked = Err(Throttle::Locked { until: None });
    let mut failures = 90;
    let counted =
        |n: u32| Ok(Counted { failures: n, code_failures: 0, by_device: true, locked: false });
    fixture.set_failures(&phone, failures, 0).await;
    for day in 0..2 {
        assert_eq!(fail(&fixture, phone.stranger(), AttemptKind::Code).await, locked, "{day}");
        for _ in 0..10 {
            failures += 1;
            assert_eq!(fail(&fixture, mine, AttemptKind::Code).await, counted(failures));
        }
        // From then on it is as anybody; another device, and passwords, have budgets of their own.
        assert_eq!(fail(&fixture, mine, AttemptKind::Code).await, locked, "{day}");
        failures += 1;
        assert_eq!(fail(&fixture, other, AttemptKind::Code).await, counted(failures));
        let password = fail(&fixture, mine, AttemptKind::Password).await.unwrap();
        assert!(password.by_device, "{password:?}");
        fixture.advance(DAY - 60);
        assert_eq!(fail(&fixture, mine, AttemptKind::Code).await, locked, "before its day is over");
        fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
        assert_eq!(fail(&fixture, mine, AttemptKind::Code).await, locked, "after a sweep");
        fixture.advance(60);
    }
    // What is over is swept.
    fixture.advance(3 * DAY);
    fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
    let left = "SELECT count(*) FROM device_guesses";
    assert_eq!(fixture.raw().await.number(left).await, 0);
}

async fn f04_of_sixty_attempts_at_once_by_a_known_device_ten_are_judged(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    fixture.set_failures(&phone, 95, 0).await;
    let mine = phone.device(user.id, "mine");
    let attempts = join_all((0..60).map(|_| fail(&fixture, mine, AttemptKind::Code))).await;
    let mut judged: Vec<_> = attempts
        .iter()
        .filter_map(|attempt| attempt.map(|counted| counted.failures).ok())
        .collect();
    judged.sort_unstable();
    assert_eq!(judged, (96..=105).collect::<Vec<_>>());
}

async fn f04_attempts_of_a_known_device_at_a_code_are_counted_apart(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    let (mine, other) = (phone.device(user.id, "mine"), phone.device(user.id, "other"));
    let limits = LIMITS;
    let is_exhausted = async |code: accounts::UsedCode, device: Option<&str>| {
        fixture.db.attempts.code_is_exhausted(code.id, limits, device).await.unwrap()
    };
    let sign_in = async |code, claimant| {
        let sign_in = SignIn { claimant, ..fixture.new_sign_in(&phone, code) };
        fixture.db.accounts.sign_in(sign_in).await.unwrap()
    };
    // Strangers exhaust the code: a known device's own attempts are left, and not one more.
    let code = fixture.code();
    for _ in 0..5 {
        fixture.attempt(phone.stranger(), Some(code)).await.unwrap();
    }
    for n in 1..=5 {
        assert!(is_exhausted(code, None).await && !is_exhausted(code, Some("mine")).await);
        let counted = fixture.attempt(mine, Some(code)).await.unwrap();
        assert_eq!((counted.code_failures, counted.by_device), (n, true));
    }
    assert!(is_exhausted(code, Some("mine")).await);
    assert_eq!(sign_in(code, mine).await, Err(Denied::CodeUsed));
    fixture.advance(60);
    assert_eq!(sign_in(code, phone.stranger()).await, Err(Denied::CodeUsed));
    signed_in(sign_in(code, other).await);
    assert_eq!(sign_in(code, other).await, Err(Denied::CodeUsed), "once (P3)");
    // A known device that exhausts its own takes none of the others'.
    let code = fixture.code();
    for _ in 0..5 {
        fixture.attempt(mine, Some(code)).await.unwrap();
    }
    assert!(!is_exhausted(code, None).await);
    signed_in(sign_in(code, phone.stranger()).await);
}

async fn f04_all_known_devices_of_a_phone_have_thirty_failures_a_day(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    fixture.set_failures(&phone, 95, 0).await;
    let devices: Vec<_> = (0..60).map(|n| format!("device {n}")).collect();
    let judged = async |kind| {
        let mut judged = 0;
        for device in &devices {
            let device = phone.device(user.id, device);
            judged += u32::from(fail(&fixture, device, kind).await.is_ok());
        }
        judged
    };
    assert_eq!(judged(AttemptKind::Code).await, 30);
    let one = phone.device(user.id, "device 0");
    let throttle = fixture.db.attempts.throttle(one, AttemptKind::Code, LIMITS, fixture.now());
    assert!(matches!(throttle.await.unwrap(), Some(Throttle::Locked { .. })));
    let sign_in = SignIn { claimant: one, ..fixture.new_sign_in(&phone, fixture.code()) };
    let refused = fixture.db.accounts.sign_in(sign_in).await.unwrap();
    assert!(matches!(refused, Err(Denied::Throttled(Throttle::Locked { .. }))), "{refused:?}");
    // Passwords have a budget of their own, and so has the next day.
    let (key, at) = (&phone.key, fixture.now().ms());
    let sql = format!("INSERT INTO guesses VALUES ('{key}', 'password', 95, {at})");
    fixture.raw().await.run(&sql).await.unwrap();
    assert_eq!(judged(AttemptKind::Password).await, 30);
    fixture.advance(DAY + 60);
    assert_eq!(judged(AttemptKind::Code).await, 30);
    // Nothing keeps the id of a deleted account.
    fixture.delete(Deleter::Staff("cli"), user.id).await;
    let left = format!("SELECT count(*) FROM device_guesses WHERE device = '{}'", user.id);
    assert_eq!(fixture.raw().await.number(&left).await, 0);
}

async fn f04_three_known_devices_are_counted_apart_at_a_code(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    let attempts = &fixture.db.attempts;
    let code = fixture.code();
    for _ in 0..5 {
        fixture.attempt(phone.stranger(), Some(code)).await.unwrap();
    }
    for device in ["one", "two", "three"] {
        let counted = fixture.attempt(phone.device(user.id, device), Some(code)).await.unwrap();
        assert_eq!((counted.code_failures, counted.by_device), (1, true), "{device}");
    }
    let is_known = async |device, code: Option<accounts::UsedCode>| {
        let (claimant, kind) = (phone.device(user.id, device), AttemptKind::Code);
        let code = code.map(|code| code.id);
        attempts.is_by_known_device(claimant, kind, code, LIMITS, fixture.now()).await.unwrap()
    };
    assert!(is_known("three", Some(code)).await && !is_known("four", Some(code)).await);
    assert!(is_known("four", Some(fixture.code())).await && is_known("four", None).await);
    // The next device is as anybody, whose attempts are exhausted.
    let four = phone.device(user.id, "four");
    let counted = fixture.attempt(four, Some(code)).await.unwrap();
    assert_eq!((counted.code_failures, counted.by_device), (6, false));
    fixture.advance(60);
    let sign_in = async |claimant| {
        let sign_in = SignIn { claimant, ..fixture.new_sign_in(&phone, code) };
        fixture.db.accounts.sign_in(sign_in).await.unwrap()
    };
    assert_eq!(sign_in(four).await, Err(Denied::CodeUsed));
    signed_in(sign_in(phone.device(user.id, "two")).await);
}

async fn f04_a_known_device_does_not_put_off_the_end_of_a_lock(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    fixture.set_failures(&phone, 90, 0).await;
    fixture.advance(DAY - 60);
    let counted = fixture.attempt(phone.known(user.id), None).await.unwrap();
    assert_eq!((counted.failures, counted.by_device), (91, true));
    assert!(fixture.attempt(phone.stranger(), None).await.is_err());
    fixture.advance(60);
    let opened = fixture.attempt(phone.stranger(), None).await.unwrap();
    assert_eq!((opened.failures, opened.by_device), (81, false));
}

async fn f12_a_lock_that_no_text_told_of_is_told_later(fixture: AccountsFixture) {
    let phones = [(); 4].map(|()| Phone::new());
    let (user, _) = fixture.signed_in(&phones[0]).await;
    let tell = async |phone: &Phone| tell_of_lock(&fixture, user.id, phone, &phones[0]).await;
    let texts = async || texts_since(&fixture).await;
    // The three texts of the day are used up.
    for phone in &phones {
        tell(phone).await;
    }
    assert_eq!(texts().await, 3);
    fixture.advance(DAY + 60);
    tell(&phones[3]).await;
    assert_eq!(texts().await, 1);
    tell(&phones[3]).await;
    assert_eq!(texts().await, 0, "once a week");
}

async fn f12_without_a_reset_a_few_failures_are_swept_and_no_lock(fixture: AccountsFixture) {
    let sweep = async |max_failures, failures, days| {
        let limits = AttemptLimits { max_failures, failure_reset_secs: 0, ..LIMITS };
        let phone = Phone::new();
        fixture.set_failures(&phone, failures, days * DAY).await;
        fixture.db.sweeper.sweep(limits, fixture.now()).await.unwrap();
        let left = format!("SELECT count(*) FROM guesses WHERE phone_key = '{}'", phone.key);
        fixture.raw().await.number(&left).await == 0
    };
    // A day is the sweep's margin.
    assert!(sweep(100, 9, 32).await);
    assert!(!sweep(100, 9, 30).await);
    assert!(!sweep(100, 10, 400).await && !sweep(100, 90, 400).await);
    assert!(!sweep(9, 9, 400).await && !sweep(10, 9, 400).await, "a lock stays");
    assert!(sweep(9, 8, 32).await);
}

async fn p4_a_device_is_known_only_while_its_account_has_the_phone(fixture: AccountsFixture) {
    let (phone, other) = (Phone::new(), Phone::new());
    let (user, _) = fixture.signed_in(&phone).await;
    let (stranger, _) = fixture.signed_in(&other).await;
    for device in [stranger.id, UserId::new(&fixture.clock)] {
        fixture.set_failures(&phone, 95, 1000).await;
        let claimant = phone.known(device);
        assert!(matches!(fixture.attempt(claimant, None).await, Err(Throttle::Locked { .. })));
        let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
        sign_in.claimant = claimant;
        assert!(matches!(
            fixture.db.accounts.sign_in(sign_in).await.unwrap(),
            Err(Denied::Throttled(Throttle::Locked { .. }))
        ));
    }
    fixture.delete(Deleter::Staff("cli"), user.id).await;
    assert!(matches!(
        fixture.attempt(phone.known(user.id), None).await,
        Err(Throttle::Locked { .. })
    ));
}

async fn p4_only_a_success_resets_the_consecutive_failures(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    for _ in 0..3 {
        fixture.attempt(phone.stranger(), Some(fixture.code())).await.unwrap();
    }
    fixture.delete(Deleter::Staff("cli"), user.id).await;
    fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
    let fourth = Ok(Counted { failures: 4, code_failures: 1, by_device: false, locked: false });
    assert_eq!(fixture.attempt(phone.stranger(), Some(fixture.code())).await, fourth);
    fixture.signed_in(&phone).await;
    let first = Ok(Counted { failures: 1, code_failures: 0, by_device: false, locked: false });
    assert_eq!(fixture.attempt(phone.stranger(), None).await, first);
}

async fn p4_codes_and_passwords_have_separate_counts(fixture: AccountsFixture) {
    let phone = Phone::new();
    let now = fixture.now();
    fixture.ten_wrong_passwords(&phone, now).await;
    let gate = |kind| fixture.db.attempts.throttle(phone.stranger(), kind, LIMITS, now);
    assert!(matches!(gate(AttemptKind::Password).await.unwrap(), Some(Throttle::Delayed { .. })));
    assert_eq!(gate(AttemptKind::Code).await.unwrap(), None);
    fixture.signed_in(&phone).await;
    assert!(matches!(gate(AttemptKind::Password).await.unwrap(), Some(Throttle::Delayed { .. })));
}

async fn p4_an_attempt_that_must_wait_does_not_change_the_codes_count(fixture: AccountsFixture) {
    let (phone, code) = (Phone::new(), fixture.code());
    fixture.set_failures(&phone, 10, 0).await;
    for _ in 0..7 {
        assert!(matches!(
            fixture.attempt(phone.stranger(), Some(code)).await,
            Err(Throttle::Delayed { .. })
        ));
    }
    fixture.advance(30);
    signed_in(fixture.login(&phone, code).await);
}

/// SQLite has one writer at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_a_failure_concurrent_with_a_success_is_counted_after_it_on_the_engines() {
    use sqlx::{Connection as _, PgConnection};

    let fixture = AccountsFixture::postgres().await;
    let phone = Phone::new();
    fixture.set_failures(&phone, 3, 60).await;
    let Raw::Postgres(mut session) = fixture.raw().await else { unreachable!("a PostgreSQL") };
    let Raw::Postgres(mut look) = fixture.raw().await else { unreachable!("a PostgreSQL") };
    // A sign-in locks the count when it judges, and deletes it when it succeeds.
    let mut success = session.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM guesses FOR UPDATE").execute(&mut *success).await.unwrap();
    let failure = async { fixture.attempt(phone.stranger(), None).await };
    let sign_in = async {
        let waiting = async |look: &mut PgConnection| {
            let sql = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(look).await.unwrap()
        };
        while waiting(&mut look).await == 0 {
            tokio::task::yield_now().await;
        }
        sqlx::query("DELETE FROM guesses").execute(&mut *success).await.unwrap();
        success.commit().await.unwrap();
    };
    let (counted, ()) = tokio::join!(failure, sign_in);
    assert_eq!(
        counted,
        Ok(Counted { failures: 1, code_failures: 0, by_device: false, locked: false })
    );
    let next = fixture.attempt(phone.stranger(), None).await;
    assert_eq!(
        next,
        Ok(Counted { failures: 2, code_failures: 0, by_device: false, locked: false })
    );
}

async fn staff_unlocks_a_phone(fixture: AccountsFixture) {
    let phone = Phone::new();
    fixture.set_failures(&phone, 100, 0).await;
    assert!(matches!(fixture.attempt(phone.stranger(), None).await, Err(Throttle::Locked { .. })));
    assert!(
        fixture
            .db
            .attempts
            .reset_failures(phone.stranger(), LIMITS, "staff:1", fixture.now())
            .await
            .unwrap()
    );
    fixture.signed_in(&phone).await;
    assert!(
        !fixture
            .db
            .attempts
            .reset_failures(phone.stranger(), LIMITS, "staff:1", fixture.now())
            .await
            .unwrap()
    );
    let lines = fixture.db.audit.page(Some(phone.key.as_str()), None, 10).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].act.as_str(), lines[0].actor.as_str()), ("phone_unlocked", "staff:1"));
}

/// A phone under two secrets.
struct Rotated {
    before: Phone,
    now: Phone,
}

impl Rotated {
    /// With ten failures counted under the former secret.
    async fn new(fixture: &AccountsFixture, kind: AttemptKind) -> Self {
        let before = Phone::new();
        let now = Phone { number: before.number.clone(), key: Phone::new().key };
        for _ in 0..10 {
            let attempt = fixture.db.attempts.record_failure(
                before.stranger(),
                kind,
                None,
                LIMITS,
                fixture.now(),
            );
            assert!(matches!(attempt.await.unwrap(), Ok(Counted { .. })));
        }
        Self { before, now }
    }

    fn claimant(&self) -> Claimant<'_> {
        Claimant { former_key: Some(&self.before.key), ..self.now.stranger() }
    }
}

async fn p4_a_rotation_of_the_secret_forgets_no_failure(fixture: AccountsFixture) {
    let (owner, mine) = fixture.signed_in(&Phone::new()).await;
    let rotated = async |kind| Rotated::new(&fixture, kind).await;

    for kind in [AttemptKind::Code, AttemptKind::Password] {
        let phone = rotated(kind).await;
        let gate = fixture
            .db
            .attempts
            .throttle(phone.claimant(), kind, LIMITS, fixture.now())
            .await
            .unwrap();
        assert!(matches!(gate, Some(Throttle::Delayed { .. })));
        // From then on it is stored under the new key.
        let gate = fixture
            .db
            .attempts
            .throttle(phone.now.stranger(), kind, LIMITS, fixture.now())
            .await
            .unwrap();
        assert!(matches!(gate, Some(Throttle::Delayed { .. })));
        let phone = rotated(kind).await;
        let claimant = phone.claimant();
        let attempt = fixture
            .db
            .attempts
            .record_failure(claimant, kind, None, LIMITS, fixture.now())
            .await
            .unwrap();
        assert!(matches!(attempt, Err(Throttle::Delayed { .. })));
    }

    let phone = rotated(AttemptKind::Code).await;
    let sign_in =
        SignIn { claimant: phone.claimant(), ..fixture.new_sign_in(&phone.now, fixture.code()) };
    let outcome = fixture.db.accounts.sign_in(sign_in).await.unwrap();
    assert!(matches!(outcome, Err(Denied::Throttled(Throttle::Delayed { .. }))));

    let phone = rotated(AttemptKind::Code).await;
    let change = PhoneChange {
        user_id: owner.id,
        claimant: phone.claimant(),
        country: "IR",
        code: fixture.code(),
        request_id: None,
        limits: LIMITS,
        keep: mine.id,
        notice: None,
        undo: None,
        now: fixture.now(),
    };
    let outcome = fixture.db.accounts.change_phone(change).await.unwrap();
    assert!(matches!(outcome, Err(Denied::Throttled(Throttle::Delayed { .. }))));

    let phone = rotated(AttemptKind::Password).await;
    let change = PasswordChange {
        user_id: owner.id,
        was: None,
        hash: Some("hash"),
        attempt: Some((phone.claimant(), LIMITS)),
        keep: mine.id,
        notice: None,
        now: fixture.now(),
    };
    let outcome = fixture.db.accounts.set_password(change).await.unwrap();
    let Err(PasswordChangeDenied::Throttled(throttle)) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(throttle, Throttle::Delayed { .. }));

    let phone = rotated(AttemptKind::Password).await;
    let sign_in = PasswordSignIn {
        claimant: phone.claimant(),
        user_id: owner.id,
        hash: "hash",
        limits: LIMITS,
        session: fixture.new_session(),
        traceparent: None,
        now: fixture.now(),
    };
    let outcome = fixture.db.accounts.start_password_session(sign_in).await.unwrap();
    assert!(matches!(outcome, Err(Throttle::Delayed { .. })));

    // Under both keys, while services change over one after the other: the larger count applies. An expired one stays
    // expired.
    let phone = rotated(AttemptKind::Code).await;
    for (before, now, counted) in [
        ((4, 0), (3, 0), 5),
        ((3, 0), (4, 0), 5),
        ((9, DAY), (3, 0), 4),
        ((2, 0), (9, DAY), 3),
        ((50, 30 * DAY), (3, 0), 4),
        ((2, 0), (60, 30 * DAY), 3),
        ((80, DAY), (3, DAY), 81),
    ] {
        fixture.set_failures(&phone.before, before.0, before.1).await;
        fixture.set_failures(&phone.now, now.0, now.1).await;
        let counted =
            Ok(Counted { failures: counted, code_failures: 0, by_device: false, locked: false });
        assert_eq!(fixture.attempt(phone.claimant(), None).await, counted, "{before:?} {now:?}");
    }

    // A service that knows only the former key is still limited by its count, whatever the others counted.
    let phone = rotated(AttemptKind::Password).await;
    for claimant in [phone.claimant(), phone.before.stranger()] {
        let gate =
            fixture.db.attempts.throttle(claimant, AttemptKind::Password, LIMITS, fixture.now());
        let gate = gate.await.unwrap();
        assert!(matches!(gate, Some(Throttle::Delayed { .. })), "{gate:?}");
    }

    // A success resets both.
    let phone = rotated(AttemptKind::Code).await;
    fixture.set_failures(&phone.before, 9, 0).await;
    let sign_in =
        SignIn { claimant: phone.claimant(), ..fixture.new_sign_in(&phone.now, fixture.code()) };
    let outcome = fixture.db.accounts.sign_in(sign_in).await.unwrap();
    assert!(matches!(outcome, Ok(LoginOutcome::SignedIn { .. })));
    let first = Ok(Counted { failures: 1, code_failures: 0, by_device: false, locked: false });
    assert_eq!(fixture.attempt(phone.claimant(), None).await, first);
    assert_eq!(fixture.attempt(phone.before.stranger(), None).await, first);

    let phone = rotated(AttemptKind::Code).await;
    let opened =
        fixture.db.attempts.reset_failures(phone.claimant(), LIMITS, "cli", fixture.now()).await;
    assert!(opened.unwrap());
    let first = Ok(Counted { failures: 1, code_failures: 0, by_device: false, locked: false });
    assert_eq!(fixture.attempt(phone.claimant(), None).await, first);
}
