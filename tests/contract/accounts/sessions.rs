//! Lists of sessions, and their ends.

use super::contract;
use super::fixture::{AccountsFixture, DAY, GRACE, IDLE, LIMITS, MAX, Phone, token};
use accounts::{Deleter, Session};

contract!(
    a_list_holds_the_live_sessions_of_its_account,
    one_session_is_ended_by_its_own_account_only,
    the_other_sessions_end_with_an_event_each,
    an_expired_session_ends_at_its_expiry_with_an_event,
    f04_a_device_token_ends_with_the_session_that_its_owner_ends,
    f04_all_other_device_tokens_end_with_the_other_sessions,
    f04_ends_of_device_tokens_go_after_their_year_and_with_their_account,
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
    assert_eq!(ended, Some(3));
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
        assert!(fixture.events().await.is_empty());
        fixture.db.sweeper.sweep(LIMITS, swept_at).await.unwrap();
        fixture.db.sweeper.sweep(LIMITS, swept_at).await.unwrap();
        let events = fixture.events().await;
        assert_eq!(events.len(), 1, "once");
        let (kind, told) = &events[0];
        assert_eq!(kind, "session.ended.v1");
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

/// Whether the device tokens of these sign-ins were ended.
async fn ended<const N: usize>(fixture: &AccountsFixture, of: [&Session; N]) -> [bool; N] {
    let mut ended = [false; N];
    for (ended, session) in ended.iter_mut().zip(of) {
        let sessions = &fixture.db.sessions;
        *ended = sessions.device_is_ended(session.user_id, session.created_at).await.unwrap();
    }
    ended
}

/// Signs in this many times, a second apart.
async fn sign_ins<const N: usize>(fixture: &AccountsFixture, phone: &Phone) -> [Session; N] {
    let mut sessions = Vec::new();
    for _ in 0..N {
        fixture.advance(1);
        sessions.push(fixture.signed_in(phone).await.1);
    }
    sessions.try_into().unwrap()
}

async fn f04_a_device_token_ends_with_the_session_that_its_owner_ends(fixture: AccountsFixture) {
    let (phone, other) = (Phone::new(), Phone::new());
    let [first, second, third] = sign_ins(&fixture, &phone).await;
    // Somebody else's of the same moment.
    let (_, strangers) = fixture.signed_in(&other).await;
    let (db, user) = (&fixture.db, first.user_id);
    assert!(db.sessions.end(user, first.id, "logout", fixture.now()).await.unwrap());
    assert_eq!(ended(&fixture, [&first, &second, &third]).await, [false; 3], "a logout ends none");
    for id in [first.id, strangers.id] {
        let now = fixture.now();
        let one = db.sessions.end_with_device(user, id, second.id, "ended_by_user", now).await;
        assert_eq!(one.unwrap(), Some(false));
    }
    let (sessions, now) = (&db.sessions, fixture.now());
    let one = sessions.end_with_device(user, third.id, second.id, "ended_by_user", now).await;
    assert_eq!(one.unwrap(), Some(true));
    let all = [&first, &second, &third, &strangers];
    assert_eq!(ended(&fixture, all).await, [false, false, true, false]);
}

async fn f04_all_other_device_tokens_end_with_the_other_sessions(fixture: AccountsFixture) {
    let (phone, db) = (Phone::new(), &fixture.db);
    let [gone, live, mine] = sign_ins(&fixture, &phone).await;
    let user = mine.user_id;
    let (_, strangers) = fixture.signed_in(&Phone::new()).await;
    assert!(db.sessions.end(user, gone.id, "logout", fixture.now()).await.unwrap());
    db.sessions.end_others(user, mine.id, "ended_by_user", fixture.now()).await.unwrap();
    // Also of a session that was over before.
    let all = [&gone, &live, &mine, &strangers];
    assert_eq!(ended(&fixture, all).await, [true, true, false, false]);
    let [next, last] = sign_ins(&fixture, &phone).await;
    assert_eq!(ended(&fixture, [&next, &last]).await, [false; 2], "a new sign-in is a new device");
    db.sessions.end_others(user, next.id, "ended_by_user", fixture.now()).await.unwrap();
    let all = [&gone, &live, &mine, &next, &last];
    assert_eq!(ended(&fixture, all).await, [true, true, true, false, true]);
    let kept = "SELECT count(*) FROM device_ends";
    assert_eq!(fixture.raw().await.number(kept).await, 2, "later spans hold the earlier ones");
    // A clock that is behind the one that dated the sign-ins ends them all the same.
    let now = fixture.now().plus_secs(-5);
    assert!(db.accounts.block(user, "a thief", "staff:1", now).await.unwrap());
    assert_eq!(ended(&fixture, all).await, [true; 5]);
    assert!(db.accounts.unblock(user, "staff:1", fixture.now()).await.unwrap());
    let [after] = sign_ins(&fixture, &phone).await;
    assert_eq!(ended(&fixture, [&after, &strangers]).await, [false; 2]);
}

async fn f04_ends_of_device_tokens_go_after_their_year_and_with_their_account(
    fixture: AccountsFixture,
) {
    let (kept, db) = ("SELECT count(*) FROM device_ends", &fixture.db);
    let [one, another] = [Phone::new(), Phone::new()];
    for phone in [&one, &another] {
        let [first, mine] = sign_ins(&fixture, phone).await;
        let (user, now) = (mine.user_id, fixture.now());
        let sessions = &db.sessions;
        let one = sessions.end_with_device(user, first.id, mine.id, "ended_by_user", now).await;
        assert_eq!(one.unwrap(), Some(true));
    }
    assert_eq!(fixture.raw().await.number(kept).await, 2);
    let (user, _) = fixture.signed_in(&one).await;
    assert!(fixture.delete(Deleter::Staff("staff:1"), user.id).await);
    assert_eq!(fixture.raw().await.number(kept).await, 1);
    fixture.advance(365 * DAY);
    db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
    assert_eq!(fixture.raw().await.number(kept).await, 1, "clocks may differ");
    fixture.advance(2 * DAY);
    db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
    assert_eq!(fixture.raw().await.number(kept).await, 0);
}
