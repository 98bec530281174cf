//! The code store: P3, P4, P5 and the limits, on memory and on Redis.

use std::time::Duration;

use deadpool_redis::redis::{self, AsyncCommands as _};
use domain::clock::Clock;
use domain::ids::{CodeId, RequestId, SessionId, UserId};
use domain::keys::{Keys, PhoneKey};
use domain::limits::Limits;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit, PumpingGuard, Reason, Status};
use guard::Destination;
use secrecy::{ExposeSecret as _, SecretString};
use store::{
    AddressLimit, Admission, Admit, Admitted, Answered, CheckOutcome, Closing, FAILURE_WINDOW_SECS,
    FailureRange, Idempotency, Issue, Issued, KeptText, LoginAddresses, Matched, NewCode, Raise,
    Refund, RequestNote, SUSPICIOUS_PHONES, Scope, Store, SuspiciousFailures, Verify,
};

use testkit::engines::Engines;

pub(crate) const TTL_MS: i64 = 300_000;
pub(crate) const ATTEMPTS: u32 = 5;
pub(crate) const PLACE: Destination<'static> =
    Destination { country: "IR", operator_prefix: "989123" };

/// A store of either kind, its clock, and one phone.
pub(crate) struct CodesFixture {
    pub store: Store,
    pub clock: Clock,
    pub keys: Keys,
    pub phone: PhoneKey,
    pub limits: Limits,
    /// The ranges of the client's address.
    pub addresses: Vec<AddressLimit>,
    /// Where its logins count.
    pub logins: LoginAddresses,
    /// Where the store is kept, if it outlives its process.
    pub url: Option<SecretString>,
}

/// The response to a code request.
#[derive(Clone, Debug)]
pub(crate) struct Requested {
    pub request: RequestId,
    pub code: CodeId,
    pub expires_at: Timestamp,
}

impl CodesFixture {
    pub(crate) fn memory() -> Self {
        let clock = Clock::manual();
        Self::of(Store::memory(clock.clone()), clock, None)
    }

    pub(crate) async fn redis() -> Self {
        let clock = Clock::manual();
        let url = SecretString::from(Engines::shared().redis().await);
        let store =
            Store::connect_redis(&url, clock.clone()).await.expect("the test's Redis answers");
        Self::of(store, clock, Some(url))
    }

    /// Restarts the process. Returns whether the store is unchanged: Redis is, memory is empty.
    pub(crate) async fn restart(&mut self) -> bool {
        let clock = self.clock.clone();
        self.store = match &self.url {
            Some(url) => Store::connect_redis(url, clock).await.expect("Redis still answers"),
            None => Store::memory(clock),
        };
        self.url.is_some()
    }

    fn of(store: Store, clock: Clock, url: Option<SecretString>) -> Self {
        let keys = Keys::from_secret(b"thirty-two bytes or more for tests", None);
        let phone = keys.phone_key(&"+989123456789".parse().expect("an E.164 number"));
        Self {
            store,
            clock,
            keys,
            phone,
            limits: Limits::NONE,
            addresses: Vec::new(),
            logins: LoginAddresses::default(),
            url,
        }
    }

    pub(crate) fn admit(&self) -> Admit<'_> {
        Admit {
            request_id: RequestId::new(&self.clock),
            new_code_id: CodeId::new(&self.clock),
            only_code: None,
            phone: &self.phone,
            scope: Scope::Login,
            ttl_ms: TTL_MS,
            attempts: ATTEMPTS,
            route: "otp",
            idempotency: None,
            addresses: &self.addresses,
            country: "IR",
            operator_prefix: "989123",
            channel: Channel::Sms,
            locale: None,
            limits: &self.limits,
            guard: PumpingGuard::Record,
            asker: "an asker",
            known_device: None,
            device: None,
            proven_passes: true,
        }
    }

    pub(crate) async fn code_request(&self) -> Requested {
        let admit = self.admit();
        match self.store.codes().admit(&admit).await.unwrap() {
            Admission::Admitted(Admitted { code_id, expires_at, .. }) => {
                Requested { request: admit.request_id, code: code_id, expires_at }
            }
            other => panic!("not admitted: {other:?}"),
        }
    }

    pub(crate) async fn issue(&self, asked: &Requested, digits: &str) -> Issued {
        self.issue_in(Scope::Login, asked, Some(digits)).await
    }

    async fn issue_in(&self, scope: Scope, asked: &Requested, digits: Option<&str>) -> Issued {
        self.issue_and_raise(scope, asked, digits, None).await
    }

    /// `without_code`: the status of the request once it has a slot without a code.
    async fn issue_and_raise(
        &self,
        scope: Scope,
        asked: &Requested,
        digits: Option<&str>,
        without_code: Option<Status>,
    ) -> Issued {
        let issue = Issue {
            request_id: asked.request,
            code_id: asked.code,
            phone: &self.phone,
            scope,
            expires_at: asked.expires_at,
            code: digits.map(|digits| NewCode { digest: digits, sealed: digits }),
            note: RequestNote { channel: Channel::Sms, locale: None, profile: None, trace: None },
            status: Status::Issued,
            status_without_code: without_code,
        };
        self.store.codes().issue(&issue).await.unwrap()
    }

    pub(crate) fn verify<'a>(&'a self, digits: &'a str) -> Verify<'a> {
        Verify {
            phone: &self.phone,
            scope: Scope::Login,
            digest: digits,
            request_id: None,
            attempts: ATTEMPTS,
            device: None,
            ttl_ms: TTL_MS,
            addresses: &self.logins,
        }
    }

    pub(crate) async fn attempt(&self, digits: &str) -> CheckOutcome {
        self.store.codes().verify(&self.verify(digits)).await.unwrap()
    }

    async fn left_after(&self, digits: &str) -> Option<u32> {
        match self.attempt(digits).await {
            CheckOutcome::Wrong { attempts_left, .. } => Some(attempts_left),
            _ => None,
        }
    }

    async fn status_of(&self, request: RequestId) -> Option<Status> {
        self.store.statuses().get(request).await.unwrap().map(|found| found.status)
    }

    async fn refusal(&self, admit: &Admit<'_>) -> Option<(Limit, u64)> {
        match self.store.codes().admit(admit).await.unwrap() {
            Admission::Limited { limit, retry_after } => Some((limit, retry_after)),
            Admission::Admitted { .. } => None,
            other => panic!("neither admitted nor limited: {other:?}"),
        }
    }

    /// Closes the code as used by a sign-in for this request.
    async fn sign_in(&self, asked: &Requested) {
        let closing = Closing::Used(Some(Answered::named(asked.request)));
        let codes = self.store.codes();
        codes.close(&self.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
    }

    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    /// Lets time pass for a key whose life Redis measures by its own clock, too.
    async fn age(&self, key: &str, secs: u64) {
        self.pass(secs);
        if self.url.is_some() {
            let mut redis = self.look().await;
            let left_ms: i64 = redis.pttl(key).await.unwrap();
            assert!(left_ms > 0, "{key} has no expiry");
            let left_ms = left_ms - i64::try_from(secs * 1000).unwrap();
            redis.pexpire::<_, ()>(key, left_ms).await.unwrap();
        }
    }

    /// A connection past the store.
    async fn look(&self) -> redis::aio::MultiplexedConnection {
        let url = self.url.as_ref().expect("kept in Redis").expose_secret();
        let client = redis::Client::open(url).expect("a Redis address");
        crate::redis_connection(&client).await.expect("the test's Redis answers")
    }
}

/// Each rule is one body, run on both engines.
macro_rules! on_both {
    ($($rule:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $rule() { super::$rule(super::CodesFixture::memory()).await; })+
        }
        mod on_the_engines {
            $(#[tokio::test] async fn $rule() {
                testkit::stalls::steady(async || super::$rule(super::CodesFixture::redis().await).await).await;
            })+
        }
    };
}

on_both!(
    p3_a_code_is_right_only_until_it_is_closed,
    p3_a_code_ends_with_its_life,
    p3_a_code_of_one_scope_opens_no_other,
    f04_a_check_that_names_a_foreign_request_costs_nothing,
    f04_a_check_that_names_a_request_of_a_used_code_is_counted_as_before,
    p4_an_attempt_is_counted_before_it_is_compared,
    p4_of_two_hundred_checks_at_once_five_are_compared,
    p4_the_fifth_attempt_is_accepted_if_correct,
    p4_an_exhausted_code_refuses_requests_until_its_expiry,
    p4_a_refunded_attempt_can_be_made_again,
    p4_a_correct_check_that_was_refused_counts_as_failed,
    p4_a_code_exhausted_in_the_database_is_exhausted,
    f04_a_known_device_has_attempts_of_its_own_at_a_code,
    f04_three_known_devices_have_attempts_of_their_own_at_a_code,
    f04_the_strangers_count_does_not_show_which_device_used_the_code,
    f04_of_two_hundred_checks_at_once_by_a_known_device_five_are_compared,
    p4_attempts_without_a_code_look_alike_and_block_no_request,
    p5_a_resend_gives_the_same_code_and_moves_no_expiry,
    p5_a_used_code_sends_no_text,
    p5_no_request_joins_a_code_that_a_login_may_have_used,
    p5_a_correct_check_that_was_not_judged_changes_nothing_for_requests,
    p5_a_request_for_one_code_disturbs_no_other,
    a_redelivered_request_is_the_same_request,
    a_request_lost_by_redis_is_issued_from_its_event,
    a_request_older_than_the_stored_code_is_superseded,
    the_newer_code_ends_later_whatever_the_gateways_clocks_say,
    a_slot_without_a_code_counts_like_one_with_a_code,
    a_cooldown_doubles_until_a_success,
    limits_of_a_phone_slide,
    limits_of_an_address_count_all_phones,
    f02_a_request_counts_in_every_range_of_its_address,
    f02_a_login_counts_in_every_range_of_its_address,
    f12_a_range_in_which_many_phones_failed_waits_and_longer_each_time,
    f12_few_networks_do_not_shut_the_wider_range_around_them,
    f12_failures_at_many_phones_from_anywhere_are_reported_once_a_window,
    limits_of_prefix_country_and_world_are_named_in_the_refusal,
    logins_of_an_address_slide,
    f14_writes_of_a_session_slide,
    f18_a_test_number_has_the_limit_of_the_address_and_one_of_its_own,
    f04_a_known_device_requests_three_a_day_beyond_what_strangers_used_up,
    f04_the_known_devices_of_one_phone_request_six_a_day_together,
    f04_a_known_device_waits_for_its_own_cooldown_only,
    f04_a_known_device_joins_a_code_that_strangers_exhausted,
    f04_a_known_device_is_not_sent_a_code_that_it_exhausted,
    f09_a_sign_in_shortens_the_waits_of_its_own_asker_only,
    f09_a_sign_in_that_names_no_request_forgives_no_stranger,
    f11_a_phone_that_verified_passes_the_budgets_of_country_and_prefix,
    f11_a_sign_in_by_a_known_device_proves_the_phone_too,
    a_refused_request_counts_nothing,
    a_withdrawn_request_leaves_no_trace,
    p13_the_slot_of_withdrawn_requests_goes_with_the_last_unless_a_code_was_issued,
    p1_a_request_that_another_call_may_have_published_is_not_withdrawn,
    an_idempotency_key_gives_the_first_answer_for_a_day,
    a_status_only_advances,
    a_lost_status_comes_back_with_the_next_event,
    statuses_raised_together_are_judged_one_after_the_other,
    a_request_is_issued_in_the_act_that_gives_it_its_code,
    the_sweep_closes_open_requests,
    the_sweep_continues_past_finished_requests,
    a_waiter_is_woken_by_a_change,
    a_kept_text_is_kept_once,
    the_texts_of_all_phones_are_listed_with_their_phones,
    a_forgotten_phone_has_no_code_and_no_texts,
    p13_only_the_accounts_own_data_is_forgotten,
    f14_a_change_of_phone_belongs_to_the_session_that_requested_it_last,
    a_forgotten_phone_keeps_its_limits,
    a_one_time_key_is_accepted_once_of_fifty_until_it_expires,
    starts_are_counted,
    p13_starts_are_forgotten_an_hour_after_the_last,
);

async fn p3_a_code_is_right_only_until_it_is_closed(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    assert_eq!(fixture.issue(&asked, "123456").await, Issued::Code("123456".into()));
    let CheckOutcome::Matched(Matched { code_id, code_requests, .. }) =
        fixture.attempt("123456").await
    else {
        panic!("the code is right")
    };
    assert_eq!((code_id, code_requests.len(), code_requests[0].0), (asked.code, 1, asked.request));
    fixture
        .store
        .codes()
        .close(
            &fixture.phone,
            Scope::Login,
            code_id,
            Closing::Used(Some(Answered::named(asked.request))),
            PLACE,
        )
        .await
        .unwrap();
    assert_eq!(fixture.left_after("123456").await, Some(4), "a used code counts as none");
    assert_eq!(
        fixture.store.statuses().get(asked.request).await.unwrap().unwrap().status,
        Status::Verified
    );
}

async fn p3_a_code_ends_with_its_life(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    fixture.pass(299);
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    fixture.pass(1);
    assert!(
        matches!(fixture.attempt("123456").await, CheckOutcome::Wrong { code: None, .. }),
        "at its expiry it is gone"
    );
    let next = fixture.code_request().await;
    assert_ne!(next.code, asked.code);
}

async fn p3_a_code_of_one_scope_opens_no_other(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let change = Scope::PhoneChange(UserId::new(&fixture.clock));
    let elsewhere = Verify { scope: change, ..fixture.verify("123456") };
    assert!(matches!(
        fixture.store.codes().verify(&elsewhere).await.unwrap(),
        CheckOutcome::Wrong { code: None, .. }
    ));
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
}

async fn f04_a_check_that_names_a_foreign_request_costs_nothing(fixture: CodesFixture) {
    let foreign = async |left: u32, why: &str| {
        for digits in ["123456", "000000"] {
            let request_id = Some(RequestId::new(&fixture.clock));
            let named = Verify { request_id, ..fixture.verify(digits) };
            let judged = fixture.store.codes().verify(&named).await.unwrap();
            let CheckOutcome::Foreign { attempts_left, .. } = judged else {
                panic!("{why}: {judged:?}")
            };
            assert_eq!(attempts_left, left, "{why}");
        }
    };
    foreign(5, "without a code").await;
    assert_eq!(fixture.left_after("000000").await, Some(4));
    foreign(4, "without a code, after an attempt").await;
    let asked = fixture.code_request().await;
    foreign(5, "before the code is issued").await;
    fixture.issue(&asked, "123456").await;
    foreign(5, "with a code").await;
    assert_eq!(fixture.left_after("000000").await, Some(4));
    foreign(4, "with a code, after an attempt").await;
    // The request of another scope is as foreign as one that never was.
    let scope = Scope::PhoneChange(UserId::new(&fixture.clock));
    let own = Verify { request_id: Some(asked.request), ..fixture.verify("123456") };
    let judged = fixture.store.codes().verify(&Verify { scope, ..own.clone() }).await.unwrap();
    assert!(matches!(judged, CheckOutcome::Foreign { attempts_left: 5, .. }), "{judged:?}");
    for _ in 0..4 {
        fixture.attempt("000000").await;
    }
    foreign(0, "with an exhausted code").await;
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Exhausted { .. }));
    fixture.pass(300);
    foreign(5, "after the code's expiry").await;
    let expired = fixture.store.codes().verify(&own).await.unwrap();
    assert!(matches!(expired, CheckOutcome::Foreign { .. }), "{expired:?}");
    let next = fixture.code_request().await;
    fixture.issue(&next, "123456").await;
    let own = Verify { request_id: Some(next.request), ..fixture.verify("123456") };
    let judged = fixture.store.codes().verify(&own).await.unwrap();
    assert!(matches!(judged, CheckOutcome::Matched(Matched { attempts_left: 4, .. })));
}

/// Otherwise a requester would learn from its own request that someone else signed in (contract, ruling 21).
async fn f04_a_check_that_names_a_request_of_a_used_code_is_counted_as_before(
    fixture: CodesFixture,
) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    let closing = Closing::Used(None);
    let codes = fixture.store.codes();
    codes.close(&fixture.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
    for left in [4, 3, 2, 1, 0] {
        let own = Verify { request_id: Some(asked.request), ..fixture.verify("000000") };
        let judged = codes.verify(&own).await.unwrap();
        let CheckOutcome::Wrong { attempts_left, .. } = judged else { panic!("{judged:?}") };
        assert_eq!(attempts_left, left);
    }
}

async fn p4_an_attempt_is_counted_before_it_is_compared(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    for left in [4, 3, 2, 1, 0] {
        assert_eq!(fixture.left_after("000000").await, Some(left));
    }
    let CheckOutcome::Exhausted { code, until, .. } = fixture.attempt("123456").await else {
        panic!("no attempts are left")
    };
    assert_eq!((code, until), (Some(asked.code), asked.expires_at));
}

async fn p4_of_two_hundred_checks_at_once_five_are_compared(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let attempts = (0..200).map(|n| {
        let (fixture, digits) = (&fixture, format!("{n:06}"));
        async move { fixture.attempt(&digits).await }
    });
    let judged = futures::future::join_all(attempts).await;
    assert_eq!(judged.iter().filter(|j| matches!(j, CheckOutcome::Wrong { .. })).count(), 5);
    assert_eq!(judged.iter().filter(|j| matches!(j, CheckOutcome::Exhausted { .. })).count(), 195);
}

async fn p4_the_fifth_attempt_is_accepted_if_correct(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    for _ in 0..4 {
        fixture.attempt("000000").await;
    }
    assert!(matches!(
        fixture.attempt("123456").await,
        CheckOutcome::Matched(Matched { attempts_left: 0, .. })
    ));
}

async fn p4_an_exhausted_code_refuses_requests_until_its_expiry(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    for _ in 0..5 {
        fixture.attempt("000000").await;
    }
    fixture.pass(100);
    let refused = fixture.store.codes().admit(&fixture.admit()).await.unwrap();
    assert!(matches!(refused, Admission::Exhausted { retry_after: 200 | 199 }), "{refused:?}");
    fixture.pass(200);
    let next = fixture.code_request().await;
    fixture.issue(&next, "654321").await;
    assert_eq!(fixture.left_after("000000").await, Some(4), "a new code has its own attempts");
}

async fn p4_a_refunded_attempt_can_be_made_again(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    assert_eq!(fixture.left_after("000000").await, Some(4));
    let refund = async |code| {
        fixture
            .store
            .codes()
            .refund(&fixture.phone, Scope::Login, Refund::CodeCheck(code), None)
            .await
            .unwrap();
    };
    refund(CodeId::new(&fixture.clock)).await;
    assert_eq!(
        fixture.left_after("000000").await,
        Some(3),
        "another code's refund changes nothing"
    );
    refund(asked.code).await;
    assert_eq!(fixture.left_after("000000").await, Some(3));
}

async fn p4_a_correct_check_that_was_refused_counts_as_failed(fixture: CodesFixture) {
    for (closing, left) in [(Closing::Refused, 2), (Closing::Used(None), 3)] {
        let asked = fixture.code_request().await;
        fixture.issue(&asked, "123456").await;
        assert_eq!(fixture.left_after("000000").await, Some(4));
        assert!(matches!(
            fixture.attempt("123456").await,
            CheckOutcome::Matched(Matched { attempts_left: 3, .. })
        ));
        fixture
            .store
            .codes()
            .close(&fixture.phone, Scope::Login, asked.code, closing, PLACE)
            .await
            .unwrap();
        assert_eq!(fixture.left_after("000000").await, Some(left), "{closing:?}");
        fixture.pass(301);
    }
}

async fn p4_a_code_exhausted_in_the_database_is_exhausted(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let mark_exhausted = async |code| {
        fixture
            .store
            .codes()
            .mark_exhausted(&fixture.phone, Scope::Login, code, ATTEMPTS, None)
            .await
            .unwrap();
    };
    mark_exhausted(CodeId::new(&fixture.clock)).await;
    assert_eq!(fixture.left_after("000000").await, Some(4), "another code's end changes nothing");
    for _ in 0..2 {
        mark_exhausted(asked.code).await;
        let judged = fixture.attempt("123456").await;
        let CheckOutcome::Exhausted { code: Some(code), until, .. } = judged else {
            panic!("it is exhausted: {judged:?}")
        };
        assert_eq!((code, until), (asked.code, asked.expires_at));
    }
    let refused = fixture.store.codes().admit(&fixture.admit()).await.unwrap();
    assert!(matches!(refused, Admission::Exhausted { retry_after: 299 | 300 }), "{refused:?}");
    fixture.pass(300);
    let next = fixture.code_request().await;
    fixture.issue(&next, "654321").await;
    mark_exhausted(asked.code).await;
    assert_eq!(fixture.left_after("000000").await, Some(4), "a new code has its own attempts");
}

async fn f04_a_known_device_has_attempts_of_its_own_at_a_code(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let codes = fixture.store.codes();
    let attempt = async |digits: &str, device: &'static str| {
        let check = Verify { device: Some(device), ..fixture.verify(digits) };
        codes.verify(&check).await.unwrap()
    };
    let left = |judged: CheckOutcome| match judged {
        CheckOutcome::Wrong { attempts_left, .. }
        | CheckOutcome::Matched(Matched { attempts_left, .. }) => Some(attempts_left),
        _ => None,
    };
    for _ in 0..5 {
        fixture.attempt("000000").await;
    }
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Exhausted { .. }));
    for expected in [4, 3, 2, 1] {
        assert_eq!(left(attempt("000000", "mine").await), Some(expected));
    }
    let right = attempt("123456", "mine").await;
    assert!(matches!(right, CheckOutcome::Matched(Matched { attempts_left: 0, .. })), "{right:?}");
    assert!(matches!(attempt("123456", "mine").await, CheckOutcome::Exhausted { .. }));
    // Another device has its own; a refund and an end concern the device that they name.
    assert_eq!(left(attempt("000000", "other").await), Some(4));
    let refund = async |device: Option<&str>| {
        let refund = Refund::CodeCheck(asked.code);
        codes.refund(&fixture.phone, Scope::Login, refund, device).await.unwrap();
    };
    refund(Some("mine")).await;
    assert_eq!(left(attempt("000000", "mine").await), Some(0));
    refund(Some("other")).await;
    assert_eq!(left(attempt("000000", "other").await), Some(4));
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Exhausted { .. }));
    let device = Some("other");
    codes.mark_exhausted(&fixture.phone, Scope::Login, asked.code, ATTEMPTS, device).await.unwrap();
    assert!(matches!(attempt("123456", "other").await, CheckOutcome::Exhausted { .. }));
    assert_eq!(left(attempt("123456", "third").await), Some(4));
    // A stranger's view of the count does not change when a known device uses the code.
    let closing = Closing::UsedByDevice("mine", Some(Answered::named(asked.request)));
    codes.close(&fixture.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
    assert!(matches!(fixture.attempt("000000").await, CheckOutcome::Exhausted { .. }));
    fixture.pass(300);
    // The next code gives a device its attempts anew.
    let next = fixture.code_request().await;
    fixture.issue(&next, "123456").await;
    assert_eq!(left(attempt("000000", "mine").await), Some(4));
    assert_eq!(fixture.left_after("000000").await, Some(4));
    let closing = Closing::UsedByDevice("mine", Some(Answered::named(next.request)));
    codes.close(&fixture.phone, Scope::Login, next.code, closing, PLACE).await.unwrap();
    assert_eq!(fixture.left_after("000000").await, Some(3));
}

async fn f04_three_known_devices_have_attempts_of_their_own_at_a_code(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let codes = fixture.store.codes();
    let devices: Vec<_> = (0..60).map(|n| format!("device {n}")).collect();
    let mut compared = 0;
    for device in &devices {
        for _ in 0..=ATTEMPTS {
            let check = Verify { device: Some(device), ..fixture.verify("000000") };
            let judged = codes.verify(&check).await.unwrap();
            compared += u32::from(matches!(judged, CheckOutcome::Wrong { .. }));
        }
    }
    // Three devices', and everybody's.
    assert_eq!(compared, 4 * ATTEMPTS);
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Exhausted { .. }));
    // A refund and an end of a device that is not counted apart concern everybody's attempts.
    let (device, refund) = (Some("device 40"), Refund::CodeCheck(asked.code));
    codes.refund(&fixture.phone, Scope::Login, refund, device).await.unwrap();
    assert_eq!(fixture.left_after("000000").await, Some(0));
    codes.refund(&fixture.phone, Scope::Login, refund, device).await.unwrap();
    codes.mark_exhausted(&fixture.phone, Scope::Login, asked.code, ATTEMPTS, device).await.unwrap();
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Exhausted { .. }));
    // The next code has room for three again.
    fixture.pass(300);
    let next = fixture.code_request().await;
    fixture.issue(&next, "123456").await;
    let check = Verify { device: Some("device 59"), ..fixture.verify("000000") };
    codes.verify(&check).await.unwrap();
    assert_eq!(fixture.left_after("000000").await, Some(4));
}

async fn f04_the_strangers_count_does_not_show_which_device_used_the_code(fixture: CodesFixture) {
    let codes = fixture.store.codes();
    // The last one's attempts are not counted apart any more.
    let devices = ["first", "second", "third", "fourth"];
    for (winner, by) in [(devices[0], 0), (devices[2], 0), (devices[3], 1)] {
        let asked = fixture.code_request().await;
        fixture.issue(&asked, "123456").await;
        assert_eq!(fixture.left_after("000000").await, Some(4));
        for device in &devices[..3] {
            let check = Verify { device: Some(device), ..fixture.verify("000000") };
            assert!(matches!(codes.verify(&check).await.unwrap(), CheckOutcome::Wrong { .. }));
        }
        let check = Verify { device: Some(winner), ..fixture.verify("123456") };
        let judged = codes.verify(&check).await.unwrap();
        assert!(
            matches!(judged, CheckOutcome::Matched(Matched { attempts_left: 3, .. })),
            "{judged:?}"
        );
        // While nobody knows the outcome the count holds the attempt, if it is everybody's.
        assert_eq!(fixture.left_after("000000").await, Some(3 - by), "{winner}");
        let closing = Closing::UsedByDevice(winner, Some(Answered::named(asked.request)));
        codes.close(&fixture.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
        assert_eq!(fixture.left_after("000000").await, Some(2), "{winner}");
        fixture.pass(301);
    }
}

async fn f04_of_two_hundred_checks_at_once_by_a_known_device_five_are_compared(
    fixture: CodesFixture,
) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let attempts = (0..200).map(|n| {
        let (fixture, digits) = (&fixture, format!("{n:06}"));
        async move {
            let check = Verify { device: Some("mine"), ..fixture.verify(&digits) };
            fixture.store.codes().verify(&check).await.unwrap()
        }
    });
    let judged = futures::future::join_all(attempts).await;
    assert_eq!(judged.iter().filter(|j| matches!(j, CheckOutcome::Wrong { .. })).count(), 5);
    assert_eq!(judged.iter().filter(|j| matches!(j, CheckOutcome::Exhausted { .. })).count(), 195);
}

async fn p4_attempts_without_a_code_look_alike_and_block_no_request(fixture: CodesFixture) {
    for left in [4, 3, 2, 1, 0] {
        assert_eq!(fixture.left_after("000000").await, Some(left));
    }
    let CheckOutcome::Exhausted { code: None, now, until } = fixture.attempt("000000").await else {
        panic!("no attempts are left")
    };
    assert!((1..=300).contains(&until.secs_from(now)));
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    assert_eq!(fixture.left_after("000000").await, Some(4), "the next code starts with five");
}

async fn p5_a_resend_gives_the_same_code_and_moves_no_expiry(fixture: CodesFixture) {
    let first = fixture.code_request().await;
    fixture.issue(&first, "123456").await;
    fixture.pass(60);
    let second = fixture.code_request().await;
    assert_eq!((second.code, second.expires_at), (first.code, first.expires_at));
    assert_ne!(second.request, first.request);
    assert_eq!(fixture.issue(&second, "999999").await, Issued::Code("123456".into()));
    assert!(matches!(fixture.attempt("999999").await, CheckOutcome::Wrong { .. }));
    let CheckOutcome::Matched(Matched { code_requests, .. }) = fixture.attempt("123456").await
    else {
        panic!("the first text signs in")
    };
    assert_eq!(
        code_requests.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [first.request, second.request]
    );
}

async fn p5_a_used_code_sends_no_text(fixture: CodesFixture) {
    let (first, late) = (fixture.code_request().await, fixture.code_request().await);
    fixture.issue(&first, "123456").await;
    assert!(fixture.store.statuses().is_wanted(late.request).await.unwrap());
    fixture
        .store
        .codes()
        .close(
            &fixture.phone,
            Scope::Login,
            first.code,
            Closing::Used(Some(Answered::named(first.request))),
            PLACE,
        )
        .await
        .unwrap();
    assert_eq!(fixture.issue(&late, "999999").await, Issued::Used);
    assert!(!fixture.store.statuses().is_wanted(late.request).await.unwrap());
    let next = fixture.code_request().await;
    assert_ne!(next.code, first.code);
    assert!(fixture.store.statuses().is_wanted(next.request).await.unwrap());
}

async fn p5_no_request_joins_a_code_that_a_login_may_have_used(fixture: CodesFixture) {
    let first = fixture.code_request().await;
    fixture.issue(&first, "123456").await;
    for left in [4, 3, 2, 1] {
        assert_eq!(fixture.left_after("000000").await, Some(left));
    }
    // The outcome of its login is unknown. If it was not committed, the same code is correct once more.
    for _ in 0..2 {
        assert!(matches!(
            fixture.attempt("123456").await,
            CheckOutcome::Matched(Matched { attempts_left: 0, .. })
        ));
        let refund = Refund::CodeCheck(first.code);
        fixture.store.codes().refund(&fixture.phone, Scope::Login, refund, None).await.unwrap();
    }
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    fixture.pass(1);
    let next = fixture.code_request().await;
    assert_ne!(next.code, first.code, "requests are not refused either");
    assert!(next.expires_at > first.expires_at);
    assert!(
        !fixture.store.statuses().is_wanted(first.request).await.unwrap(),
        "the old code's message is unwanted"
    );
    assert_eq!(fixture.issue(&next, "654321").await, Issued::Code("654321".into()));
    assert_eq!(fixture.issue(&first, "123456").await, Issued::Superseded);
    let resend = fixture.code_request().await;
    assert_eq!((resend.code, resend.expires_at), (next.code, next.expires_at));
    // The login was committed after all: that ends only its own code.
    fixture
        .store
        .codes()
        .close(&fixture.phone, Scope::Login, first.code, Closing::Used(None), PLACE)
        .await
        .unwrap();
    assert!(matches!(
        fixture.attempt("654321").await,
        CheckOutcome::Matched(Matched { attempts_left: 4, .. })
    ));
}

async fn p5_a_correct_check_that_was_not_judged_changes_nothing_for_requests(
    fixture: CodesFixture,
) {
    let first = fixture.code_request().await;
    fixture.issue(&first, "123456").await;
    let refund = async |refund| {
        fixture.store.codes().refund(&fixture.phone, Scope::Login, refund, None).await.unwrap();
    };
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    refund(Refund::Unused(first.code)).await;
    assert_eq!(fixture.code_request().await.code, first.code);
    // One of two concurrent correct checks may have used it: a wait for the other does not prove that it was not used.
    for _ in 0..2 {
        assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    }
    refund(Refund::Unused(first.code)).await;
    assert_ne!(fixture.code_request().await.code, first.code);
}

async fn p5_a_request_for_one_code_disturbs_no_other(mut fixture: CodesFixture) {
    fixture.limits.sends_per_phone_hour = 2;
    let first = fixture.code_request().await;
    fixture.issue(&first, "123456").await;
    let only = async |code| {
        let admit = Admit { only_code: Some(code), ..fixture.admit() };
        fixture.store.codes().admit(&admit).await.unwrap()
    };
    assert_eq!(only(CodeId::new(&fixture.clock)).await, Admission::Gone);
    // Its login may have used it. If not, the code is valid as before.
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    assert_eq!(only(first.code).await, Admission::Gone);
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    for _ in 0..2 {
        let refund = Refund::Unused(first.code);
        fixture.store.codes().refund(&fixture.phone, Scope::Login, refund, None).await.unwrap();
    }
    let Admission::Admitted(Admitted { code_id, .. }) = only(first.code).await else {
        panic!("a refused request is not counted")
    };
    assert_eq!(code_id, first.code);
}

async fn a_redelivered_request_is_the_same_request(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    for _ in 0..3 {
        assert_eq!(fixture.issue(&asked, "123456").await, Issued::Code("123456".into()));
    }
    let CheckOutcome::Matched(Matched { code_requests, .. }) = fixture.attempt("123456").await
    else {
        panic!("the code is right")
    };
    assert_eq!(code_requests.len(), 1);
}

async fn a_request_lost_by_redis_is_issued_from_its_event(fixture: CodesFixture) {
    let asked = Requested {
        request: RequestId::new(&fixture.clock),
        code: CodeId::new(&fixture.clock),
        expires_at: fixture.clock.now().plus_secs(250),
    };
    assert_eq!(fixture.issue(&asked, "123456").await, Issued::Code("123456".into()));
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
    fixture.pass(251);
    assert_eq!(fixture.issue(&asked, "123456").await, Issued::Expired);
}

async fn a_request_older_than_the_stored_code_is_superseded(fixture: CodesFixture) {
    let old = Requested {
        request: RequestId::new(&fixture.clock),
        code: CodeId::new(&fixture.clock),
        expires_at: fixture.clock.now().plus_secs(300),
    };
    fixture.pass(1);
    let new = fixture.code_request().await;
    fixture.issue(&new, "123456").await;
    assert_eq!(fixture.issue(&old, "999999").await, Issued::Superseded);
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
}

async fn the_newer_code_ends_later_whatever_the_gateways_clocks_say(fixture: CodesFixture) {
    let ahead = Clock::manual();
    ahead.advance(Duration::from_hours(1));
    let made_by = |clock, ends_in| Requested {
        request: RequestId::new(clock),
        code: CodeId::new(clock),
        expires_at: fixture.clock.now().plus_secs(ends_in),
    };
    let (old, new) = (made_by(&ahead, 100), made_by(&fixture.clock, 300));
    assert!(old.code > new.code);
    assert_eq!(fixture.issue(&old, "999999").await, Issued::Code("999999".into()));
    assert_eq!(fixture.issue(&new, "123456").await, Issued::Code("123456".into()));
    assert_eq!(fixture.issue(&old, "999999").await, Issued::Superseded);
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Matched { .. }));
}

async fn a_slot_without_a_code_counts_like_one_with_a_code(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    assert_eq!(fixture.issue_in(Scope::Login, &asked, None).await, Issued::Nothing);
    for left in [4, 3, 2, 1, 0] {
        let CheckOutcome::Wrong { code, attempts_left, .. } = fixture.attempt("").await else {
            panic!("nothing matches")
        };
        assert_eq!((code.map(|(id, _)| id), attempts_left), (Some(asked.code), left));
    }
    assert!(matches!(
        fixture.store.codes().admit(&fixture.admit()).await.unwrap(),
        Admission::Exhausted { .. }
    ));
}

async fn a_cooldown_doubles_until_a_success(mut fixture: CodesFixture) {
    fixture.limits.resend_cooldown_secs = 30;
    let mut last = None;
    for wait in [30, 60, 120, 240, 480, 600, 600] {
        let asked = fixture.code_request().await;
        let (limit, retry_after) = fixture.refusal(&fixture.admit()).await.expect("too soon");
        assert!(
            limit == Limit::Cooldown && (wait - 1..=wait).contains(&retry_after),
            "{retry_after} of {wait}"
        );
        fixture.pass(wait);
        last = Some(asked);
    }
    fixture.sign_in(&last.unwrap()).await;
    fixture.code_request().await;
    let (_, retry_after) = fixture.refusal(&fixture.admit()).await.expect("too soon");
    assert!(
        (29..=30).contains(&retry_after),
        "after a success the first wait applies again, not {retry_after}"
    );
}

async fn limits_of_a_phone_slide(mut fixture: CodesFixture) {
    fixture.limits.sends_per_phone_hour = 2;
    fixture.limits.sends_per_phone_day = 3;
    fixture.code_request().await;
    fixture.pass(1800);
    fixture.code_request().await;
    let (limit, wait) = fixture.refusal(&fixture.admit()).await.expect("two an hour");
    assert!(limit == Limit::PhoneHour && (1799..=1800).contains(&wait), "{wait}");
    fixture.pass(1800);
    fixture.code_request().await;
    fixture.pass(3600);
    let (limit, wait) = fixture.refusal(&fixture.admit()).await.expect("three a day");
    assert!(
        limit == Limit::PhoneDay && (86_400 - 7200 - 1..=86_400 - 7200).contains(&wait),
        "{wait}"
    );
}

async fn limits_of_an_address_count_all_phones(mut fixture: CodesFixture) {
    fixture.addresses = vec![range("an address", 2)];
    fixture.code_request().await;
    let other = fixture.keys.phone_key(&"+989351234567".parse().unwrap());
    assert_eq!(fixture.refusal(&Admit { phone: &other, ..fixture.admit() }).await, None);
    let refused = fixture.refusal(&fixture.admit()).await.expect("two an hour");
    assert!(refused.0 == Limit::IpHour && (3599..=3600).contains(&refused.1), "{refused:?}");
    let another = [range("another", 2)];
    assert_eq!(fixture.refusal(&Admit { addresses: &another, ..fixture.admit() }).await, None);
}

async fn f02_a_request_counts_in_every_range_of_its_address(fixture: CodesFixture) {
    let ask = async |host: u32| {
        let addresses = [range(&host.to_string(), 2), range("its network", 5)];
        let admit = Admit { addresses: &addresses, ..fixture.admit() };
        let answer = fixture.store.codes().admit(&admit).await.unwrap();
        match answer {
            Admission::Limited { limit: Limit::IpHour, retry_after } => Some(retry_after),
            Admission::Admitted { .. } => {
                if host == 9 {
                    fixture.store.codes().withdraw(&admit).await.unwrap();
                }
                None
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(9).await, None, "withdrawn: it counts nowhere");
    for host in 0..2 {
        assert_eq!((ask(host).await, ask(host).await), (None, None));
        assert!(ask(host).await.is_some(), "what is refused counts nowhere");
    }
    fixture.pass(60);
    assert_eq!(ask(2).await, None, "the fifth of the network");
    let wait = ask(3).await.expect("a host of its own does not help");
    assert!((3539..=3540).contains(&wait), "{wait}");
    fixture.pass(3540);
    assert_eq!(ask(2).await, None);
}

async fn f02_a_login_counts_in_every_range_of_its_address(fixture: CodesFixture) {
    let login = async |host: u32| {
        let addresses = logins(&[(&host.to_string(), 2), ("its network", 3)]);
        let limits = fixture.store.limits();
        if host.is_multiple_of(2) {
            return limits.count_login(&addresses).await.unwrap();
        }
        let attempt = Verify { addresses: &addresses, ..fixture.verify("000000") };
        match fixture.store.codes().verify(&attempt).await.unwrap() {
            CheckOutcome::Limited { retry_after } => Some(retry_after),
            _ => None,
        }
    };
    assert_eq!((login(1).await, login(1).await), (None, None));
    assert!(login(1).await.is_some(), "two of one host");
    fixture.pass(20);
    assert_eq!(login(2).await, None, "the third of the network");
    for host in [3, 4] {
        let wait = login(host).await.expect("three of the network");
        assert!((39..=40).contains(&wait), "{wait}");
    }
    fixture.pass(40);
    assert_eq!((login(3).await, login(4).await), (None, None));
    assert!(login(5).await.is_some());
}

async fn f12_a_range_in_which_many_phones_failed_waits_and_longer_each_time(fixture: CodesFixture) {
    let phone = |n: u32| fixture.keys.phone_key(&format!("+98912{n:07}").parse().unwrap());
    let network = [failures("a network", 3, 1)];
    let limits = fixture.store.limits();
    let fail = async |phones: std::ops::Range<u32>| {
        for n in phones {
            assert_eq!(limits.note_failure(&network, &phone(n)).await.unwrap(), None);
        }
    };
    let wait = async |range: &FailureRange| {
        let addresses = LoginAddresses { failures: vec![range.clone()], ..Default::default() };
        limits.count_login(&addresses).await.unwrap()
    };
    for _ in 0..5 {
        fail(0..3).await;
    }
    assert_eq!(wait(&network[0]).await, None, "one phone counts once");
    for longer in [60, 120, 240] {
        fail(3..4).await;
        let told = wait(&network[0]).await.expect("a fourth phone");
        assert!((longer - 1..=longer).contains(&told), "{told} of {longer}");
        let attempt = Verify {
            addresses: &LoginAddresses { failures: network.to_vec(), ..Default::default() },
            ..fixture.verify("000000")
        };
        let refused = fixture.store.codes().verify(&attempt).await.unwrap();
        assert!(matches!(refused, CheckOutcome::Limited { .. }), "{refused:?}");
        fixture.pass(told);
        // The next wait takes as many phones again.
        fail(0..3).await;
        assert_eq!(wait(&network[0]).await, None);
    }
    assert_eq!(wait(&failures("another network", 3, 1)).await, None);
    // Phones that failed ten minutes ago do not count, and after a day the wait is short again.
    fixture.pass(3600);
    fail(0..1).await;
    assert_eq!(wait(&network[0]).await, None);
    fixture.pass(86_400);
    fail(0..4).await;
    assert!(wait(&network[0]).await.is_some_and(|wait| wait <= 60));
}

async fn f12_few_networks_do_not_shut_the_wider_range_around_them(fixture: CodesFixture) {
    let limits = fixture.store.limits();
    let wider = failures("a carrier", 5, 4);
    let fail = async |network: u32, phones: std::ops::Range<u32>| {
        let ranges = [failures(&format!("network {network}"), 1000, 1), wider.clone()];
        for n in phones {
            let phone = Phone::trusted(&format!("+98912{n:07}")).unwrap();
            let phone = fixture.keys.phone_key(phone.e164());
            assert_eq!(limits.note_failure(&ranges, &phone).await.unwrap(), None);
        }
    };
    let wait = async || {
        let addresses = LoginAddresses { failures: vec![wider.clone()], ..Default::default() };
        limits.count_login(&addresses).await.unwrap()
    };
    for network in 0..3 {
        fail(network, 20 * network..20 * network + 20).await;
        assert_eq!(wait().await, None, "sixty phones, but three networks");
    }
    fixture.pass(FAILURE_WINDOW_SECS);
    for network in 3..6 {
        fail(network, 0..4).await;
    }
    assert_eq!(wait().await, None, "only networks of these ten minutes count");
    fail(6, 0..4).await;
    assert_eq!(wait().await, None, "four networks, but four phones");
    fail(6, 4..6).await;
    let told = wait().await.expect("six phones of four networks");
    fixture.pass(told);
    fail(6, 6..20).await;
    assert_eq!(wait().await, None, "networks count anew after a wait");
}

async fn f12_failures_at_many_phones_from_anywhere_are_reported_once_a_window(
    fixture: CodesFixture,
) {
    let limits = fixture.store.limits();
    let fail = async |n: u64| {
        let phone = Phone::trusted(&format!("+98912{n:07}")).unwrap();
        let phone = fixture.keys.phone_key(phone.e164());
        limits.note_failure(&[failures(&n.to_string(), 50, 1)], &phone).await.unwrap()
    };
    for _ in 0..2 {
        for n in 0..SUSPICIOUS_PHONES - 1 {
            assert_eq!(fail(n).await, None);
        }
        assert_eq!(fail(0).await, None, "one phone counts once");
        let found =
            SuspiciousFailures { failures: SUSPICIOUS_PHONES + 1, phones: SUSPICIOUS_PHONES };
        assert_eq!(fail(SUSPICIOUS_PHONES).await, Some(found));
        assert_eq!(fail(SUSPICIOUS_PHONES + 1).await, None, "once a window");
        fixture.pass(FAILURE_WINDOW_SECS);
    }
}

/// Ranges of addresses, with the logins that each may make.
fn logins(ranges: &[(&str, u64)]) -> LoginAddresses {
    let logins = ranges.iter().map(|(key, most)| range(key, *most)).collect();
    LoginAddresses { logins, failures: Vec::new() }
}

fn failures(key: &str, most: u64, networks: u64) -> FailureRange {
    FailureRange { key: key.to_owned(), most, networks }
}

fn range(key: &str, most: u64) -> AddressLimit {
    AddressLimit { key: key.to_owned(), most }
}

async fn limits_of_prefix_country_and_world_are_named_in_the_refusal(mut fixture: CodesFixture) {
    fixture.limits.sends_per_prefix_hour = 1;
    fixture.limits.sends_per_country_hour = 2;
    fixture.limits.sends_global_day = 3;
    fixture.code_request().await;
    let prefix = |of| Admit { operator_prefix: of, ..fixture.admit() };
    assert_eq!(
        fixture.refusal(&fixture.admit()).await.map(|(limit, _)| limit),
        Some(Limit::PrefixHour)
    );
    assert_eq!(fixture.refusal(&prefix("989350")).await, None);
    assert_eq!(
        fixture.refusal(&prefix("989360")).await.map(|(limit, _)| limit),
        Some(Limit::CountryHour)
    );
    assert_eq!(fixture.refusal(&Admit { country: "GB", ..prefix("447400") }).await, None);
    let (limit, wait) =
        fixture.refusal(&Admit { country: "FR", ..prefix("336123") }).await.expect("three a day");
    assert!(limit == Limit::GlobalDay && (86_399..=86_400).contains(&wait), "{wait}");
    fixture.pass(3600);
    assert_eq!(
        fixture.refusal(&fixture.admit()).await.map(|(limit, _)| limit),
        Some(Limit::GlobalDay),
        "the hour is over"
    );
}

async fn logins_of_an_address_slide(fixture: CodesFixture) {
    let (address, another) = (logins(&[("an address", 2)]), logins(&[("another", 2)]));
    let attempt = Verify { addresses: &address, ..fixture.verify("000000") };
    assert!(matches!(
        fixture.store.codes().verify(&attempt).await.unwrap(),
        CheckOutcome::Wrong { attempts_left: 4, .. }
    ));
    assert_eq!(
        fixture.store.limits().count_login(&address).await.unwrap(),
        None,
        "one count for all logins"
    );
    let CheckOutcome::Limited { retry_after } =
        fixture.store.codes().verify(&attempt).await.unwrap()
    else {
        panic!("two a minute")
    };
    assert!((59..=60).contains(&retry_after));
    assert!(fixture.store.limits().count_login(&address).await.unwrap().is_some());
    assert_eq!(fixture.store.limits().count_login(&another).await.unwrap(), None);
    fixture.pass(60);
    assert!(matches!(
        fixture.store.codes().verify(&attempt).await.unwrap(),
        CheckOutcome::Wrong { attempts_left: 3, .. }
    ));
}

async fn f14_writes_of_a_session_slide(fixture: CodesFixture) {
    let (limits, clock) = (fixture.store.limits(), Clock::system());
    let (session, other) = (SessionId::new(&clock).uuid(), SessionId::new(&clock).uuid());
    let count = async |writer, kind| limits.count_write(writer, kind, 2).await.unwrap();
    for _ in 0..2 {
        assert_eq!(count(session, "all").await, None);
    }
    let wait = count(session, "all").await.expect("two a minute");
    assert!((59..=60).contains(&wait), "{wait}");
    assert_eq!(count(session, "password").await, None, "each kind has its own count");
    assert_eq!(count(other, "all").await, None);
    fixture.pass(60);
    assert_eq!(count(session, "all").await, None);
}

async fn f18_a_test_number_has_the_limit_of_the_address_and_one_of_its_own(
    mut fixture: CodesFixture,
) {
    fixture.limits = Limits::OF_A_TEST_NUMBER;
    fixture.addresses = vec![range("an address", 60)];
    for _ in 0..60 {
        fixture.code_request().await;
    }
    let refused = fixture.refusal(&fixture.admit()).await.map(|(limit, _)| limit);
    assert_eq!(refused, Some(Limit::IpHour));
    fixture.addresses = vec![range("another", 60)];
    for _ in 0..40 {
        fixture.code_request().await;
    }
    let (limit, wait) = fixture.refusal(&fixture.admit()).await.expect("a hundred an hour");
    assert!(limit == Limit::PhoneHour && (3590..=3600).contains(&wait), "{wait}");
    fixture.pass(3600);
    fixture.code_request().await;
    // It counts in nothing that other numbers share, and neither does its withdrawal.
    let others = Limits { sends_per_country_hour: 1, sends_global_day: 1, ..Limits::NONE };
    let phone = fixture.keys.phone_key(&"+989351234567".parse().unwrap());
    let other = Admit { phone: &phone, limits: &others, addresses: &[], ..fixture.admit() };
    assert_eq!(fixture.refusal(&other).await, None);
    let withdrawn = fixture.admit();
    assert_eq!(fixture.refusal(&withdrawn).await, None);
    fixture.store.codes().withdraw(&withdrawn).await.unwrap();
    let next = Admit { request_id: RequestId::new(&fixture.clock), ..other };
    let refused = fixture.refusal(&next).await.map(|(limit, _)| limit);
    assert_eq!(refused, Some(Limit::CountryHour));
}

async fn f04_a_known_device_requests_three_a_day_beyond_what_strangers_used_up(
    mut fixture: CodesFixture,
) {
    fixture.limits.sends_per_phone_hour = 2;
    fixture.limits.sends_per_phone_day = 4;
    fixture.addresses = vec![range("an address", 30)];
    let (owner, other) = (UserId::new(&fixture.clock), UserId::new(&fixture.clock));
    let ask = async |device: Option<UserId>| {
        let admit = Admit { known_device: device, ..fixture.admit() };
        fixture.refusal(&admit).await.map(|(limit, _)| limit)
    };
    assert_eq!((ask(None).await, ask(None).await), (None, None));
    assert_eq!(ask(None).await, Some(Limit::PhoneHour));
    // What is withdrawn costs the device nothing.
    let withdrawn = Admit { known_device: Some(owner), ..fixture.admit() };
    assert_eq!(fixture.refusal(&withdrawn).await, None);
    fixture.store.codes().withdraw(&withdrawn).await.unwrap();
    for _ in 0..2 {
        assert_eq!(ask(Some(owner)).await, None);
        assert_eq!(ask(None).await, Some(Limit::PhoneHour), "it opens nothing for others");
    }
    fixture.pass(3600);
    assert_eq!(ask(None).await, Some(Limit::PhoneDay));
    assert_eq!(ask(Some(owner)).await, None, "beyond the day, too");
    assert_eq!(ask(Some(owner)).await, Some(Limit::PhoneDay), "three a day");
    assert_eq!(ask(Some(other)).await, None, "another user's device has its own budget");
    fixture.pass(86_400);
    assert_eq!(ask(Some(owner)).await, None, "within the phone's limits it costs nothing");
    assert_eq!((ask(None).await, ask(None).await), (None, Some(Limit::PhoneHour)));
    for _ in 0..3 {
        assert_eq!(ask(Some(owner)).await, None);
    }
    assert_eq!(ask(Some(owner)).await, Some(Limit::PhoneHour));
    // The limits of the address and of all phones together hold for everybody.
    fixture.addresses = vec![range("a busy one", 1)];
    let phone = fixture.keys.phone_key(&"+989351234567".parse().unwrap());
    let first = Admit { phone: &phone, ..fixture.admit() };
    assert_eq!(fixture.refusal(&first).await, None);
    let second = Admit { phone: &phone, known_device: Some(owner), ..fixture.admit() };
    let refused = fixture.refusal(&second).await.map(|(limit, _)| limit);
    assert_eq!(refused, Some(Limit::IpHour));
}

/// An account that is deleted and made anew has another user on the same number, and its devices another budget.
async fn f04_the_known_devices_of_one_phone_request_six_a_day_together(mut fixture: CodesFixture) {
    fixture.limits.sends_per_phone_day = 1;
    let ask = async |device: Option<UserId>| {
        let admit = Admit { known_device: device, ..fixture.admit() };
        fixture.refusal(&admit).await.map(|(limit, _)| limit)
    };
    let user = || Some(UserId::new(&fixture.clock));
    for _ in 0..2 {
        assert_eq!(ask(None).await, None);
        for _ in 0..6 {
            assert_eq!(ask(user()).await, None);
        }
        assert_eq!(ask(user()).await, Some(Limit::PhoneDay), "six a day");
        assert_eq!(ask(user()).await, Some(Limit::PhoneDay));
        fixture.store.codes().forget(&fixture.phone, user().unwrap()).await.unwrap();
        assert_eq!(ask(user()).await, Some(Limit::PhoneDay), "a deletion gives none back");
        fixture.pass(86_400);
    }
    assert_eq!(ask(None).await, None);
    let withdrawn = Admit { known_device: user(), ..fixture.admit() };
    assert_eq!(fixture.refusal(&withdrawn).await, None);
    fixture.store.codes().withdraw(&withdrawn).await.unwrap();
    for _ in 0..6 {
        assert_eq!(ask(user()).await, None, "what is withdrawn costs nothing");
    }
    assert_eq!(ask(user()).await, Some(Limit::PhoneDay));
}

async fn f04_a_known_device_waits_for_its_own_cooldown_only(mut fixture: CodesFixture) {
    fixture.limits.resend_cooldown_secs = 30;
    let owner = UserId::new(&fixture.clock);
    for wait in [30, 60, 120] {
        fixture.code_request().await;
        fixture.pass(wait);
    }
    fixture.code_request().await;
    let device = || Admit { known_device: Some(owner), asker: "a device", ..fixture.admit() };
    let Admission::Admitted(Admitted { now, resend_at, .. }) =
        fixture.store.codes().admit(&device()).await.unwrap()
    else {
        panic!("it waits for no stranger")
    };
    assert_eq!(resend_at.secs_from(now), 30, "its own next one");
    let (limit, wait) = fixture.refusal(&device()).await.expect("its own cooldown");
    assert!(limit == Limit::Cooldown && (29..=30).contains(&wait), "{wait}");
    for _ in 0..2 {
        fixture.pass(30);
        assert_eq!(fixture.refusal(&device()).await, None);
    }
    fixture.pass(30);
    let (limit, wait) = fixture.refusal(&device()).await.expect("three a day");
    assert!(limit == Limit::Cooldown && wait > 500, "{wait}");
}

async fn f04_a_known_device_joins_a_code_that_strangers_exhausted(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    for _ in 0..ATTEMPTS {
        fixture.attempt("000000").await;
    }
    let owner = UserId::new(&fixture.clock);
    let exhausted = async |device: Option<UserId>| {
        let key = device.map(|_| "a device");
        let admit = Admit { known_device: device, device: key, ..fixture.admit() };
        match fixture.store.codes().admit(&admit).await.unwrap() {
            Admission::Exhausted { .. } => true,
            Admission::Admitted(Admitted { code_id, .. }) => {
                assert_eq!(code_id, asked.code, "the live code");
                false
            }
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..3 {
        assert!(exhausted(None).await);
        assert!(!exhausted(Some(owner)).await);
    }
    assert!(exhausted(Some(owner)).await, "three a day");
}

async fn f04_a_known_device_is_not_sent_a_code_that_it_exhausted(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let owner = Some(UserId::new(&fixture.clock));
    let is_sent = async |device: &'static str| {
        let admit = Admit { known_device: owner, device: Some(device), ..fixture.admit() };
        match fixture.store.codes().admit(&admit).await.unwrap() {
            Admission::Exhausted { .. } => false,
            Admission::Admitted(_) => true,
            other => panic!("{other:?}"),
        }
    };
    for n in 0..ATTEMPTS {
        assert!(is_sent("mine").await, "{n} attempts");
        let check = Verify { device: Some("mine"), ..fixture.verify("000000") };
        fixture.store.codes().verify(&check).await.unwrap();
    }
    assert!(!is_sent("mine").await);
    // Nobody else's attempts are used.
    assert!(is_sent("other").await);
    fixture.code_request().await;
    fixture.pass(300);
    assert!(is_sent("mine").await, "the next code");
}

/// A request by this asker, once the wait that it leads to is over: that wait in seconds, and the request.
async fn ask_and_wait(fixture: &CodesFixture, asker: &str) -> (u64, Requested) {
    let admit = Admit { asker, ..fixture.admit() };
    let Admission::Admitted(Admitted { code_id: code, now, expires_at, resend_at, .. }) =
        fixture.store.codes().admit(&admit).await.unwrap()
    else {
        panic!("admitted")
    };
    let wait = resend_at.secs_from(now);
    fixture.pass(wait);
    (wait, Requested { request: admit.request_id, code, expires_at })
}

async fn f09_a_sign_in_shortens_the_waits_of_its_own_asker_only(mut fixture: CodesFixture) {
    fixture.limits.resend_cooldown_secs = 30;
    let ask = async |asker: &str| ask_and_wait(&fixture, asker).await;
    assert_eq!((ask("a stranger").await.0, ask("a stranger").await.0), (30, 60));
    let (wait, owners) = ask("the owner").await;
    assert_eq!(wait, 120);
    fixture.sign_in(&owners).await;
    assert_eq!(ask("a stranger").await.0, 240, "as if nobody had signed in");
    assert_eq!(ask("the owner").await.0, 60, "one stranger asked since");
    assert_eq!(ask("another stranger").await.0, 600);
    // A day after the first one the count begins anew.
    fixture.pass(86_400);
    assert_eq!((ask("a stranger").await.0, ask("the owner").await.0), (30, 60));
}

async fn f09_a_sign_in_that_names_no_request_forgives_no_stranger(mut fixture: CodesFixture) {
    fixture.limits.resend_cooldown_secs = 30;
    let ask = async |asker: &str| ask_and_wait(&fixture, asker).await;
    assert_eq!(ask("the owner").await.0, 30);
    let (wait, newest) = ask("a stranger").await;
    assert_eq!(wait, 60);
    let askers = ["a device".to_owned(), "the owner".to_owned()];
    let answered = Answered { request: newest.request, named: false, askers: &askers };
    let (codes, closing) =
        (fixture.store.codes(), Closing::UsedByDevice("a device", Some(answered)));
    codes.close(&fixture.phone, Scope::Login, newest.code, closing, PLACE).await.unwrap();
    assert_eq!(ask("a stranger").await.0, 120, "as if nobody had signed in");
    assert_eq!(ask("the owner").await.0, 60, "one stranger asked since");
    assert_eq!(ask("a device").await.0, 120, "two others asked since");
}

async fn f11_a_sign_in_by_a_known_device_proves_the_phone_too(mut fixture: CodesFixture) {
    fixture.limits.sends_per_prefix_day = 1;
    let asked = fixture.code_request().await;
    let refused = async || fixture.refusal(&fixture.admit()).await.map(|(limit, _)| limit);
    assert_eq!(refused().await, Some(Limit::PrefixDay));
    let closing = Closing::UsedByDevice("a device", Some(Answered::named(asked.request)));
    let codes = fixture.store.codes();
    codes.close(&fixture.phone, Scope::Login, asked.code, closing, PLACE).await.unwrap();
    assert_eq!(refused().await, None, "it verified");
}

async fn f11_a_phone_that_verified_passes_the_budgets_of_country_and_prefix(
    mut fixture: CodesFixture,
) {
    fixture.limits.sends_per_country_hour = 1;
    fixture.limits.sends_per_prefix_day = 1;
    fixture.sign_in(&fixture.code_request().await).await;
    let stranger = fixture.keys.phone_key(&"+989351234567".parse().unwrap());
    let ask = async |admit: Admit<'_>| fixture.refusal(&admit).await.map(|(limit, _)| limit);
    let owner = Some(UserId::new(&fixture.clock));
    for _ in 0..3 {
        assert_eq!(
            ask(Admit { phone: &stranger, ..fixture.admit() }).await,
            Some(Limit::PrefixDay)
        );
        assert_eq!(ask(fixture.admit()).await, None, "it verified");
    }
    assert_eq!(ask(fixture.admit()).await, Some(Limit::PrefixDay), "three a day");
    assert_eq!(
        ask(Admit { phone: &stranger, proven_passes: true, ..fixture.admit() }).await,
        Some(Limit::PrefixDay)
    );
    for _ in 0..3 {
        let device = Admit { known_device: owner, ..fixture.admit() };
        assert_eq!(ask(device).await, None, "the device has three of its own");
    }
    let device = Admit { known_device: owner, ..fixture.admit() };
    assert_eq!(ask(device).await, Some(Limit::PrefixDay));
    // The net of all phones holds for everybody.
    let world = Limits { sends_global_day: 1, ..Limits::NONE };
    fixture.pass(86_400);
    assert_eq!(ask(Admit { limits: &world, ..fixture.admit() }).await, None);
    let device = Admit { limits: &world, known_device: owner, ..fixture.admit() };
    assert_eq!(ask(device).await, Some(Limit::GlobalDay));

    // It is remembered for 90 days at least and 120 at most, and not for a deleted account.
    let passes = async || {
        // The first one fills the budgets, and the second needs to pass.
        ask(Admit { phone: &stranger, ..fixture.admit() }).await;
        ask(fixture.admit()).await.is_none()
    };
    fixture.pass(89 * 86_400);
    assert!(passes().await);
    assert_eq!(
        ask(Admit { proven_passes: false, ..fixture.admit() }).await,
        Some(Limit::PrefixDay)
    );
    fixture.pass(31 * 86_400);
    assert!(!passes().await);
    fixture.pass(86_400);
    fixture.sign_in(&fixture.code_request().await).await;
    assert!(passes().await);
    fixture.store.codes().forget(&fixture.phone, UserId::new(&fixture.clock)).await.unwrap();
    assert!(!passes().await);
}

async fn a_refused_request_counts_nothing(mut fixture: CodesFixture) {
    fixture.limits.sends_per_phone_hour = 1;
    fixture.addresses = vec![range("an address", 2)];
    fixture.code_request().await;
    for _ in 0..5 {
        assert_eq!(
            fixture.refusal(&fixture.admit()).await.map(|(limit, _)| limit),
            Some(Limit::PhoneHour)
        );
    }
    let other = fixture.keys.phone_key(&"+989351234567".parse().unwrap());
    assert_eq!(
        fixture.refusal(&Admit { phone: &other, ..fixture.admit() }).await,
        None,
        "the address has one left"
    );
}

async fn a_withdrawn_request_leaves_no_trace(mut fixture: CodesFixture) {
    fixture.limits = Limits {
        resend_cooldown_secs: 30,
        sends_per_phone_hour: 1,
        sends_per_country_hour: 1,
        sends_per_prefix_day: 1,
        sends_global_day: 1,
        ..Limits::NONE
    };
    fixture.addresses = vec![range("an address", 1)];
    let admit = Admit {
        idempotency: Some(Idempotency { key: "k".into(), body: "b".into() }),
        ..fixture.admit()
    };
    assert_eq!(fixture.refusal(&admit).await, None);
    fixture.store.codes().withdraw(&admit).await.unwrap();
    assert_eq!(fixture.store.statuses().get(admit.request_id).await.unwrap(), None);
    assert_eq!(
        fixture
            .refusal(&Admit { request_id: RequestId::new(&fixture.clock), ..admit.clone() })
            .await,
        None
    );
    assert!(fixture.refusal(&fixture.admit()).await.is_some(), "the second one counts");
}

async fn p13_the_slot_of_withdrawn_requests_goes_with_the_last_unless_a_code_was_issued(
    fixture: CodesFixture,
) {
    let codes = fixture.store.codes();
    let admitted = async |admit: &Admit<'_>| match codes.admit(admit).await.unwrap() {
        Admission::Admitted(Admitted { code_id, expires_at, .. }) => {
            Requested { request: admit.request_id, code: code_id, expires_at }
        }
        other => panic!("not admitted: {other:?}"),
    };
    let (first, second) = (fixture.admit(), fixture.admit());
    let withdrawn = admitted(&first).await;
    assert_eq!(admitted(&second).await.code, withdrawn.code);
    for admit in [&first, &second] {
        codes.withdraw(admit).await.unwrap();
    }
    fixture.pass(60);
    let (third, fourth) = (fixture.admit(), fixture.admit());
    let next = admitted(&third).await;
    assert_ne!(next.code, withdrawn.code, "a code without a request is not joined");
    assert!(next.expires_at.secs_from(withdrawn.expires_at) >= 60, "a new code has its whole life");
    // One request stays, and after it the code that somebody may hold.
    admitted(&fourth).await;
    codes.withdraw(&fourth).await.unwrap();
    assert_eq!(fixture.issue(&next, "123456").await, Issued::Code("123456".into()));
    codes.withdraw(&third).await.unwrap();
    let CheckOutcome::Matched(Matched { code_id, .. }) = fixture.attempt("123456").await else {
        panic!("the issued code is right")
    };
    assert_eq!(code_id, next.code);
}

async fn p1_a_request_that_another_call_may_have_published_is_not_withdrawn(fixture: CodesFixture) {
    for published in [false, true] {
        let key = format!("published {published}");
        let address = [range(&key, 1)];
        let keyed = || Admit {
            idempotency: Some(Idempotency { key: key.clone(), body: "b".into() }),
            addresses: &address,
            ..fixture.admit()
        };
        let (first, again) = (keyed(), keyed());
        assert_eq!(fixture.refusal(&first).await, None);
        assert!(matches!(
            fixture.store.codes().admit(&again).await.unwrap(),
            Admission::Replayed(_)
        ));
        if published {
            fixture.store.codes().published(&first).await.unwrap();
        }
        fixture.store.codes().withdraw(&first).await.unwrap();
        assert!(fixture.store.statuses().get(first.request_id).await.unwrap().is_some());
        let Admission::Replayed(replay) = fixture.store.codes().admit(&keyed()).await.unwrap()
        else {
            panic!("the first answer is kept")
        };
        assert_eq!((replay.request_id, replay.published), (first.request_id, published));
        let another = Admit { addresses: &address, ..fixture.admit() };
        assert_eq!(fixture.refusal(&another).await.map(|(limit, _)| limit), Some(Limit::IpHour));
    }
}

async fn an_idempotency_key_gives_the_first_answer_for_a_day(mut fixture: CodesFixture) {
    fixture.limits.resend_cooldown_secs = 30;
    let keyed = |body: &str| Admit {
        idempotency: Some(Idempotency { key: "k".into(), body: body.into() }),
        ..fixture.admit()
    };
    let first = keyed("b");
    let Admission::Admitted(Admitted { code_id, expires_at, resend_at, .. }) =
        fixture.store.codes().admit(&first).await.unwrap()
    else {
        panic!("admitted")
    };
    let Admission::Replayed(replay) = fixture.store.codes().admit(&keyed("b")).await.unwrap()
    else {
        panic!("replayed")
    };
    assert_eq!(
        (replay.request_id, replay.code_id, replay.published),
        (first.request_id, code_id, false)
    );
    assert_eq!((replay.expires_at, replay.resend_at), (expires_at, resend_at));
    fixture.store.codes().published(&first).await.unwrap();
    let Admission::Replayed(replay) = fixture.store.codes().admit(&keyed("b")).await.unwrap()
    else {
        panic!("replayed")
    };
    assert!(replay.published);
    assert_eq!(fixture.store.codes().admit(&keyed("other")).await.unwrap(), Admission::KeyReused);
    let elsewhere = Admit { route: "signup", ..keyed("other") };
    assert_eq!(
        fixture.refusal(&elsewhere).await.map(|(limit, _)| limit),
        Some(Limit::Cooldown),
        "a key belongs to its route"
    );
}

async fn a_status_only_advances(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    let statuses = fixture.store.statuses();
    let advance_status = |status| statuses.advance(asked.request, status, None, asked.expires_at);
    assert!(advance_status(Status::Sent).await.unwrap());
    for lower in [Status::Accepted, Status::Issued, Status::Sending, Status::Sent] {
        assert!(!advance_status(lower).await.unwrap(), "{lower}");
    }
    assert!(advance_status(Status::Undelivered).await.unwrap());
    assert!(advance_status(Status::Delivered).await.unwrap(), "it arrived after all");
    for worse in [Status::Undelivered, Status::Failed] {
        assert!(!advance_status(worse).await.unwrap(), "a delivered message stays delivered");
    }
    assert!(advance_status(Status::Verified).await.unwrap());
    let found = fixture.store.statuses().get(asked.request).await.unwrap().unwrap();
    assert_eq!(
        (found.status, found.expires_at, found.channel),
        (Status::Verified, asked.expires_at, Channel::Sms)
    );
}

async fn a_lost_status_comes_back_with_the_next_event(fixture: CodesFixture) {
    let (lost, expires_at) = (RequestId::new(&fixture.clock), fixture.clock.now().plus_secs(100));
    assert_eq!(fixture.store.statuses().get(lost).await.unwrap(), None);
    assert!(fixture.store.statuses().advance(lost, Status::Sent, None, expires_at).await.unwrap());
    let found = fixture.store.statuses().get(lost).await.unwrap().unwrap();
    assert_eq!((found.status, found.expires_at), (Status::Sent, expires_at));
}

async fn statuses_raised_together_are_judged_one_after_the_other(fixture: CodesFixture) {
    let (asked, done) = (fixture.code_request().await, fixture.code_request().await);
    let statuses = fixture.store.statuses();
    statuses.advance(done.request, Status::Verified, None, done.expires_at).await.unwrap();
    let lost = RequestId::new(&fixture.clock);
    let raise = |request_id, status, reason| Raise {
        request_id,
        status,
        reason,
        expires_at: fixture.clock.now().plus_secs(100),
    };
    let blocked = Some(Reason::CarrierBlocked);
    let raises = [
        raise(asked.request, Status::Undelivered, blocked),
        raise(done.request, Status::Sent, None),
        raise(lost, Status::Sending, None),
        // Of a lower rank, then of a higher one that clears the reason.
        raise(asked.request, Status::Sent, None),
        raise(lost, Status::Sent, None),
        raise(asked.request, Status::Delivered, None),
    ];
    let changed = statuses.raise_many(&raises).await.unwrap();
    assert_eq!(changed, [true, false, true, false, true, true]);
    let found = statuses.get(asked.request).await.unwrap().unwrap();
    assert_eq!((found.status, found.reason), (Status::Delivered, None));
    assert_eq!(found.expires_at, asked.expires_at, "the record was there");
    assert_eq!(fixture.status_of(done.request).await, Some(Status::Verified));
    let found = statuses.get(lost).await.unwrap().unwrap();
    assert_eq!((found.status, found.expires_at), (Status::Sent, raises[2].expires_at));
    // Told again, they change nothing.
    assert_eq!(statuses.raise_many(&raises).await.unwrap(), [false; 6]);
    assert_eq!(statuses.raise_many(&[]).await.unwrap(), [false; 0]);
}

async fn a_request_is_issued_in_the_act_that_gives_it_its_code(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    assert_eq!(fixture.issue_in(Scope::Login, &asked, None).await, Issued::Nothing);
    assert_eq!(fixture.status_of(asked.request).await, Some(Status::Accepted), "no code");
    fixture.issue(&asked, "123456").await;
    assert_eq!(fixture.status_of(asked.request).await, Some(Status::Issued));
    let statuses = fixture.store.statuses();
    statuses.advance(asked.request, Status::Sent, None, asked.expires_at).await.unwrap();
    fixture.issue(&asked, "123456").await;
    assert_eq!(fixture.status_of(asked.request).await, Some(Status::Sent), "redelivered");
    // The store lost the request, but not the code.
    let lost = Requested { request: RequestId::new(&fixture.clock), ..asked.clone() };
    fixture.issue(&lost, "123456").await;
    let found = statuses.get(lost.request).await.unwrap().unwrap();
    assert_eq!((found.status, found.expires_at), (Status::Issued, asked.expires_at));
    // Nothing was issued to a request that came too late, in either sense.
    let late = fixture.code_request().await;
    fixture.sign_in(&asked).await;
    assert_eq!(fixture.issue(&late, "123456").await, Issued::Used);
    assert_eq!(fixture.status_of(late.request).await, Some(Status::Accepted));
    fixture.pass(1);
    let newer = fixture.code_request().await;
    fixture.issue(&newer, "654321").await;
    assert_eq!(fixture.issue(&late, "123456").await, Issued::Superseded);
    assert_eq!(fixture.status_of(late.request).await, Some(Status::Accepted));
    fixture.pass(301);
    assert_eq!(fixture.issue(&late, "123456").await, Issued::Expired);
    assert_eq!(fixture.status_of(late.request).await, Some(Status::Accepted));
    // One that wants no more than the slot, for an unknown phone in silent mode.
    let silent = fixture.code_request().await;
    let wants = Some(Status::Sent);
    let issued = fixture.issue_and_raise(Scope::Login, &silent, None, wants).await;
    assert_eq!(issued, Issued::Nothing);
    assert_eq!(fixture.status_of(silent.request).await, Some(Status::Sent));
}

async fn the_sweep_closes_open_requests(fixture: CodesFixture) {
    let (open, sent, done) =
        (fixture.code_request().await, fixture.code_request().await, fixture.code_request().await);
    fixture
        .store
        .statuses()
        .advance(sent.request, Status::Sent, None, sent.expires_at)
        .await
        .unwrap();
    fixture
        .store
        .statuses()
        .advance(done.request, Status::Delivered, None, done.expires_at)
        .await
        .unwrap();
    assert_eq!(
        fixture.store.statuses().sweep(100).await.unwrap().closed,
        [],
        "nothing is over yet"
    );
    fixture.pass(301);
    let mut swept = fixture.store.statuses().sweep(100).await.unwrap().closed;
    swept.sort_by_key(|one| one.was.rank());
    let told: Vec<_> = swept.iter().map(|one| (one.request_id, one.was)).collect();
    assert_eq!(told, [(open.request, Status::Accepted), (sent.request, Status::Sent)]);
    assert_eq!(
        fixture.store.statuses().get(open.request).await.unwrap().unwrap().status,
        Status::Expired
    );
    assert_eq!(
        fixture.store.statuses().get(done.request).await.unwrap().unwrap().status,
        Status::Delivered
    );
    assert_eq!(fixture.store.statuses().sweep(100).await.unwrap().closed, []);
}

async fn the_sweep_continues_past_finished_requests(fixture: CodesFixture) {
    for _ in 0..5 {
        let done = fixture.code_request().await;
        fixture
            .store
            .statuses()
            .advance(done.request, Status::Delivered, None, done.expires_at)
            .await
            .unwrap();
    }
    let open = fixture.code_request().await;
    fixture.pass(301);
    let mut closed = Vec::new();
    loop {
        let sweep = fixture.store.statuses().sweep(2).await.unwrap();
        closed.extend(sweep.closed.into_iter().map(|one| one.request_id));
        if sweep.looked_at < 2 {
            break;
        }
    }
    assert_eq!(closed, [open.request]);
}

async fn a_waiter_is_woken_by_a_change(fixture: CodesFixture) {
    let (mine, other) = (fixture.code_request().await, fixture.code_request().await);
    let mut watch = fixture.store.statuses().watch(mine.request);
    // The store may wake all waiters once, when its subscription begins: only the status itself counts.
    let seen = async {
        loop {
            if fixture.store.statuses().get(mine.request).await.unwrap().unwrap().status
                == Status::Issued
            {
                return;
            }
            watch.changed().await;
        }
    };
    let change = async {
        fixture
            .store
            .statuses()
            .advance(other.request, Status::Sent, None, other.expires_at)
            .await
            .unwrap();
        tokio::task::yield_now().await;
        fixture
            .store
            .statuses()
            .advance(mine.request, Status::Issued, None, mine.expires_at)
            .await
            .unwrap();
    };
    tokio::time::timeout(testkit::PATIENCE, async { tokio::join!(seen, change) })
        .await
        .expect("woken");
}

async fn a_kept_text_is_kept_once(fixture: CodesFixture) {
    let message_id = domain::ids::MessageId::new(&fixture.clock);
    for sealed in ["first", "second"] {
        let text = KeptText { message_id, phone: fixture.phone.clone(), sealed: sealed.into() };
        fixture.store.inbox().keep(&text).await.unwrap();
    }
    assert_eq!(fixture.store.inbox().texts(&fixture.phone).await.unwrap(), ["first"]);
}

async fn the_texts_of_all_phones_are_listed_with_their_phones(fixture: CodesFixture) {
    let inbox = fixture.store.inbox();
    assert!(inbox.all_texts().await.unwrap().is_empty());
    // A key that is no phone's must not be taken for one.
    fixture.code_request().await;
    let phones: Vec<PhoneKey> = ["a", "b"]
        .map(|digit| PhoneKey::stored(&digit.repeat(32)).unwrap())
        .into_iter()
        .chain([fixture.phone.clone()])
        .collect();
    let mut wanted = Vec::new();
    for phone in &phones {
        for n in 0..2 {
            let message_id = domain::ids::MessageId::new(&fixture.clock);
            let sealed = format!("{n} of {phone}");
            wanted.push((phone.clone(), sealed.clone()));
            inbox.keep(&KeptText { message_id, phone: phone.clone(), sealed }).await.unwrap();
        }
    }
    let mut found = inbox.all_texts().await.unwrap();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

async fn a_forgotten_phone_has_no_code_and_no_texts(fixture: CodesFixture) {
    let asked = fixture.code_request().await;
    fixture.issue(&asked, "123456").await;
    let message_id = domain::ids::MessageId::new(&fixture.clock);
    let text = KeptText { message_id, phone: fixture.phone.clone(), sealed: "text".into() };
    fixture.store.inbox().keep(&text).await.unwrap();
    fixture.store.codes().forget(&fixture.phone, UserId::new(&fixture.clock)).await.unwrap();
    assert!(matches!(fixture.attempt("123456").await, CheckOutcome::Wrong { code: None, .. }));
    assert!(fixture.store.inbox().texts(&fixture.phone).await.unwrap().is_empty());
    assert!(
        !fixture.store.statuses().is_wanted(asked.request).await.unwrap(),
        "its text is still on its way"
    );
}

async fn p13_only_the_accounts_own_data_is_forgotten(fixture: CodesFixture) {
    let (leaves, other) = (UserId::new(&fixture.clock), UserId::new(&fixture.clock));
    let session = SessionId::new(&fixture.clock);
    for user in [leaves, other] {
        fixture.store.phone_changes().note(user, session, "sealed", TTL_MS).await.unwrap();
    }
    // Another user is about to change to the number.
    let change = Scope::PhoneChange(other);
    let admit = Admit { scope: change, ..fixture.admit() };
    let Admission::Admitted(Admitted { code_id, expires_at, .. }) =
        fixture.store.codes().admit(&admit).await.unwrap()
    else {
        panic!("admitted")
    };
    let asked = Requested { request: admit.request_id, code: code_id, expires_at };
    fixture.issue_in(change, &asked, Some("123456")).await;
    fixture.store.codes().forget(&fixture.phone, leaves).await.unwrap();
    assert_eq!(fixture.store.phone_changes().noted(leaves).await.unwrap(), None);
    assert_eq!(
        fixture.store.phone_changes().noted(other).await.unwrap().map(|noted| noted.sealed),
        Some("sealed".to_owned())
    );
    assert!(fixture.store.statuses().is_wanted(asked.request).await.unwrap());
    let attempt = Verify { scope: change, ..fixture.verify("123456") };
    assert!(matches!(
        fixture.store.codes().verify(&attempt).await.unwrap(),
        CheckOutcome::Matched { .. }
    ));
}

async fn f14_a_change_of_phone_belongs_to_the_session_that_requested_it_last(
    fixture: CodesFixture,
) {
    let (user, changes) = (UserId::new(&fixture.clock), fixture.store.phone_changes());
    let [first, second] = [(); 2].map(|()| SessionId::new(&fixture.clock));
    assert_eq!(changes.noted(user).await.unwrap(), None);
    for (session, other, sealed) in [(first, second, "one"), (second, first, "another")] {
        changes.note(user, session, sealed, TTL_MS).await.unwrap();
        let noted = changes.noted(user).await.unwrap().unwrap();
        assert_eq!(noted.sealed, sealed);
        assert_eq!([noted.is_by(session), noted.is_by(other)], [true, false]);
    }
}

async fn a_forgotten_phone_keeps_its_limits(mut fixture: CodesFixture) {
    fixture.limits.resend_cooldown_secs = 30;
    fixture.limits.sends_per_phone_hour = 1;
    let forget = async || {
        fixture.store.codes().forget(&fixture.phone, UserId::new(&fixture.clock)).await.unwrap();
    };
    fixture.code_request().await;
    forget().await;
    let limit = async || fixture.refusal(&fixture.admit()).await.map(|(limit, _)| limit);
    assert_eq!(limit().await, Some(Limit::Cooldown));
    fixture.pass(30);
    forget().await;
    assert_eq!(limit().await, Some(Limit::PhoneHour));
}

async fn a_one_time_key_is_accepted_once_of_fifty_until_it_expires(fixture: CodesFixture) {
    let replay_guard = fixture.store.replay_guard();
    let all = (0..50).map(|_| replay_guard.first_time("a proof", 130));
    let firsts =
        futures::future::join_all(all).await.into_iter().filter(|first| *first.as_ref().unwrap());
    assert_eq!(firsts.count(), 1);
    assert!(replay_guard.first_time("another", 130).await.unwrap());
    fixture.pass(129);
    assert!(!replay_guard.first_time("another", 130).await.unwrap());
    fixture.pass(1);
    assert!(replay_guard.first_time("another", 130).await.unwrap());
    assert!(!replay_guard.first_time("another", 130).await.unwrap());
}

/// Rules that need a look into the engine.
mod in_redis {
    use super::*;
    use testkit::eventually;
    use testkit::launch::Keeps;
    use testkit::redis::Redis;

    #[tokio::test]
    async fn every_key_gets_its_expiry_in_the_script_that_writes_it() {
        let mut fixture = CodesFixture::redis().await;
        fixture.limits = Limits {
            resend_cooldown_secs: 1,
            sends_per_phone_day: 10,
            sends_per_prefix_hour: 10,
            sends_per_country_day: 10,
            sends_global_day: 10,
            ..Limits::NONE
        };
        fixture.addresses = vec![range("an address", 9), range("its network", 45)];
        fixture.logins = logins(&[("an address", 9), ("its network", 45)]);
        let mut redis = fixture.look().await;
        let keyed = Admit {
            idempotency: Some(Idempotency { key: "k".into(), body: "b".into() }),
            known_device: Some(UserId::new(&fixture.clock)),
            ..fixture.admit()
        };
        let Admission::Admitted(Admitted { code_id, expires_at, .. }) =
            fixture.store.codes().admit(&keyed).await.unwrap()
        else {
            panic!("admitted")
        };
        let asked = Requested { request: keyed.request_id, code: code_id, expires_at };
        fixture.issue(&asked, "123456").await;
        let (user, attempt) = (UserId::new(&fixture.clock), fixture.verify("000000"));
        let written_late = async || {
            let store = &fixture.store;
            store.codes().published(&keyed).await.unwrap();
            assert!(matches!(store.codes().admit(&keyed).await.unwrap(), Admission::Replayed(_)));
            store.codes().verify(&attempt).await.unwrap();
            let refund = Refund::CodeCheck(asked.code);
            store.codes().refund(&fixture.phone, Scope::Login, refund, None).await.unwrap();
            store
                .codes()
                .mark_exhausted(&fixture.phone, Scope::Login, asked.code, ATTEMPTS, None)
                .await
                .unwrap();
            store.statuses().advance(asked.request, Status::Sent, None, expires_at).await.unwrap();
            let (closing, code) = (Closing::Used(Some(Answered::named(asked.request))), asked.code);
            store.codes().close(&fixture.phone, Scope::Login, code, closing, PLACE).await.unwrap();
            let message_id = domain::ids::MessageId::new(&fixture.clock);
            let text = KeptText { message_id, phone: fixture.phone.clone(), sealed: "text".into() };
            store.inbox().keep(&text).await.unwrap();
            store.crash_counts().count("a message").await.unwrap();
            store.limits().count_distinct("a key", "a member", 5).await.unwrap();
            store.replay_guard().first_time("a proof", 130).await.unwrap();
            let network = [failures("its network", 0, 1)];
            assert_eq!(store.limits().note_failure(&network, &fixture.phone).await.unwrap(), None);
            let session = SessionId::new(&fixture.clock);
            store.phone_changes().note(user, session, "sealed", 1000).await.unwrap();
        };
        written_late().await;
        all_end(&mut redis).await;
        // Operations on keys that a flush removed must not create keys without an expiry.
        redis::cmd("FLUSHDB").query_async::<()>(&mut redis).await.unwrap();
        let store = &fixture.store;
        store.codes().published(&keyed).await.unwrap();
        let refund = Refund::Unused(asked.code);
        store.codes().refund(&fixture.phone, Scope::Login, refund, None).await.unwrap();
        store
            .codes()
            .mark_exhausted(&fixture.phone, Scope::Login, asked.code, ATTEMPTS, None)
            .await
            .unwrap();
        store.codes().withdraw(&keyed).await.unwrap();
        all_end(&mut redis).await;
    }

    #[tokio::test]
    async fn a_change_of_phone_noted_by_the_former_version_belongs_to_any_session() {
        let fixture = CodesFixture::redis().await;
        let (user, changes) = (UserId::new(&fixture.clock), fixture.store.phone_changes());
        let [first, second] = [(); 2].map(|()| SessionId::new(&fixture.clock));
        changes.note(user, first, "new", TTL_MS).await.unwrap();
        let mut redis = fixture.look().await;
        let mut keys: Vec<String> = redis.keys("lk:change:*").await.unwrap();
        keys.sort();
        let [note, requester] = keys.try_into().unwrap();
        // It reads and replaces the note alone.
        assert_eq!(redis.get::<_, String>(&note).await.unwrap(), "new");
        redis.pset_ex::<_, _, ()>(&note, "old", 1000).await.unwrap();
        for _ in 0..2 {
            let noted = changes.noted(user).await.unwrap().unwrap();
            assert_eq!(noted.sealed, "old");
            assert_eq!([noted.is_by(first), noted.is_by(second)], [true, true]);
            redis.del::<_, ()>(&requester).await.unwrap();
        }
    }

    #[tokio::test]
    async fn only_a_process_with_a_waiter_subscribes_to_changes() {
        // Subscriptions are counted over the whole server.
        let private = Redis::start(Keeps::Nothing).await;
        let url = SecretString::from(private.url(0));
        let store = async || Store::connect_redis(&url, Clock::manual()).await.unwrap();
        let (gateway, worker) = (store().await, store().await);
        let client = redis::Client::open(private.url(0)).unwrap();
        let mut redis = crate::redis_connection(&client).await.unwrap();
        let subscribed = async |redis: &mut redis::aio::MultiplexedConnection| {
            let mut count = redis::cmd("PUBSUB");
            count.arg("NUMSUB").arg("lk:status");
            count.query_async::<(String, i64)>(redis).await.unwrap().1
        };
        let request = RequestId::new(&Clock::manual());
        let expires_at = Clock::manual().now().plus_secs(100);
        worker.statuses().advance(request, Status::Sending, None, expires_at).await.unwrap();
        assert_eq!(subscribed(&mut redis).await, 0);
        let mut watches = [gateway.statuses().watch(request), gateway.statuses().watch(request)];
        eventually("a subscription", testkit::PATIENCE, async || {
            (subscribed(&mut redis).await > 0).then_some(())
        })
        .await;
        worker.statuses().advance(request, Status::Sent, None, expires_at).await.unwrap();
        for watch in &mut watches {
            tokio::time::timeout(testkit::PATIENCE, watch.changed()).await.expect("woken");
        }
        assert_eq!(subscribed(&mut redis).await, 1, "one for all waiters of a process");
    }

    async fn all_end(redis: &mut redis::aio::MultiplexedConnection) {
        let keys: Vec<String> = redis.keys("lk:*").await.unwrap();
        for key in keys {
            let ends_in: i64 = redis.pttl(&key).await.unwrap();
            assert!(ends_in > 0, "{key} has no expiry");
        }
    }
}

async fn starts_are_counted(fixture: CodesFixture) {
    let counts = fixture.store.crash_counts();
    assert_eq!(counts.get("a").await.unwrap(), 0);
    assert_eq!(counts.count("a").await.unwrap(), 1);
    assert_eq!(counts.count("a").await.unwrap(), 2);
    assert_eq!(counts.count("b").await.unwrap(), 1);
    counts.forget("b").await.unwrap();
    assert_eq!([counts.get("a").await.unwrap(), counts.get("b").await.unwrap()], [2, 0]);
}

async fn p13_starts_are_forgotten_an_hour_after_the_last(fixture: CodesFixture) {
    let counts = fixture.store.crash_counts();
    for starts in [1, 2, 3] {
        assert_eq!(counts.count("a").await.unwrap(), starts);
        fixture.age("lk:starts:a", 2400).await;
        assert_eq!(counts.get("a").await.unwrap(), starts, "the last start was 40 minutes ago");
    }
    fixture.age("lk:starts:a", 1200).await;
    assert_eq!(counts.get("a").await.unwrap(), 0);
    assert_eq!(counts.count("a").await.unwrap(), 1);
}
