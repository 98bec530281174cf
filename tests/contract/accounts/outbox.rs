//! The outbox, the audit's triggers, the sweep.

use std::collections::BTreeSet;

use accounts::{AttemptKind, LoginKey, Swept, Throttle};
use futures::future::join_all;

use super::contract;
use super::fixture::{AccountsFixture, DAY, Db, GRACE, IDLE, LIMITS, MAX, Phone, signed_in, token};

contract!(
    p1_an_event_is_claimed_by_one_of_two_drainers,
    p1_an_abandoned_claim_is_claimed_again_after_half_a_minute,
    p1_a_released_event_is_claimed_again_at_once,
    the_audit_refuses_change_and_removal,
    a_sweep_removes_only_what_is_over,
    a_sweep_works_in_batches,
    p4_p9_a_sweep_with_a_clock_an_hour_ahead_removes_nothing_still_needed,
);

async fn p1_an_event_is_claimed_by_one_of_two_drainers(fixture: AccountsFixture) {
    for _ in 0..20 {
        fixture.signed_in(&Phone::new()).await;
    }
    let other = fixture.another().await;
    let drain = async |db: &Db| {
        let mut ids = Vec::new();
        loop {
            let batch = db.outbox.take(7, fixture.now()).await.unwrap();
            if batch.is_empty() {
                return ids;
            }
            assert!(batch.len() <= 7 && batch.is_sorted_by_key(|event| event.id));
            let claimed: Vec<_> = batch.iter().map(|event| event.id).collect();
            db.outbox.done(&claimed, fixture.now()).await.unwrap();
            ids.extend(claimed);
        }
    };
    let drained =
        join_all([&fixture.db, &other, &fixture.db].map(|db| Box::pin(drain(db)))).await.concat();
    assert_eq!(drained.len(), 60, "three of each sign-up");
    assert_eq!(drained.iter().collect::<BTreeSet<_>>().len(), 60, "no duplicates");
    assert_eq!(waiting(&fixture.db).await, 0);
}

/// How many events are not published yet.
async fn waiting(db: &Db) -> i64 {
    let sql = "SELECT COUNT(*) AS waiting FROM outbox WHERE published_at IS NULL";
    db.pool.one("count events", sql, &[], |row| row.get("waiting")).await.unwrap()
}

async fn p1_an_abandoned_claim_is_claimed_again_after_half_a_minute(fixture: AccountsFixture) {
    fixture.signed_in(&Phone::new()).await;
    let now = fixture.now();
    let first = fixture.db.outbox.take(10, now).await.unwrap();
    assert_eq!(first.len(), 3);
    assert!(fixture.db.outbox.take(10, now.plus_ms(29_999)).await.unwrap().is_empty());
    assert_eq!(waiting(&fixture.db).await, 3);
    let again = fixture.db.outbox.take(10, now.plus_secs(30)).await.unwrap();
    let ids = |events: &[accounts::OutboxEvent]| events.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&first));
}

async fn p1_a_released_event_is_claimed_again_at_once(fixture: AccountsFixture) {
    fixture.signed_in(&Phone::new()).await;
    let first = fixture.db.outbox.take(10, fixture.now()).await.unwrap();
    let ids: Vec<_> = first.iter().map(|event| event.id).collect();
    fixture.db.outbox.done(&ids[..1], fixture.now()).await.unwrap();
    fixture.db.outbox.release(&ids).await.unwrap();
    let again = fixture.db.outbox.take(10, fixture.now()).await.unwrap();
    assert_eq!(again.iter().map(|event| event.id).collect::<Vec<_>>(), ids[1..]);
}

async fn the_audit_refuses_change_and_removal(fixture: AccountsFixture) {
    let (user, _) = fixture.signed_in(&Phone::new()).await;
    let detail = serde_json::json!({ "queue": "otp-worker" });
    fixture
        .db
        .audit
        .add(fixture.now(), "cli", "dead_letter_replayed", "m1", &detail)
        .await
        .unwrap();
    let mut raw = fixture.raw().await;
    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"] {
        assert!(raw.run(sql).await.is_err(), "{sql}");
    }
    let lines = fixture.db.audit.page(None, None, 10).await.unwrap();
    assert_eq!(
        lines.iter().map(|l| l.act.as_str()).collect::<Vec<_>>(),
        ["dead_letter_replayed", "signed_up"]
    );
    assert_eq!(lines[0].detail, detail.to_string());
    let older = fixture.db.audit.page(None, Some(lines[0].id), 10).await.unwrap();
    assert_eq!(older.len(), 1);
    assert_eq!(older[0].subject, user.id.to_string());
}

async fn a_sweep_removes_only_what_is_over(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, ended) = fixture.signed_in(&phone).await;
    let (_, live) = fixture.signed_in(&phone).await;
    fixture.db.sessions.refresh(token(live.id, 1), GRACE, MAX, fixture.now()).await.unwrap();
    fixture.attempt(phone.stranger(), Some(fixture.code())).await.unwrap();
    let attempt = fixture.db.attempts.record_failure(
        phone.stranger(),
        AttemptKind::Password,
        None,
        LIMITS,
        fixture.now(),
    );
    attempt.await.unwrap().unwrap();
    fixture.events().await;
    fixture.db.sessions.end(user.id, ended.id, "logout", fixture.now()).await.unwrap();
    let now = fixture.now();
    assert_eq!(fixture.db.sweeper.sweep(LIMITS, now).await.unwrap(), Swept::default());
    let mut raw = fixture.raw().await;
    let rows = "SELECT (SELECT COUNT(*) FROM used_codes) + (SELECT COUNT(*) FROM code_guesses)
        + (SELECT COUNT(*) FROM guesses) + (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM outbox)";
    // Two used codes, one with a failed attempt; two counts; two sessions; five published events (of two sign-ins) and
    // one that waits.
    assert_eq!(raw.number(rows).await, 2 + 1 + 2 + 2 + 5 + 1);
    let swept = fixture.db.sweeper.sweep(LIMITS, now.plus_secs(2 * DAY + 1)).await.unwrap();
    assert_eq!(swept, Swept { removed: 2 + 1 + 2 + 5, more: false });
    let swept = fixture.db.sweeper.sweep(LIMITS, now.plus_secs(89 * DAY)).await.unwrap();
    assert_eq!(swept, Swept::default(), "sessions stay for three months");
    let swept = fixture.db.sweeper.sweep(LIMITS, now.plus_secs(91 * DAY)).await.unwrap();
    assert_eq!(swept.removed, 1);
    let refreshed =
        fixture.db.sessions.refresh(token(live.id, 2), GRACE, IDLE, fixture.now()).await.unwrap();
    assert!(matches!(refreshed, accounts::RefreshOutcome::Rotated(_)));
    assert_eq!(raw.number(rows).await, 2, "the live session and the waiting event");
}

async fn p4_p9_a_sweep_with_a_clock_an_hour_ahead_removes_nothing_still_needed(
    fixture: AccountsFixture,
) {
    let (locked, phone) = (Phone::new(), Phone::new());
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.key = Some(LoginKey { key_hash: "key", body_hash: "body" });
    signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    // It unlocks in half an hour.
    fixture.set_failures(&locked, 100, DAY - 1800).await;
    fixture.db.sweeper.sweep(LIMITS, fixture.now().plus_secs(3600)).await.unwrap();
    let attempt = fixture.attempt(locked.stranger(), None).await;
    assert!(matches!(attempt, Err(Throttle::Locked { until: Some(_) })), "{attempt:?}");
    let replay = fixture.db.accounts.login_replay("key", fixture.now()).await.unwrap();
    assert!(replay.expect("within 30 s").session.is_some());
}

async fn a_sweep_works_in_batches(fixture: AccountsFixture) {
    let mut raw = fixture.raw().await;
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1201)";
    raw.run(&format!("INSERT INTO guesses {numbers} SELECT 'k' || i, 'code', 1, 0 FROM n"))
        .await
        .unwrap();
    let mut sweeps = Vec::new();
    loop {
        let swept = fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
        sweeps.push(swept.removed);
        if !swept.more {
            break;
        }
    }
    // Counts of few failures and of many are swept by a statement each.
    assert_eq!(sweeps, [1000, 201]);
}
