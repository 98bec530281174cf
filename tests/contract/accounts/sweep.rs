//! The audit's triggers, the sweep.

use accounts::{AttemptKind, LoginKey, Swept, Throttle};

use super::contract;
use super::fixture::{AccountsFixture, DAY, GRACE, IDLE, LIMITS, MAX, Phone, signed_in, token};

contract!(
    the_audit_refuses_change_and_removal,
    a_sweep_removes_only_what_is_over,
    a_sweep_works_in_batches,
    p4_p9_a_sweep_with_a_clock_an_hour_ahead_removes_nothing_still_needed,
);

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
        + (SELECT COUNT(*) FROM guesses) + (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM outbox)
        + (SELECT COUNT(*) FROM outbox_entries)";
    // One that a gateway of the former version published.
    raw.run(&format!(
        "INSERT INTO outbox (id, kind, addressed, body, created_at, published_at)
         VALUES ({}, 'kind', {}, '', 0, {})",
        raw.id(user.id),
        false,
        now.ms()
    ))
    .await
    .unwrap();
    // Two used codes, one with a failed attempt; two counts; two sessions; the published event and an entry that waits.
    assert_eq!(raw.number(rows).await, 2 + 1 + 2 + 2 + 1 + 1);
    let swept = fixture.db.sweeper.sweep(LIMITS, now.plus_secs(2 * DAY + 1)).await.unwrap();
    assert_eq!(swept, Swept { removed: 2 + 1 + 2 + 1, more: false });
    let swept = fixture.db.sweeper.sweep(LIMITS, now.plus_secs(89 * DAY)).await.unwrap();
    assert_eq!(swept, Swept::default(), "sessions stay for three months");
    let swept = fixture.db.sweeper.sweep(LIMITS, now.plus_secs(91 * DAY)).await.unwrap();
    assert_eq!(swept.removed, 1);
    let refreshed =
        fixture.db.sessions.refresh(token(live.id, 2), GRACE, IDLE, fixture.now()).await.unwrap();
    assert!(matches!(refreshed, accounts::RefreshOutcome::Rotated(_)));
    assert_eq!(raw.number(rows).await, 2, "the live session and the waiting entry");
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
