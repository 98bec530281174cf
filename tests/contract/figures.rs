//! Figures by the hour: whatever comes when, and whoever counts it, they equal a count of what the ledger holds.

use std::collections::BTreeMap;
use std::time::Duration;

use accounts::{Conversions, GuardHistory, GuardHours};
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::rng;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use guard::Tally;
use ledger::hours::{BOUNDS_MS, Cell, Figures, HOUR_MS, Hours, HoursFilter, Spread, hour_start};
use ledger::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sql::{Pool, Row, args};

/// The first hour of the tests, and how many follow.
const HOUR: i64 = 500_000;
const HOURS: i64 = 4;

struct Fixture {
    db: Pool,
    ledger: Ledger,
    hours: Hours,
    phone: E164,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Begun,
    Sent,
    Delivered,
    Undelivered,
    Refused,
    Dropped,
}

#[derive(Clone, Debug)]
struct Planned {
    fate: Fate,
    /// After the first hour has begun.
    at_ms: i64,
    country: &'static str,
    provider: &'static str,
    channel: Channel,
    is_notice: bool,
    /// Between the request and the ledger.
    waited_ms: i64,
    /// Until it is sent, and then until its receipt.
    sent_ms: i64,
    receipt_ms: i64,
}

/// A message on its way.
struct Going {
    planned: Planned,
    message_id: MessageId,
    request_id: Option<RequestId>,
    attempt: AttemptId,
    created_at: Timestamp,
}

fn planned() -> impl Strategy<Value = Planned> {
    let fate = prop_oneof![
        1 => Just(Fate::Begun),
        1 => Just(Fate::Sent),
        3 => Just(Fate::Delivered),
        1 => Just(Fate::Undelivered),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Dropped),
    ];
    let place = (
        prop_oneof![Just("IR"), Just("DE")],
        prop_oneof![Just("twilio"), Just("http")],
        prop_oneof![3 => Just(Channel::Sms), 1 => Just(Channel::Voice)],
    );
    // A clock may be behind that of the request.
    let times = (0..HOURS * HOUR_MS, -500..20_000_i64, 0..400_000_i64, 0..4_000_000_i64);
    (fate, place, times, prop::bool::weighted(0.1)).prop_map(|(fate, place, times, is_notice)| {
        let ((country, provider, channel), (at_ms, waited_ms, sent_ms, receipt_ms)) =
            (place, times);
        Planned {
            fate,
            at_ms,
            country,
            provider,
            channel,
            is_notice,
            waited_ms,
            sent_ms,
            receipt_ms,
        }
    })
}

impl Planned {
    /// What is known of it when everything has come.
    fn figures(&self) -> Figures {
        let one = |fates: &[Fate]| i64::from(fates.contains(&self.fate));
        let mut figures = Figures {
            messages: 1,
            requests: i64::from(!self.is_notice),
            segments: 2 * one(&[Fate::Sent, Fate::Delivered, Fate::Undelivered]),
            sending: one(&[Fate::Begun]),
            sent: one(&[Fate::Sent]),
            delivered: one(&[Fate::Delivered]),
            undelivered: one(&[Fate::Undelivered]),
            failed: one(&[Fate::Refused]),
            dropped: one(&[Fate::Dropped]),
            ..Figures::default()
        };
        let add = |spread: &mut Spread, ms: i64| {
            spread.known += 1;
            spread.sum_ms += ms.max(0);
            for (within, bound) in spread.within.iter_mut().zip(BOUNDS_MS) {
                *within += i64::from(ms <= bound);
            }
        };
        if self.channel == Channel::Sms && figures.segments > 0 {
            if !self.is_notice {
                add(&mut figures.to_sent, self.waited_ms + self.sent_ms);
            }
            if self.fate == Fate::Delivered {
                add(&mut figures.to_delivered, self.receipt_ms);
            }
        }
        figures
    }

    /// The provider that the ledger knows.
    fn known_provider(&self) -> &'static str {
        if matches!(self.fate, Fate::Begun | Fate::Dropped) { "" } else { self.provider }
    }

    fn hour(&self) -> i64 {
        HOUR + self.at_ms / HOUR_MS
    }

    fn going(&self) -> Going {
        let created_at = hour_start(HOUR).plus_ms(self.at_ms);
        let id = rng::id_v7(created_at.ms() - self.waited_ms);
        Going {
            message_id: MessageId::from_uuid(id),
            request_id: (!self.is_notice).then_some(RequestId::from_uuid(id)),
            attempt: AttemptId::from_uuid(rng::id_v7(created_at.ms())),
            created_at,
            planned: self.clone(),
        }
    }
}

impl Fixture {
    fn on(db: Pool) -> Self {
        let phone = "+989123456789".parse().unwrap();
        Self { ledger: Ledger::new(&db), hours: Hours::new(&db), db, phone }
    }

    fn message(&self, going: &Going) -> NewMessage<'_> {
        NewMessage {
            message_id: going.message_id,
            request_id: going.request_id,
            phone_number: &self.phone,
            of_deleted: false,
            country: going.planned.country,
            channel: going.planned.channel,
            not_after: going.created_at.plus_secs(300),
        }
    }

    /// The next step of a message, of three.
    async fn step(&self, going: &Going, number: usize) -> anyhow::Result<()> {
        let Planned { fate, provider, sent_ms, receipt_ms, .. } = going.planned;
        let message = self.message(going);
        let at = going.created_at;
        match (number, fate) {
            (0, Fate::Dropped) => {
                self.ledger.end(&message, Status::Expired, Some(Reason::Expired), at).await?;
            }
            (0, _) => {
                let risk = Risk { most: 2, doubtful: &[], unsettled_since: at };
                self.ledger.begin(&message, going.attempt, provider, risk, at).await?;
            }
            (1, Fate::Refused) => {
                let refused = Finish {
                    provider_code: Some("21408".to_owned()),
                    ..Finish::of(AttemptState::Rejected)
                };
                self.ledger.finish(going.attempt, &refused, at.plus_ms(sent_ms)).await?;
                let why = Some(Reason::ProviderUnavailable);
                self.ledger.end(&message, Status::Failed, why, at.plus_ms(sent_ms)).await?;
            }
            (1, Fate::Sent | Fate::Delivered | Fate::Undelivered) => {
                let sent = Finish {
                    segments: Some(2),
                    status: Some((Status::Sent, None)),
                    ..Finish::of(AttemptState::Accepted)
                };
                self.ledger.finish(going.attempt, &sent, at.plus_ms(sent_ms)).await?;
            }
            (2, Fate::Delivered | Fate::Undelivered) => {
                let (status, reason) = if fate == Fate::Delivered {
                    (Status::Delivered, None)
                } else {
                    (Status::Undelivered, Some(Reason::CarrierBlocked))
                };
                let receipt = Receipt {
                    attempt_id: going.attempt,
                    status,
                    reason,
                    provider_message_id: None,
                    provider_code: reason.map(|_| "30007".to_owned()),
                    price: None,
                    follow_up_at: None,
                };
                self.ledger.apply_receipt(&receipt, at.plus_ms(sent_ms + receipt_ms)).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything that becomes of these messages, at once.
    async fn send(&self, planned: &[Planned]) -> anyhow::Result<()> {
        for one in planned {
            let going = one.going();
            for number in 0..3 {
                self.step(&going, number).await?;
            }
        }
        Ok(())
    }

    async fn times(&self, hour: i64) -> anyhow::Result<i64> {
        let rolled = self.hours.rolled(hour).await?;
        Ok(rolled.iter().find(|it| it.hour == hour).map_or(0, |it| it.times))
    }

    /// Counts an hour as a gateway does that looks first.
    async fn roll(&self, hour: i64) -> anyhow::Result<bool> {
        let times = self.times(hour).await?;
        Ok(self.hours.roll(hour, times, hour_start(hour + 1)).await?)
    }

    async fn cells(&self, from: i64, to: i64) -> anyhow::Result<Vec<Cell>> {
        Ok(self.hours.cells(HoursFilter::all(from, to)).await?)
    }
}

/// What the figures of these hours must be.
fn expected(planned: &[Planned], from: i64, to: i64) -> Vec<Cell> {
    let mut cells: BTreeMap<_, Figures> = BTreeMap::new();
    for one in planned.iter().filter(|one| (from..to).contains(&one.hour())) {
        cells.entry((one.country, one.known_provider())).or_default().add(&one.figures());
    }
    let cell = |((country, provider), figures): ((&str, &str), _)| Cell {
        country: country.to_owned(),
        provider: provider.to_owned(),
        figures,
    };
    cells.into_iter().map(cell).collect()
}

/// Plans that are the same in each run.
fn plans(cases: usize, messages: usize) -> Vec<(Vec<Planned>, Vec<prop::sample::Index>)> {
    let mut runner = TestRunner::deterministic();
    let plan = (
        prop::collection::vec(planned(), messages),
        prop::collection::vec(any::<prop::sample::Index>(), messages * 4),
    );
    (0..cases).map(|_| plan.new_tree(&mut runner).unwrap().current()).collect()
}

// ---- the rules

async fn hours_equal_a_count_of_the_ledger_whatever_comes_in_which_order(
    fixture: &Fixture,
) -> anyhow::Result<()> {
    let mut all: Vec<Planned> = Vec::new();
    for (planned, order) in plans(6, 25) {
        let going: Vec<_> = planned.iter().map(Planned::going).collect();
        let mut done = vec![0; going.len()];
        // A step of any message, or a count of any hour, in any order.
        for pick in order {
            let at = pick.index(going.len() + usize::try_from(HOURS)?);
            match going.get(at) {
                Some(one) if done[at] < 3 => {
                    fixture.step(one, done[at]).await?;
                    done[at] += 1;
                }
                Some(_) => {}
                None => {
                    fixture.roll(HOUR + i64::try_from(at - going.len())?).await?;
                }
            }
        }
        for (one, done) in going.iter().zip(done) {
            for number in done..3 {
                fixture.step(one, number).await?;
            }
        }
        all.extend(planned);
        // The newest first, as a gateway does.
        for hour in (HOUR..HOUR + HOURS).rev() {
            assert!(fixture.roll(hour).await?);
        }
        for (from, to) in [(HOUR, HOUR + HOURS), (HOUR + 1, HOUR + 2), (HOUR + 3, HOUR + 9)] {
            assert_eq!(fixture.cells(from, to).await?, expected(&all, from, to), "{from} to {to}");
        }
        let mut sum = Figures::default();
        for cell in fixture.cells(HOUR, HOUR + HOURS).await? {
            sum.add(&cell.figures);
        }
        assert_eq!(fixture.hours.total(HoursFilter::all(HOUR, HOUR + HOURS)).await?, sum);
        let (from, to) = (hour_start(HOUR), hour_start(HOUR + HOURS));
        assert_eq!(fixture.hours.live(from, to).await?, sum, "counted as it is read");
    }
    Ok(())
}

async fn sums_are_filtered_and_told_by_hour_and_by_day(fixture: &Fixture) -> anyhow::Result<()> {
    let (planned, _) = plans(1, 60).remove(0);
    fixture.send(&planned).await?;
    for hour in HOUR..HOUR + HOURS {
        fixture.roll(hour).await?;
    }
    let all = HoursFilter::all(HOUR, HOUR + HOURS);
    let twilio = HoursFilter { provider: Some("twilio"), country: Some("IR"), ..all };
    let calls = HoursFilter { channel: Some(Channel::Voice), ..all };
    for (filter, lets) in [
        (
            twilio,
            (|it| it.known_provider() == "twilio" && it.country == "IR") as fn(&Planned) -> bool,
        ),
        (calls, |it| it.channel == Channel::Voice),
    ] {
        let mut sum = Figures::default();
        for one in planned.iter().filter(|one| lets(one)) {
            sum.add(&one.figures());
        }
        assert!(sum.messages > 0);
        assert_eq!(fixture.hours.total(filter).await?, sum);
    }
    let steps = fixture.hours.by_hour(all).await?;
    for (hour, figures) in &steps {
        let mut sum = Figures::default();
        for one in planned.iter().filter(|one| one.hour() == *hour) {
            sum.add(&one.figures());
        }
        assert_eq!(*figures, sum, "{hour}");
    }
    assert_eq!(steps.len(), 4);
    // Days begin at the first hour of the filter.
    let days = fixture.hours.by_day(HoursFilter { from: HOUR - 22, ..all }).await?;
    let first: i64 = days.iter().filter(|it| it.hour == HOUR - 22).map(|it| it.messages).sum();
    let second: i64 = days.iter().filter(|it| it.hour == HOUR + 2).map(|it| it.messages).sum();
    let early = planned.iter().filter(|it| it.hour() < HOUR + 2).count();
    assert_eq!((first, first + second), (i64::try_from(early)?, i64::try_from(planned.len())?));
    Ok(())
}

async fn reasons_are_counted_with_the_providers_code(fixture: &Fixture) -> anyhow::Result<()> {
    let (mut planned, _) = plans(1, 12).remove(0);
    for (at, one) in planned.iter_mut().enumerate() {
        (one.provider, one.country) = ("twilio", "IR");
        one.fate = [Fate::Refused, Fate::Undelivered, Fate::Refused, Fate::Dropped][at % 4];
    }
    fixture.send(&planned).await?;
    for hour in HOUR..HOUR + HOURS {
        fixture.roll(hour).await?;
        // Once more changes nothing.
        fixture.roll(hour).await?;
    }
    let all = HoursFilter::all(HOUR, HOUR + HOURS);
    let reasons = fixture.hours.reasons_of(all, 10).await?;
    let told: Vec<_> =
        reasons.iter().map(|it| (it.reason, &*it.provider, &*it.code, it.messages)).collect();
    assert_eq!(
        told,
        [
            (Reason::ProviderUnavailable, "twilio", "21408", 6),
            (Reason::CarrierBlocked, "twilio", "30007", 3),
            (Reason::Expired, "", "", 3),
        ]
    );
    assert_eq!(fixture.hours.reasons_of(all, 1).await?.len(), 1);
    let elsewhere = HoursFilter { country: Some("DE"), ..all };
    assert_eq!(fixture.hours.reasons_of(elsewhere, 10).await?, []);
    Ok(())
}

async fn of_two_who_count_an_hour_at_once_one_writes(fixture: &Fixture) -> anyhow::Result<()> {
    let (planned, _) = plans(1, 30).remove(0);
    fixture.send(&planned).await?;
    for hour in HOUR..HOUR + HOURS {
        for _ in 0..3 {
            let (times, now) = (fixture.times(hour).await?, hour_start(hour + 1));
            let (one, two) = tokio::join!(
                fixture.hours.roll(hour, times, now),
                fixture.hours.roll(hour, times, now)
            );
            assert_eq!(u8::from(one?) + u8::from(two?), 1);
            assert_eq!(fixture.times(hour).await?, times + 1);
        }
    }
    let whole = expected(&planned, HOUR, HOUR + HOURS);
    assert_eq!(fixture.cells(HOUR, HOUR + HOURS).await?, whole);
    // What was counted before another counted does not replace it.
    assert!(!fixture.hours.roll(HOUR, 0, hour_start(HOUR + 1)).await?);
    assert!(!fixture.hours.roll(HOUR, 2, hour_start(HOUR + 1)).await?);
    assert_eq!(fixture.cells(HOUR, HOUR + HOURS).await?, whole);
    Ok(())
}

async fn a_count_that_dies_at_any_moment_leaves_the_hour_as_it_was_or_whole(
    fixture: &Fixture,
) -> anyhow::Result<()> {
    let (planned, _) = plans(1, 40).remove(0);
    let (first, second) = planned.split_at(20);
    fixture.send(first).await?;
    assert!(fixture.roll(HOUR).await?);
    let before = fixture.cells(HOUR, HOUR + 1).await?;
    fixture.send(second).await?;
    let after = expected(&planned, HOUR, HOUR + 1);
    assert_ne!(before, after);
    for polls in 0..60 {
        let mut roll = Box::pin(fixture.roll(HOUR));
        for _ in 0..polls {
            if futures::poll!(&mut roll).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        drop(roll);
        let found = fixture.cells(HOUR, HOUR + 1).await?;
        assert!(found == before || found == after, "after {polls}: {found:?}");
    }
    // What was begun and never ended holds nobody up for long.
    testkit::eventually("the hour, counted", testkit::PATIENCE, async || {
        fixture.roll(HOUR).await.ok().filter(|counted| *counted)
    })
    .await;
    assert_eq!(fixture.cells(HOUR, HOUR + 1).await?, after);
    Ok(())
}

async fn hours_are_kept_for_ninety_days(fixture: &Fixture) -> anyhow::Result<()> {
    let (planned, _) = plans(1, 30).remove(0);
    fixture.send(&planned).await?;
    for hour in HOUR..HOUR + HOURS {
        fixture.roll(hour).await?;
    }
    assert_eq!(fixture.hours.first().await?, Some(HOUR));
    fixture.hours.sweep(hour_start(HOUR + 1 + 90 * 24)).await?;
    assert_eq!(fixture.cells(0, HOUR + HOURS).await?, expected(&planned, HOUR + 1, HOUR + HOURS));
    assert_eq!(fixture.hours.rolled(0).await?.len(), 3);
    Ok(())
}

async fn the_newest_hour_with_a_status_is_found(fixture: &Fixture) -> anyhow::Result<()> {
    let (mut planned, _) = plans(1, 4).remove(0);
    for (hour, one) in planned.iter_mut().enumerate() {
        (one.at_ms, one.country) = (i64::try_from(hour)? * HOUR_MS, "IR");
        one.fate = [Fate::Refused, Fate::Delivered, Fate::Sent, Fate::Delivered][hour];
    }
    fixture.send(&planned).await?;
    for hour in HOUR..HOUR + HOURS {
        fixture.roll(hour).await?;
    }
    let all = HoursFilter::all(HOUR, HOUR + HOURS);
    for (status, to, found) in [
        (None, HOURS, Some(3)),
        (Some(Status::Delivered), HOURS, Some(3)),
        (Some(Status::Delivered), 3, Some(1)),
        (Some(Status::Failed), HOURS, Some(0)),
        (Some(Status::Failed), 0, None),
        (Some(Status::Sending), HOURS, None),
    ] {
        let filter = HoursFilter { to: HOUR + to, ..all };
        let newest = fixture.hours.newest(status, None, filter).await?;
        assert_eq!(newest.map(|hour| hour - HOUR), found, "{status:?} before {to}");
    }
    let newest = async |reason| fixture.hours.newest(None, Some(reason), all).await;
    assert_eq!(newest(Reason::ProviderUnavailable).await?, Some(HOUR));
    assert_eq!(newest(Reason::CarrierBlocked).await?, None);
    let elsewhere = HoursFilter { country: Some("FR"), ..all };
    assert_eq!(fixture.hours.newest(None, None, elsewhere).await?, None);
    Ok(())
}

async fn conversions_and_sign_ins_by_the_hour_equal_what_was_counted(
    fixture: &Fixture,
) -> anyhow::Result<()> {
    let (history, hours) = (GuardHistory::new(&fixture.db), GuardHours::new(&fixture.db));
    assert_eq!(hours.first().await?, None);
    let tally = |minute: i64, prefix: &str, country: &str, sends: i64, verified: i64| Tally {
        minute: HOUR * 60 + minute,
        operator_prefix: prefix.to_owned(),
        country: country.to_owned(),
        sends,
        verified,
        refused: 1,
    };
    let counted = [
        tally(0, "98912", "IR", 5, 4),
        tally(59, "98912", "IR", 3, 0),
        tally(59, "98935", "IR", 9, 1),
        tally(60, "98912", "IR", 7, 7),
        tally(30, "49151", "DE", 2, 2),
    ];
    history.add(&counted).await?;
    begin_sessions(&fixture.db).await?;
    let now = hour_start(HOUR + 2);
    assert_eq!(hours.first().await?, Some(HOUR));
    for hour in [HOUR + 1, HOUR] {
        let (one, two) = tokio::join!(hours.roll(hour, 0, now), hours.roll(hour, 0, now));
        assert_eq!(u8::from(one?) + u8::from(two?), 1);
    }
    let sums = |sends, verified, refused| Conversions { sends, verified, refused };
    assert_eq!(hours.total(HOUR, HOUR + 2, None).await?, sums(26, 14, 5));
    assert_eq!(hours.total(HOUR, HOUR + 2, Some("DE")).await?, sums(2, 2, 1));
    assert_eq!(hours.total(0, HOUR, None).await?, sums(0, 0, 0));
    assert_eq!(hours.live(hour_start(HOUR), hour_start(HOUR + 2)).await?, sums(26, 14, 5));
    let countries = hours.by_country(HOUR, HOUR + 1).await?;
    let told: Vec<_> = countries.iter().map(|it| (&*it.name, it.conversions.sends)).collect();
    assert_eq!(told, [("DE", 2), ("IR", 17)]);
    let prefixes = hours.by_prefix(HOUR, HOUR + 1, "IR", 10).await?;
    let told: Vec<_> = prefixes.iter().map(|it| (&*it.name, it.conversions.verified)).collect();
    assert_eq!(told, [("98935", 1), ("98912", 4)]);
    // A late row, as after an outage of the database.
    history.add(&[tally(1, "98912", "IR", 1, 1)]).await?;
    assert!(!hours.roll(HOUR, 0, now).await?);
    assert!(hours.roll(HOUR, 1, now).await?);
    let by_hour = hours.by_hour(HOUR, HOUR + 2).await?;
    let told: Vec<_> = by_hour.iter().map(|it| (it.hour - HOUR, it.conversions.sends)).collect();
    assert_eq!(told, [(0, 20), (1, 7)]);
    assert_eq!(hours.sign_ins(HOUR, HOUR + 2).await?, [(HOUR, 2), (HOUR + 1, 1)]);
    assert_eq!(hours.live_sign_ins(hour_start(HOUR), hour_start(HOUR + 1)).await?, 2);
    hours.sweep(hour_start(HOUR + 1 + 90 * 24)).await?;
    assert_eq!(hours.total(HOUR, HOUR + 2, None).await?, sums(7, 7, 1));
    assert_eq!(hours.rolled(0).await?.len(), 1);
    Ok(())
}

/// Three sessions, of which the last begins with the second hour.
async fn begin_sessions(db: &Pool) -> anyhow::Result<()> {
    let user = rng::id_v7(0);
    let sql = "INSERT INTO users (id, phone_number, first_name, last_name, locale, country, created_at, updated_at, last_seen_at)
         VALUES ($1, '+989123456789', '', '', 'en', 'IR', 0, 0, 0)";
    db.run("make an account", sql, args![user]).await?;
    let (start, next) = (hour_start(HOUR).ms(), hour_start(HOUR + 1).ms());
    for (at, method) in [(start, "sms"), (next - 1, "pwd"), (next, "sms")] {
        let sql = "INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at, expires_at, absolute_expires_at)
             VALUES ($1, $2, $3, 1, $4, '', '', $4, $4, $4, $4)";
        db.run("begin a session", sql, args![rng::id_v7(at), user, method, at]).await?;
    }
    let count = |row: &Row| row.get::<i64>("n");
    assert_eq!(db.one("count", "SELECT COUNT(*) AS n FROM sessions", &[], count).await?, 3);
    Ok(())
}

// ---- both engines

macro_rules! rules {
    ($($rule:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() -> anyhow::Result<()> {
                let folder = testkit::folder::Folder::new("figures");
                let db = super::Pool::sqlite(folder.path()).await?;
                db.migrate(&[]).await?;
                super::$rule(&super::Fixture::on(db)).await
            })+
        }

        mod postgres_on_the_engines {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() -> anyhow::Result<()> {
                testkit::stalls::steady(async || {
                    let url = testkit::engines::Engines::one_by_one().database().await;
                    let db = super::Pool::postgres(&url.into()).await?;
                    db.migrate(&[]).await?;
                    super::$rule(&super::Fixture::on(db)).await
                })
                .await
            })+
        }
    };
}
rules!(
    hours_equal_a_count_of_the_ledger_whatever_comes_in_which_order,
    sums_are_filtered_and_told_by_hour_and_by_day,
    reasons_are_counted_with_the_providers_code,
    of_two_who_count_an_hour_at_once_one_writes,
    a_count_that_dies_at_any_moment_leaves_the_hour_as_it_was_or_whole,
    hours_are_kept_for_ninety_days,
    the_newest_hour_with_a_status_is_found,
    conversions_and_sign_ins_by_the_hour_equal_what_was_counted,
);
