//! Lists of sessions, and their ends.

use super::contract;
use super::fixture::{AccountsFixture, DAY, GRACE, IDLE, LIMITS, MAX, Phone, token};

contract!(
    a_list_holds_the_live_sessions_of_its_account,
    one_session_is_ended_by_its_own_account_only,
    the_other_sessions_end_with_an_event_each,
    an_expired_session_ends_at_its_expiry_with_an_event,
);

async fn a_list_holds_the_live_sessions_of_its_account(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, first) = fixture.signed_in(&phone).await;
    fixture.advance(1);
    let (_, second) = fixture.signed_in(&phone).await;
    fixture.signed_in(&Phone::new()).await;
    let list = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
    assert_eq!(list, [second.clone(), first.clone()]);
    assert!(fixture.db.sessions.end(user.id, second.id, "logout", fixture.now()).await.unwrap());
    assert_eq!(fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap(), [first]);
}

async fn one_session_is_ended_by_its_own_account_only(fixture: AccountsFixture) {
    let (user, session) = fixture.signed_in(&Phone::new()).await;
    let (stranger, _) = fixture.signed_in(&Phone::new()).await;
    let now = fixture.now();
    assert!(!fixture.db.sessions.end(stranger.id, session.id, "logout", now).await.unwrap());
    assert!(fixture.db.sessions.live(session.id, now).await.unwrap().is_some());
    assert!(fixture.db.sessions.end(user.id, session.id, "logout", now).await.unwrap());
    assert!(!fixture.db.sessions.end(user.id, session.id, "logout", now).await.unwrap());
}

async fn the_other_sessions_end_with_an_event_each(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    for _ in 0..3 {
        fixture.signed_in(&phone).await;
    }
    let (_, strangers) = fixture.signed_in(&Phone::new()).await;
    fixture.events().await;
    let now = fixture.now();
    let ended =
        fixture.db.sessions.end_others(user.id, mine.id, "ended_by_user", now).await.unwrap();
    assert_eq!(ended, 3);
    assert_eq!(fixture.kinds().await, ["session.ended.v1"; 3]);
    assert!(fixture.db.sessions.live(mine.id, now).await.unwrap().is_some());
    assert!(fixture.db.sessions.live(strangers.id, now).await.unwrap().is_some());
    assert!(fixture.db.accounts.block(user.id, "ended by staff", "staff:1", now).await.unwrap());
    assert!(fixture.db.sessions.live(mine.id, now).await.unwrap().is_none());
    let lines = fixture.db.audit.page(Some(&user.id.to_string()), None, 2).await.unwrap();
    let ended = lines.iter().find(|line| line.act == "session_ended").unwrap();
    assert_eq!(ended.actor, "staff:1");
    assert!(ended.detail.contains(&mine.id.to_string()));
}

async fn an_expired_session_ends_at_its_expiry_with_an_event(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, idle) = fixture.signed_in(&phone).await;
    let (_, used) = fixture.signed_in(&phone).await;
    // Used until its absolute end, which the last refresh does not change.
    fixture.db.sessions.refresh(token(used.id, 1), GRACE, 2 * MAX, fixture.now()).await.unwrap();
    fixture.events().await;
    fixture.db.sweeper.sweep(LIMITS, idle.expires_at.plus_ms(-1)).await.unwrap();
    assert!(fixture.events().await.is_empty());

    for (session, at) in [(&idle, idle.expires_at), (&used, used.absolute_expires_at)] {
        let swept_at = at.plus_secs(DAY);
        assert!(fixture.db.sessions.live(session.id, at).await.unwrap().is_none());
        // Not yet: the sweeper's clock may be ahead.
        fixture.db.sweeper.sweep(LIMITS, at.plus_secs(3599)).await.unwrap();
        assert!(fixture.db.outbox.take(10, at.plus_secs(3599)).await.unwrap().is_empty());
        fixture.db.sweeper.sweep(LIMITS, swept_at).await.unwrap();
        fixture.db.sweeper.sweep(LIMITS, swept_at).await.unwrap();
        let events = fixture.db.outbox.take(10, swept_at).await.unwrap();
        assert_eq!(events.len(), 1, "once");
        fixture.db.outbox.done(&[events[0].id], swept_at).await.unwrap();
        let told: serde_json::Value = serde_json::from_slice(&events[0].body).unwrap();
        assert_eq!(told["type"], "session.ended.v1");
        assert_eq!(
            told["data"],
            serde_json::json!({
                "session_id": session.id, "user_id": user.id, "ended_at": at, "reason": "expired",
            })
        );
        let lines = fixture.db.audit.page(Some(&user.id.to_string()), None, 1).await.unwrap();
        assert_eq!((lines[0].actor.as_str(), lines[0].act.as_str()), ("sweep", "session_ended"));
        assert_eq!(
            lines[0].detail,
            serde_json::json!({ "reason": "expired", "sessions": [session.id] }).to_string()
        );
        // Refused as before, with the same answer.
        assert!(fixture.db.sessions.live(session.id, swept_at).await.unwrap().is_none());
        let generation = if session.id == used.id { 2 } else { 1 };
        let refreshed =
            fixture.db.sessions.refresh(token(session.id, generation), GRACE, IDLE, swept_at).await;
        assert_eq!(refreshed.unwrap(), accounts::RefreshOutcome::Ended);
    }
}
