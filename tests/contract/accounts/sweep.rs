//! The audit's triggers, the sweep.

use accounts::{AttemptKind, LoginKey, Swept, Throttle};

use super::contract;
use super::fixture::{AccountsFixture, DAY, GRACE, IDLE, LIMITS, MAX, Phone, signed_in, token};

contract!(
    the_audit_refuses_change_and_removal,
    a_sweep_removes_only_what_is_over,
    a_sweep_works_in_batches,
    a_sweep_looks_at_a_session_once_in_its_idle_time,
    a_sweep_finds_the_end_of_a_session_that_the_former_version_started,
    a_session_whose_idle_time_became_shorter_is_told_of_at_its_end,
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

/// How many live sessions a sweep would look at now.
async fn looked_at(fixture: &AccountsFixture, at: domain::timestamp::Timestamp) -> i64 {
    let sql = format!(
        "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL AND sweep_at <= {}",
        at.plus_secs(-3600).ms()
    );
    fixture.raw().await.number(&sql).await
}

async fn a_sweep_looks_at_a_session_once_in_its_idle_time(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    let (first_end, mut last_end) = (session.expires_at, session.expires_at);
    for generation in 1..=20 {
        fixture.advance(DAY);
        let presented = token(session.id, generation);
        let refreshed = fixture.db.sessions.refresh(presented, GRACE, IDLE, fixture.now()).await;
        let Ok(accounts::RefreshOutcome::Rotated(refreshed)) = refreshed else {
            panic!("{refreshed:?}")
        };
        last_end = refreshed.expires_at;
        assert_eq!(looked_at(&fixture, fixture.now()).await, 0);
    }
    let at = first_end.plus_secs(3600);
    assert_eq!(looked_at(&fixture, at).await, 1);
    fixture.db.sweeper.sweep(LIMITS, at).await.unwrap();
    assert_eq!(looked_at(&fixture, at).await, 0, "put off");
    assert!(fixture.db.sessions.live(session.id, last_end.plus_ms(-1)).await.unwrap().is_some());
    assert_eq!(looked_at(&fixture, last_end.plus_secs(3600).plus_ms(-1)).await, 0);
    fixture.events().await;
    fixture.db.sweeper.sweep(LIMITS, last_end.plus_secs(3600)).await.unwrap();
    assert_eq!(fixture.kinds().await, ["session.ended.v1"]);
}

/// It gives its sessions no time to look, and is served by the column's default.
async fn a_sweep_finds_the_end_of_a_session_that_the_former_version_started(
    fixture: AccountsFixture,
) {
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(fixture.signed_in(&Phone::new()).await.1);
    }
    fixture.events().await;
    fixture.raw().await.run("UPDATE sessions SET sweep_at = 0").await.unwrap();
    assert_eq!(looked_at(&fixture, fixture.now()).await, 3);
    assert_eq!(fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap(), Swept::default());
    assert_eq!(looked_at(&fixture, fixture.now()).await, 0);
    // One more that nothing has looked at until its end is over.
    let mut raw = fixture.raw().await;
    raw.run(&format!("UPDATE sessions SET sweep_at = 0 WHERE id = {}", raw.id(sessions[0].id)))
        .await
        .unwrap();
    fixture.db.sweeper.sweep(LIMITS, sessions[2].expires_at.plus_secs(3600)).await.unwrap();
    assert_eq!(fixture.kinds().await, ["session.ended.v1"; 3]);
}

async fn a_session_whose_idle_time_became_shorter_is_told_of_at_its_end(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    fixture.events().await;
    let now = fixture.now();
    fixture.db.sessions.refresh(token(session.id, 1), GRACE, DAY, now).await.unwrap();
    fixture.db.sweeper.sweep(LIMITS, now.plus_secs(DAY + 3600).plus_ms(-1)).await.unwrap();
    assert!(fixture.events().await.is_empty());
    fixture.db.sweeper.sweep(LIMITS, now.plus_secs(DAY + 3600)).await.unwrap();
    assert_eq!(fixture.kinds().await, ["session.ended.v1"]);
}
