//! The ledger's rules: one body per rule, run on a SQLite file and on a private PostgreSQL.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use domain::clock::Clock;
use domain::ids::{AttemptId, MessageId, RequestId};
use domain::phone::E164;
use domain::vocabulary::{Channel, Reason, Status};
use ledger::*;
use sql::{Pool, args};

static PHONE: LazyLock<E164> = LazyLock::new(|| "+989123456789".parse().unwrap());
const DAY: i64 = 24 * 60 * 60 * 1000;

struct LedgerFixture {
    db: Pool,
    ledger: Ledger,
    clock: Clock,
}

impl LedgerFixture {
    fn message(&self) -> NewMessage<'static> {
        NewMessage {
            message_id: MessageId::new(&self.clock),
            request_id: Some(RequestId::new(&self.clock)),
            phone_number: &PHONE,
            of_deleted: false,
            country: "IR",
            channel: Channel::Sms,
            not_after: self.clock.now().plus_secs(300),
        }
    }

    async fn begin(&self, message: &NewMessage<'_>, attempt: AttemptId) -> anyhow::Result<Begin> {
        let doubtful = ["twilio".to_owned()];
        let risk = self.risk(&doubtful);
        Ok(self.ledger.begin(message, attempt, "twilio", risk, self.clock.now()).await?)
    }

    /// Two calls at most, and no wait for a receipt.
    fn risk<'a>(&self, doubtful: &'a [String]) -> Risk<'a> {
        Risk { most: 2, doubtful, unsettled_since: self.clock.now() }
    }

    /// A message with one attempt that is begun.
    async fn begun(&self) -> anyhow::Result<(NewMessage<'static>, AttemptId)> {
        let (message, attempt) = (self.message(), AttemptId::new(&self.clock));
        assert_eq!(self.begin(&message, attempt).await?, Begin::Start { number: 1, risked: 0 });
        Ok((message, attempt))
    }

    async fn finish(&self, attempt: AttemptId, state: AttemptState) -> anyhow::Result<Transition> {
        let accepted = state == AttemptState::Accepted;
        let finish = Finish {
            provider_message_id: accepted.then(|| "SM1".to_owned()),
            segments: accepted.then_some(1),
            status: accepted.then_some((Status::Sent, None)),
            follow_up_at: accepted.then(|| self.clock.now().plus_secs(120)),
            ..Finish::of(state)
        };
        Ok(self.ledger.finish(attempt, &finish, self.clock.now()).await?.expect("a known attempt"))
    }

    async fn receipt(
        &self,
        attempt_id: AttemptId,
        status: Status,
        reason: Option<Reason>,
    ) -> anyhow::Result<Applied> {
        let receipt = Receipt {
            attempt_id,
            status,
            reason,
            provider_message_id: Some("SM1".to_owned()),
            provider_code: None,
            price: None,
            follow_up_at: None,
        };
        Ok(self.ledger.apply_receipt(&receipt, self.clock.now()).await?)
    }

    async fn status(&self, message: &NewMessage<'_>) -> anyhow::Result<Status> {
        let message_state = self.ledger.message_state(message.message_id).await?;
        Ok(message_state.expect("a known message").status)
    }

    async fn statuses(&self, message: &NewMessage<'_>) -> anyhow::Result<Vec<Status>> {
        let history = self.ledger.history(message.message_id).await?;
        Ok(history.into_iter().map(|change| change.status).collect())
    }
}

fn changed(applied: &Applied) -> bool {
    matches!(applied, Applied::Known { moved, .. } if moved.changed)
}

// ---- the rules

async fn f15_a_message_to_a_deleted_account_keeps_no_number(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let kept = async || {
        let sql = "SELECT COUNT(*) AS n FROM sms_ledger WHERE phone_number IS NOT NULL";
        fixture.db.one("count the numbers", sql, &[], |row| row.get::<i64>("n")).await
    };
    let gone = NewMessage { of_deleted: true, ..fixture.message() };
    let attempt = AttemptId::new(&fixture.clock);
    assert_eq!(fixture.begin(&gone, attempt).await?, Begin::Start { number: 1, risked: 0 });
    let dropped = NewMessage { of_deleted: true, ..fixture.message() };
    fixture.ledger.end(&dropped, Status::Expired, None, fixture.clock.now()).await?;
    assert_eq!(kept().await?, 0);
    fixture.finish(attempt, AttemptState::Accepted).await?;
    assert_eq!(kept().await?, 0);
    fixture.begin(&fixture.message(), AttemptId::new(&fixture.clock)).await?;
    assert_eq!(kept().await?, 1);
    Ok(())
}

async fn p2_a_redelivered_job_is_not_sent_again(fixture: &LedgerFixture) -> anyhow::Result<()> {
    let (message, attempt) = fixture.begun().await?;
    let Begin::Unconfirmed { attempt_id, provider, .. } =
        fixture.begin(&message, AttemptId::new(&fixture.clock)).await?
    else {
        panic!("an attempt without an end is unconfirmed");
    };
    assert_eq!((attempt_id, provider.as_str()), (attempt, "twilio"));
    let moved = fixture.finish(attempt, AttemptState::Accepted).await?;
    assert!(moved.changed);
    assert_eq!(moved.message_state.status, Status::Sent);
    assert_eq!(moved.message_state.provider.as_deref(), Some("twilio"));
    assert_eq!(moved.message_state.provider_message_id.as_deref(), Some("SM1"));
    assert_eq!(moved.message_state.segments, Some(1));
    let again = fixture.begin(&message, AttemptId::new(&fixture.clock)).await?;
    assert_eq!(again, Begin::Settled(moved.message_state));
    assert!(
        !fixture.finish(attempt, AttemptState::Accepted).await?.changed,
        "the second one is no news"
    );
    assert_eq!(fixture.statuses(&message).await?, [Status::Sending, Status::Sent]);
    Ok(())
}

async fn p2_only_one_of_many_workers_starts_a_job(fixture: &LedgerFixture) -> anyhow::Result<()> {
    for _ in 0..10 {
        let message = fixture.message();
        let attempt_counts = (0..8).map(|_| {
            fixture.ledger.begin(
                &message,
                AttemptId::new(&fixture.clock),
                "twilio",
                fixture.risk(&[]),
                fixture.clock.now(),
            )
        });
        let begins = futures::future::join_all(attempt_counts).await;
        let mut started = 0;
        for begin in begins {
            match begin? {
                Begin::Start { .. } => started += 1,
                Begin::Unconfirmed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(started, 1);
        // The same after the first attempt was refused: one more starts, not eight.
        let first = fixture.ledger.attempts(message.message_id).await?[0].attempt_id;
        fixture.finish(first, AttemptState::Throttled).await?;
        let attempt_counts = (0..8).map(|_| {
            fixture.ledger.begin(
                &message,
                AttemptId::new(&fixture.clock),
                "http",
                fixture.risk(&[]),
                fixture.clock.now(),
            )
        });
        let begins = futures::future::join_all(attempt_counts).await;
        let started = begins
            .iter()
            .filter(|begun| matches!(begun, Ok(Begin::Start { number: 2, risked: 0 })))
            .count();
        assert_eq!(started, 1, "{begins:?}");
    }
    Ok(())
}

async fn w1_no_third_call_may_ever_have_been_accepted(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, first) = fixture.begun().await?;
    fixture.finish(first, AttemptState::Unknown).await?;
    let second = AttemptId::new(&fixture.clock);
    assert_eq!(fixture.begin(&message, second).await?, Begin::Start { number: 2, risked: 1 });
    fixture.ledger.give_up_on(second, fixture.clock.now()).await?;
    assert_eq!(fixture.begin(&message, AttemptId::new(&fixture.clock)).await?, Begin::Exhausted);
    let attempt_counts = fixture.ledger.attempt_counts(message.message_id).await?;
    assert_eq!(attempt_counts, AttemptCounts { risked: 2, refused: 0 });
    // Its own caller may still learn that it was accepted.
    assert_eq!(
        fixture.finish(second, AttemptState::Accepted).await?.message_state.status,
        Status::Sent
    );
    Ok(())
}

async fn w1_a_call_that_may_have_been_accepted_is_retried_at_another_provider(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, first) = fixture.begun().await?;
    fixture.finish(first, AttemptState::Unknown).await?;
    let (twilio, now) = ("twilio".to_owned(), fixture.clock.now());
    let begin = async |provider: &str, doubtful: &[String]| {
        let attempt = AttemptId::new(&fixture.clock);
        fixture.ledger.begin(&message, attempt, provider, fixture.risk(doubtful), now).await
    };
    // A caller that does not know of the first call gets its provider, and nothing is begun.
    for _ in 0..2 {
        assert_eq!(begin("twilio", &[]).await?, Begin::Elsewhere(vec![twilio.clone()]));
    }
    assert_eq!(fixture.ledger.attempts(message.message_id).await?.len(), 1);
    assert_eq!(begin("http", &[]).await?, Begin::Start { number: 2, risked: 1 });
    // A caller that knows of it and has no other provider may begin.
    let (other, first) = fixture.begun().await?;
    fixture.finish(first, AttemptState::Unknown).await?;
    let again = AttemptId::new(&fixture.clock);
    let twilio = [twilio];
    let begun = fixture.ledger.begin(&other, again, "twilio", fixture.risk(&twilio), now).await?;
    assert_eq!(begun, Begin::Start { number: 2, risked: 1 });
    Ok(())
}

async fn w1_no_call_is_begun_while_a_receipt_can_settle_the_last_one(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, first) = fixture.begun().await?;
    let before = fixture.clock.now();
    fixture.finish(first, AttemptState::Unknown).await?;
    let (attempt, now) = (AttemptId::new(&fixture.clock), fixture.clock.now());
    let doubtful = ["twilio".to_owned()];
    let risk = Risk { unsettled_since: before.plus_ms(-3_000), ..fixture.risk(&doubtful) };
    let begun = fixture.ledger.begin(&message, attempt, "twilio", risk, now).await?;
    let Begin::Unsettled { ended_at } = begun else { panic!("{begun:?}") };
    assert!((before..=now).contains(&ended_at), "{ended_at} is not from {before} to {now}");
    // The limit of calls is judged after the wait: a receipt that comes meanwhile counts for either.
    for most in [1, 2] {
        for (since, wanted) in [
            (ended_at.plus_ms(-3_000), Begin::Unsettled { ended_at }),
            (ended_at.plus_ms(-1), Begin::Unsettled { ended_at }),
            (ended_at, Begin::Exhausted),
        ] {
            let risk = Risk { most, doubtful: &["twilio".to_owned()], unsettled_since: since };
            let (attempt, now) = (AttemptId::new(&fixture.clock), fixture.clock.now());
            let begun = fixture.ledger.begin(&message, attempt, "twilio", risk, now).await?;
            let start = Begin::Start { number: 2, risked: 1 };
            let is_over = wanted == Begin::Exhausted && most == 2;
            assert_eq!(begun, if is_over { start } else { wanted }, "{most} {since}");
        }
    }
    // One that was given up ended when its call must have been over.
    let (message, first) = fixture.begun().await?;
    fixture.ledger.give_up_on(first, ended_at.plus_ms(-10_000)).await?;
    let risk = Risk { unsettled_since: ended_at.plus_ms(-3_000), ..fixture.risk(&[]) };
    let (attempt, now) = (AttemptId::new(&fixture.clock), fixture.clock.now());
    let begun = fixture.ledger.begin(&message, attempt, "http", risk, now).await?;
    assert_eq!(begun, Begin::Start { number: 2, risked: 1 });
    Ok(())
}

async fn calls_that_were_refused_do_not_count_as_risk(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, mut attempt) = fixture.begun().await?;
    for number in 2..6 {
        fixture.finish(attempt, AttemptState::Unavailable).await?;
        attempt = AttemptId::new(&fixture.clock);
        assert_eq!(fixture.begin(&message, attempt).await?, Begin::Start { number, risked: 0 });
    }
    Ok(())
}

async fn a_message_that_was_accepted_is_not_ended_by_a_late_drop(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, attempt) = fixture.begun().await?;
    fixture.finish(attempt, AttemptState::Accepted).await?;
    let expired = Some(Reason::Expired);
    let moved = fixture.ledger.end(&message, Status::Failed, expired, fixture.clock.now()).await?;
    assert!(!moved.changed);
    assert_eq!(moved.message_state.status, Status::Sent);

    let other = fixture.message();
    let moved = fixture.ledger.end(&other, Status::Failed, expired, fixture.clock.now()).await?;
    assert!(moved.changed);
    assert_eq!((moved.message_state.status, moved.message_state.reason), (Status::Failed, expired));
    assert!(
        !fixture.ledger.end(&other, Status::Failed, expired, fixture.clock.now()).await?.changed
    );
    assert_eq!(fixture.statuses(&other).await?, [Status::Failed]);
    assert!(matches!(
        fixture.begin(&other, AttemptId::new(&fixture.clock)).await?,
        Begin::Settled(_)
    ));
    Ok(())
}

async fn receipts_in_any_order_and_doubled_end_in_one_state(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    const RECEIPTS: [(Status, Option<Reason>); 4] = [
        (Status::Sent, None),
        (Status::Undelivered, Some(Reason::CarrierBlocked)),
        (Status::Failed, Some(Reason::Unknown)),
        (Status::Delivered, None),
    ];
    // Whole sets, and those without `delivered`.
    for kinds in [&RECEIPTS[..], &RECEIPTS[..3], &RECEIPTS[..2]] {
        for order in permutations(kinds.len()) {
            // The send's response comes at each point among them.
            for answer_at in 0..=order.len() {
                let (message, attempt) = fixture.begun().await?;
                let mut changes = 0;
                for (at, &index) in order.iter().enumerate() {
                    if at == answer_at {
                        changes += usize::from(
                            fixture.finish(attempt, AttemptState::Accepted).await?.changed,
                        );
                    }
                    let (status, reason) = kinds[index];
                    for _ in 0..2 {
                        changes +=
                            usize::from(changed(&fixture.receipt(attempt, status, reason).await?));
                    }
                }
                if answer_at == order.len() {
                    changes +=
                        usize::from(fixture.finish(attempt, AttemptState::Accepted).await?.changed);
                }
                let message_state =
                    fixture.ledger.message_state(message.message_id).await?.expect("known");
                let wanted = if kinds.len() == 4 { RECEIPTS[3] } else { RECEIPTS[1] };
                assert_eq!(
                    (message_state.status, message_state.reason),
                    wanted,
                    "{order:?} {answer_at}"
                );
                assert_eq!(message_state.segments, Some(1), "{order:?} {answer_at}");
                let history = fixture.statuses(&message).await?;
                let distinct: BTreeSet<&str> = history.iter().map(|s| s.as_str()).collect();
                assert_eq!(distinct.len(), history.len(), "one row per change: {history:?}");
                let ranks: Vec<(u8, u8)> = history.iter().map(|s| s.order()).collect();
                assert!(ranks.is_sorted(), "never downgraded: {history:?}");
                assert!(changes < history.len(), "each change is reported once: {history:?}");
            }
        }
    }
    Ok(())
}

async fn a_receipt_before_the_answer_settles_an_unknown_call(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, attempt) = fixture.begun().await?;
    assert!(changed(&fixture.receipt(attempt, Status::Sent, None).await?));
    assert_eq!(fixture.ledger.attempt_state(attempt).await?, Some(AttemptState::Accepted));
    let moved = fixture.finish(attempt, AttemptState::Unknown).await?;
    assert!(!moved.changed);
    assert_eq!(moved.message_state.status, Status::Sent);
    assert_eq!(fixture.ledger.attempt_state(attempt).await?, Some(AttemptState::Accepted));
    assert!(matches!(
        fixture.begin(&message, AttemptId::new(&fixture.clock)).await?,
        Begin::Settled(_)
    ));
    Ok(())
}

async fn a_receipt_of_an_unknown_attempt_is_kept_for_its_send(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let attempt = AttemptId::new(&fixture.clock);
    for _ in 0..2 {
        assert_eq!(fixture.receipt(attempt, Status::Delivered, None).await?, Applied::Kept);
    }
    let message = fixture.message();
    assert!(matches!(fixture.begin(&message, attempt).await?, Begin::Start { .. }));
    let moved = fixture.finish(attempt, AttemptState::Accepted).await?;
    assert!(moved.changed);
    assert_eq!(moved.message_state.status, Status::Delivered);
    assert_eq!(fixture.status(&message).await?, Status::Delivered);
    Ok(())
}

async fn one_failed_text_of_two_does_not_decide_the_message(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    for swapped in [false, true] {
        let (message, first) = fixture.begun().await?;
        fixture.finish(first, AttemptState::Unknown).await?;
        let second = AttemptId::new(&fixture.clock);
        fixture.begin(&message, second).await?;
        fixture.finish(second, AttemptState::Accepted).await?;
        fixture.receipt(first, Status::Sent, None).await?;
        let (early, late) = if swapped { (second, first) } else { (first, second) };
        fixture.receipt(early, Status::Undelivered, Some(Reason::NumberUnreachable)).await?;
        assert_eq!(fixture.status(&message).await?, Status::Sent, "the other is on its way");
        fixture.receipt(late, Status::Failed, Some(Reason::Unknown)).await?;
        let message_state = fixture.ledger.message_state(message.message_id).await?.expect("known");
        assert_eq!(message_state.status, Status::Undelivered, "swapped: {swapped}");
        fixture.receipt(late, Status::Delivered, None).await?;
        assert_eq!(fixture.status(&message).await?, Status::Delivered);
    }
    Ok(())
}

async fn a_missing_final_state_is_queried_by_one_worker(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, attempt) = fixture.begun().await?;
    fixture.finish(attempt, AttemptState::Accepted).await?;
    let now = fixture.clock.now();
    assert_eq!(fixture.ledger.due_follow_ups(now, 60_000, 100).await?, []);
    let later = now.plus_secs(121);
    let claims = futures::future::join_all(
        (0..4).map(|_| fixture.ledger.due_follow_ups(later, 60_000, 100)),
    )
    .await;
    let mut due = Vec::new();
    for claim in claims {
        due.extend(claim?);
    }
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].attempt_id, due[0].message_id), (attempt, message.message_id));
    assert_eq!((due[0].provider_message_id.as_str(), due[0].final_state), ("SM1", None));
    // The end came during the query: what follows an end is not lost with this query.
    let receipt = Receipt {
        attempt_id: attempt,
        status: Status::Delivered,
        reason: None,
        provider_message_id: None,
        provider_code: None,
        price: Some("-0.0070 USD".to_owned()),
        follow_up_at: Some(later.plus_secs(1)),
    };
    fixture.ledger.apply_receipt(&receipt, later).await?;
    fixture.ledger.followed_up(&due[0], None, None).await?;
    let due = fixture.ledger.due_follow_ups(later.plus_secs(2), 60_000, 100).await?;
    assert_eq!(due.iter().map(|d| d.final_state).collect::<Vec<_>>(), [Some(Status::Delivered)]);
    assert_eq!(
        fixture.ledger.attempts(message.message_id).await?[0].price.as_deref(),
        Some("-0.0070 USD")
    );
    // No price yet: queried again, and the count continues.
    let again_at = later.plus_secs(100);
    fixture.ledger.followed_up(&due[0], None, Some(again_at)).await?;
    assert_eq!(fixture.ledger.due_follow_ups(later.plus_secs(99), 60_000, 100).await?, []);
    let due = fixture.ledger.due_follow_ups(again_at, 60_000, 100).await?;
    assert_eq!(due.iter().map(|d| d.number).collect::<Vec<_>>(), [2]);
    fixture.ledger.followed_up(&due[0], Some("-0.0075 USD"), None).await?;
    assert_eq!(fixture.ledger.due_follow_ups(later.plus_secs(9_999), 60_000, 100).await?, []);
    let attempts = fixture.ledger.attempts(message.message_id).await?;
    assert_eq!(attempts[0].price.as_deref(), Some("-0.0075 USD"));

    // No response: five queries, further and further apart.
    let (_, attempt) = fixture.begun().await?;
    fixture.finish(attempt, AttemptState::Accepted).await?;
    let mut asked = 0;
    for minute in 0..120 {
        let at = fixture.clock.now().plus_secs(60 * minute);
        asked += fixture.ledger.due_follow_ups(at, 60_000, 100).await?.len();
    }
    assert_eq!(asked, 5);
    Ok(())
}

async fn a_text_stays_on_record_when_its_phone_is_erased(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (message, attempt) = fixture.begun().await?;
    fixture.finish(attempt, AttemptState::Accepted).await?;
    let id = message.message_id;
    assert_eq!(phone_of(fixture, id).await?.as_deref(), Some(PHONE.expose()));
    fixture.db.transaction("erase", async |work| erase::phone(work, &PHONE).await).await?;
    assert_eq!(phone_of(fixture, id).await?, None);
    let left = fixture.ledger.message_state(id).await?;
    assert_eq!(left.map(|left| left.status), Some(Status::Sent));
    let attempts = fixture.ledger.attempts(message.message_id).await?;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].state, Some(AttemptState::Accepted));
    Ok(())
}

async fn texts_older_than_thirty_days_are_totalled_and_dropped(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let start = fixture.clock.now();
    fixture.ledger.sweep(start.plus_ms(31 * DAY)).await?;
    let before = totals(fixture).await?;
    let mut messages = Vec::new();
    for _ in 0..3 {
        let (message, attempt) = fixture.begun().await?;
        fixture.finish(attempt, AttemptState::Accepted).await?;
        messages.push(message.message_id);
    }
    fixture.receipt(AttemptId::new(&fixture.clock), Status::Sent, None).await?;
    let dropped = fixture.ledger.sweep(start.plus_ms(29 * DAY)).await?;
    assert_eq!((dropped.messages, dropped.receipts), (0, 1));
    let sweeps =
        futures::future::join_all((0..3).map(|_| fixture.ledger.sweep(start.plus_ms(31 * DAY))))
            .await;
    let mut dropped = 0;
    for sweep in sweeps {
        dropped += sweep?.messages;
    }
    assert_eq!(dropped, 3);
    for message in messages {
        assert_eq!(fixture.ledger.message_state(message).await?, None);
    }
    let after = totals(fixture).await?;
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 3), "messages and segments");
    Ok(())
}

async fn p2_many_texts_at_once_behave_like_one_by_one(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let messages: Vec<_> = (0..200).map(|_| fixture.message()).collect();
    // Each job comes twice in one burst: two of one message must not go in one statement.
    let jobs = messages.iter().chain(&messages).map(|message| async {
        let attempt = AttemptId::new(&fixture.clock);
        Ok::<_, anyhow::Error>((
            message.message_id,
            attempt,
            fixture.begin(message, attempt).await?,
        ))
    });
    let mut started = std::collections::HashMap::new();
    for (message, attempt, begin) in futures::future::try_join_all(jobs).await? {
        match begin {
            Begin::Start { number: 1, risked: 0 } => {
                assert!(started.insert(message, attempt).is_none(), "begun twice");
            }
            Begin::Unconfirmed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started.len(), messages.len());
    if fixture.db.is_postgres() {
        let commits = commits(fixture).await?;
        assert!(commits <= 20, "{commits} commits for 200 texts");
    }
    let ends = started.values().enumerate().map(|(n, attempt)| {
        let accepted = n % 2 == 0;
        fixture.finish(
            *attempt,
            if accepted { AttemptState::Accepted } else { AttemptState::Throttled },
        )
    });
    let moved = futures::future::try_join_all(ends).await?;
    for ((n, (message, attempt)), moved) in started.iter().enumerate().zip(moved) {
        let (status, state) = if n % 2 == 0 {
            (Status::Sent, AttemptState::Accepted)
        } else {
            (Status::Sending, AttemptState::Throttled)
        };
        assert_eq!(
            (moved.message_state.message_id, moved.message_state.status),
            (*message, status)
        );
        assert_eq!(moved.changed, status == Status::Sent);
        let attempts = fixture.ledger.attempts(*message).await?;
        let found: Vec<_> = attempts.iter().map(|a| (a.attempt_id, a.state, a.number)).collect();
        assert_eq!(found, [(*attempt, Some(state), 1)]);
        let history = fixture.ledger.history(*message).await?.len();
        assert_eq!(history, if status == Status::Sent { 2 } else { 1 });
    }
    if fixture.db.is_postgres() {
        let commits = commits(fixture).await?;
        assert!(commits <= 20, "{commits} commits for 200 ends");
    }
    Ok(())
}

/// How many transactions last wrote the attempts' rows.
async fn commits(fixture: &LedgerFixture) -> anyhow::Result<i64> {
    let sql = "SELECT count(DISTINCT xmin::text) AS n FROM sms_attempts";
    Ok(fixture.db.one("count commits", sql, &[], |row| row.get("n")).await?)
}

async fn w1_two_ends_of_one_message_at_once_are_both_written(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    for _ in 0..20 {
        let (message, first) = fixture.begun().await?;
        fixture.finish(first, AttemptState::Unknown).await?;
        let second = AttemptId::new(&fixture.clock);
        assert_eq!(fixture.begin(&message, second).await?, Begin::Start { number: 2, risked: 1 });
        // One in progress, so that both ends of the message wait and go together.
        let (_, other) = fixture.begun().await?;
        let (_, one, two) = tokio::try_join!(
            fixture.finish(other, AttemptState::Accepted),
            fixture.finish(first, AttemptState::Accepted),
            fixture.finish(second, AttemptState::Accepted),
        )?;
        assert_eq!(usize::from(one.changed) + usize::from(two.changed), 1, "reported once");
        for moved in [one, two] {
            assert_eq!(moved.message_state.message_id, message.message_id);
            assert_eq!(moved.message_state.status, Status::Sent);
        }
        for attempt in fixture.ledger.attempts(message.message_id).await? {
            assert_eq!(attempt.state, Some(AttemptState::Accepted));
            assert_eq!(attempt.provider_message_id.as_deref(), Some("SM1"));
        }
    }
    Ok(())
}

async fn p11_a_row_that_cannot_be_written_harms_no_neighbour(
    fixture: &LedgerFixture,
) -> anyhow::Result<()> {
    let (_, taken) = fixture.begun().await?;
    let messages: Vec<_> = (0..40).map(|_| fixture.message()).collect();
    let begins = messages.iter().enumerate().map(|(n, message)| {
        // The id of an existing attempt: no row can be written for it.
        fixture.begin(message, if n == 20 { taken } else { AttemptId::new(&fixture.clock) })
    });
    for (n, begun) in futures::future::join_all(begins).await.into_iter().enumerate() {
        assert_eq!(begun.is_err(), n == 20, "{n}: {begun:?}");
    }
    let mut attempts = Vec::new();
    for message in &messages {
        attempts.extend(fixture.ledger.attempts(message.message_id).await?);
    }
    assert_eq!(attempts.len(), 39);
    let ends = attempts.iter().enumerate().map(|(n, attempt)| {
        // PostgreSQL cannot store a text with a NUL; SQLite can.
        let id = if n == 20 { "SM\0" } else { "SM2" };
        let finish = Finish {
            provider_message_id: Some(id.to_owned()),
            status: Some((Status::Sent, None)),
            ..Finish::of(AttemptState::Accepted)
        };
        let (ledger, now) = (fixture.ledger.clone(), fixture.clock.now());
        async move { ledger.finish(attempt.attempt_id, &finish, now).await }
    });
    for (n, ended) in futures::future::join_all(ends).await.into_iter().enumerate() {
        assert_eq!(ended.is_err(), n == 20 && fixture.db.is_postgres(), "{n}: {ended:?}");
    }
    Ok(())
}

async fn phone_of(fixture: &LedgerFixture, message: MessageId) -> anyhow::Result<Option<String>> {
    let sql = "SELECT phone_number FROM sms_ledger WHERE message_id = $1";
    let number = |row: &sql::Row| row.get("phone_number");
    Ok(fixture.db.one("read a number", sql, args![message.uuid()], number).await?)
}

async fn totals(fixture: &LedgerFixture) -> anyhow::Result<(i64, i64)> {
    let sql = "SELECT CAST(COALESCE(sum(messages), 0) AS bigint) AS m,
             CAST(COALESCE(sum(segments), 0) AS bigint) AS s FROM sms_totals";
    let totals = |row: &sql::Row| Ok((row.get("m")?, row.get("s")?));
    Ok(fixture.db.one("read the totals", sql, &[], totals).await?)
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in permutations(n - 1) {
        for at in 0..n {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

// ---- both engines

/// Two tests per rule: on SQLite, and on a database of its own in the private PostgreSQL.
macro_rules! rules {
    ($($rule:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $rule() -> anyhow::Result<()> {
                let folder = testkit::folder::Folder::new("ledger");
                let db = super::Pool::sqlite(folder.path()).await?;
                db.migrate(&[]).await?;
                super::$rule(&super::fixture(db)).await
            })+
        }

        mod postgres_on_the_engines {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $rule() -> anyhow::Result<()> {
                testkit::stalls::steady(async || {
                    let url = testkit::engines::Engines::one_by_one().database().await;
                    let db = super::Pool::postgres(&url.into()).await?;
                    db.migrate(&[]).await?;
                    super::$rule(&super::fixture(db)).await
                })
                .await
            })+
        }
    };
}
rules!(
    f15_a_message_to_a_deleted_account_keeps_no_number,
    p2_a_redelivered_job_is_not_sent_again,
    p2_only_one_of_many_workers_starts_a_job,
    w1_no_third_call_may_ever_have_been_accepted,
    w1_a_call_that_may_have_been_accepted_is_retried_at_another_provider,
    w1_no_call_is_begun_while_a_receipt_can_settle_the_last_one,
    calls_that_were_refused_do_not_count_as_risk,
    a_message_that_was_accepted_is_not_ended_by_a_late_drop,
    receipts_in_any_order_and_doubled_end_in_one_state,
    a_receipt_before_the_answer_settles_an_unknown_call,
    a_receipt_of_an_unknown_attempt_is_kept_for_its_send,
    one_failed_text_of_two_does_not_decide_the_message,
    p2_many_texts_at_once_behave_like_one_by_one,
    w1_two_ends_of_one_message_at_once_are_both_written,
    p11_a_row_that_cannot_be_written_harms_no_neighbour,
    a_missing_final_state_is_queried_by_one_worker,
    a_text_stays_on_record_when_its_phone_is_erased,
    texts_older_than_thirty_days_are_totalled_and_dropped,
);

fn fixture(db: Pool) -> LedgerFixture {
    LedgerFixture { ledger: Ledger::new(&db), db, clock: Clock::manual() }
}
