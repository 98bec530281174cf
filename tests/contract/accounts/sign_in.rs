//! Sign-in by code.

use accounts::{Counted, Deleter, Denied, LoginKey, LoginOutcome};
use domain::event::{Envelope, SessionStarted, UserCreated};
use domain::ids::RequestId;
use futures::future::join_all;

use super::contract;
use super::fixture::{AccountsFixture, DAY, LIMITS, Phone, signed_in, token};

contract!(
    the_first_sign_in_creates_the_account_and_the_next_one_finds_it,
    p3_one_of_fifty_sign_ins_with_one_code_succeeds,
    p3_a_code_stays_used_after_its_account_is_deleted,
    p3_a_refused_sign_in_changes_nothing,
    p4_the_fifth_attempt_is_accepted_and_an_exhausted_code_is_not,
    a_blocked_account_uses_its_code_and_gets_no_session,
    a_profile_is_for_a_new_account_only,
    names_are_kept_as_they_are_and_never_interpreted,
    the_fifty_first_session_ends_the_least_recently_seen_one,
    fifty_sign_ins_at_once_stay_within_the_cap,
    p9_a_repeated_login_finds_its_session_for_thirty_seconds,
    p9_a_repeated_login_finds_no_session_once_it_was_refreshed,
    events_and_audit_record_a_sign_in_without_the_phone,
);

async fn the_first_sign_in_creates_the_account_and_the_next_one_finds_it(fixture: AccountsFixture) {
    let phone = Phone::new();
    let sign_in = fixture.new_sign_in(&phone, fixture.code());
    let Ok(LoginOutcome::SignedIn { user, created, session }) =
        fixture.db.accounts.sign_in(sign_in).await.unwrap()
    else {
        panic!("not signed in")
    };
    assert!(created);
    assert_eq!((user.id, &user.phone_number), (sign_in.new_user, &phone.number));
    assert_eq!((user.first_name.as_str(), user.last_name.as_str()), ("", ""));
    assert_eq!((user.locale.as_str(), user.country.as_str()), ("fa", "IR"));
    assert!(!user.blocked && user.role.is_none());
    assert_eq!(user.created_at, sign_in.now);
    assert_eq!((session.id, session.user_id, session.generation), (sign_in.session.id, user.id, 1));
    let live = fixture.db.sessions.live(session.id, fixture.now()).await.unwrap().unwrap();
    assert_eq!((live.session, live.user), (session, user.clone()));

    fixture.advance(60);
    let Ok(LoginOutcome::SignedIn { user: again, created, session }) =
        fixture.login(&phone, fixture.code()).await
    else {
        panic!("not signed in")
    };
    assert!(!created);
    assert_eq!(again, user);
    assert_eq!(session.user_id, user.id);
}

async fn p3_one_of_fifty_sign_ins_with_one_code_succeeds(fixture: AccountsFixture) {
    let phone = Phone::new();
    let code = fixture.code();
    let outcomes = join_all((0..50).map(|_| fixture.login(&phone, code))).await;
    let let_in = outcomes.iter().filter(|o| matches!(o, Ok(LoginOutcome::SignedIn { .. }))).count();
    let refused = outcomes.iter().filter(|o| **o == Err(Denied::CodeUsed)).count();
    assert_eq!((let_in, refused), (1, 49));
    let user = fixture.db.accounts.by_phone(&phone.number).await.unwrap().unwrap();
    assert_eq!(fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap().len(), 1);
    assert_eq!(fixture.kinds().await, ["otp.verified.v1", "session.started.v1", "user.created.v1"]);
}

async fn p3_a_code_stays_used_after_its_account_is_deleted(fixture: AccountsFixture) {
    let phone = Phone::new();
    let code = fixture.code();
    let (user, mine) = signed_in(fixture.login(&phone, code).await);
    assert!(fixture.delete(Deleter::User(mine.id), user.id).await);
    assert_eq!(fixture.login(&phone, code).await, Err(Denied::CodeUsed));
    fixture.advance(290);
    fixture.db.sweeper.sweep(LIMITS, fixture.now()).await.unwrap();
    assert_eq!(fixture.login(&phone, code).await, Err(Denied::CodeUsed));
    assert!(fixture.db.accounts.by_phone(&phone.number).await.unwrap().is_none());
}

async fn p3_a_refused_sign_in_changes_nothing(fixture: AccountsFixture) {
    let (phone, other) = (Phone::new(), Phone::new());
    let code = fixture.code();
    fixture.signed_in(&phone).await;
    signed_in(fixture.login(&phone, code).await);
    fixture.events().await;
    fixture.attempt(other.stranger(), None).await.unwrap();
    // Even if the same code could occur for another phone, the fence would hold.
    assert_eq!(fixture.login(&other, code).await, Err(Denied::CodeUsed));
    assert!(fixture.db.accounts.by_phone(&other.number).await.unwrap().is_none());
    assert!(fixture.events().await.is_empty());
    let Ok(Counted { failures, .. }) = fixture.attempt(other.stranger(), None).await else {
        panic!("not counted")
    };
    assert_eq!(failures, 2, "a refused sign-in does not reset the failures");
}

async fn p4_the_fifth_attempt_is_accepted_and_an_exhausted_code_is_not(fixture: AccountsFixture) {
    let (phone, code) = (Phone::new(), fixture.code());
    for n in 1..=4 {
        let counted =
            Ok(Counted { failures: n, code_failures: n, by_device: false, locked: false });
        assert_eq!(fixture.attempt(phone.stranger(), Some(code)).await, counted);
    }
    signed_in(fixture.login(&phone, code).await);
    let is_exhausted = async |code: accounts::UsedCode| {
        fixture.db.attempts.code_is_exhausted(code.id, LIMITS, None).await.unwrap()
    };
    assert!(!is_exhausted(code).await, "it was used, not exhausted");

    let spent = fixture.code();
    for _ in 0..5 {
        assert!(!is_exhausted(spent).await);
        fixture.attempt(phone.stranger(), Some(spent)).await.unwrap();
    }
    assert!(is_exhausted(spent).await);
    assert_eq!(fixture.login(&phone, spent).await, Err(Denied::CodeUsed));
    fixture.signed_in(&phone).await;
}

async fn a_blocked_account_uses_its_code_and_gets_no_session(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, first) = fixture.signed_in(&phone).await;
    assert!(fixture.db.accounts.block(user.id, "fraud", "staff:1", fixture.now()).await.unwrap());
    assert!(fixture.db.sessions.live(first.id, fixture.now()).await.unwrap().is_none());
    let code = fixture.code();
    fixture.events().await;
    assert_eq!(fixture.login(&phone, code).await, Ok(LoginOutcome::Blocked));
    assert!(fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap().is_empty());
    assert!(fixture.events().await.is_empty(), "there was no sign-in");
    assert!(fixture.db.accounts.unblock(user.id, "staff:1", fixture.now()).await.unwrap());
    assert_eq!(fixture.login(&phone, code).await, Err(Denied::CodeUsed));
    let (again, _) = fixture.signed_in(&phone).await;
    assert_eq!(again, user);
}

async fn a_profile_is_for_a_new_account_only(fixture: AccountsFixture) {
    let phone = Phone::new();
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.profile = Some(("Ada", "Real"));
    let (user, _) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    assert_eq!((user.first_name.as_str(), user.last_name.as_str()), ("Ada", "Real"));
    let mut planted = fixture.new_sign_in(&phone, fixture.code());
    planted.profile = Some(("Planted", "Name"));
    (planted.locale, planted.country) = ("en", "US");
    let (again, _) = signed_in(fixture.db.accounts.sign_in(planted).await.unwrap());
    assert_eq!(again, user);
}

async fn names_are_kept_as_they_are_and_never_interpreted(fixture: AccountsFixture) {
    let names = [
        "'; DROP TABLE users; --",
        "$1",
        "{\"a\":\"b\\\"}",
        "O\u{2019}Brien \\' %s",
        "\u{1f511}",
        "\\u0000",
    ];
    for name in names {
        let phone = Phone::new();
        let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
        sign_in.profile = Some((name, name));
        (sign_in.session.device, sign_in.session.ip) = (name, name);
        let (user, session) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
        assert_eq!((user.first_name.as_str(), user.last_name.as_str()), (name, name));
        let live = fixture.db.sessions.live(session.id, fixture.now()).await.unwrap().unwrap();
        assert_eq!((live.session.device.as_str(), live.user.first_name.as_str()), (name, name));
    }
}

async fn the_fifty_first_session_ends_the_least_recently_seen_one(fixture: AccountsFixture) {
    let phone = Phone::new();
    let mut sessions = Vec::new();
    for _ in 0..50 {
        fixture.advance(1);
        sessions.push(fixture.signed_in(&phone).await.1);
    }
    fixture.advance(1);
    // The oldest is seen again: now the second is the least recently seen.
    fixture.db.sessions.refresh(token(sessions[0].id, 1), 30, DAY, fixture.now()).await.unwrap();
    fixture.events().await;
    fixture.advance(1);
    let (user, newest) = fixture.signed_in(&phone).await;
    let live = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
    assert_eq!(live.len(), 50);
    assert!(live.iter().any(|s| s.id == newest.id) && live.iter().any(|s| s.id == sessions[0].id));
    assert!(fixture.db.sessions.live(sessions[1].id, fixture.now()).await.unwrap().is_none());
    let events = fixture.events().await;
    let ended: Vec<_> = events.iter().filter(|(kind, _)| kind == "session.ended.v1").collect();
    assert_eq!(ended.len(), 1);
    let data = &ended[0].1["data"];
    assert_eq!(data["session_id"], sessions[1].id.to_string());
    assert_eq!(data["user_id"], user.id.to_string());
    assert_eq!(data["reason"], "too_many_sessions");
}

async fn fifty_sign_ins_at_once_stay_within_the_cap(fixture: AccountsFixture) {
    let phone = Phone::new();
    for _ in 0..45 {
        fixture.signed_in(&phone).await;
    }
    let outcomes = join_all((0..20).map(|_| fixture.login(&phone, fixture.code()))).await;
    let (user, _) = signed_in(outcomes[0].clone());
    assert!(outcomes.iter().all(|o| matches!(o, Ok(LoginOutcome::SignedIn { .. }))));
    assert_eq!(fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap().len(), 50);
}

async fn p9_a_repeated_login_finds_its_session_for_thirty_seconds(fixture: AccountsFixture) {
    let phone = Phone::new();
    assert!(fixture.db.accounts.login_replay("key", fixture.now()).await.unwrap().is_none());
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.key = Some(LoginKey { key_hash: "key", body_hash: "body" });
    let (user, session) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    fixture.advance(29);
    let replay = fixture.db.accounts.login_replay("key", fixture.now()).await.unwrap().unwrap();
    assert_eq!(replay.body_hash, "body");
    let live = replay.session.unwrap();
    assert_eq!((live.session, live.user), (session, user));
    assert!(fixture.db.accounts.login_replay("other", fixture.now()).await.unwrap().is_none());
    fixture.advance(1);
    assert!(fixture.db.accounts.login_replay("key", fixture.now()).await.unwrap().is_none());
}

async fn p9_a_repeated_login_finds_no_session_once_it_was_refreshed(fixture: AccountsFixture) {
    let phone = Phone::new();
    for end in [false, true] {
        let key = if end { "ended" } else { "refreshed" };
        let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
        sign_in.key = Some(LoginKey { key_hash: key, body_hash: "body" });
        let (user, session) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
        if end {
            assert!(
                fixture
                    .db
                    .sessions
                    .end(user.id, session.id, "logout", fixture.now())
                    .await
                    .unwrap()
            );
        } else {
            fixture
                .db
                .sessions
                .refresh(token(session.id, 1), 30, DAY, fixture.now())
                .await
                .unwrap();
        }
        let replay = fixture.db.accounts.login_replay(key, fixture.now()).await.unwrap().unwrap();
        assert_eq!(replay.body_hash, "body");
        assert!(replay.session.is_none(), "{key}");
    }
}

async fn events_and_audit_record_a_sign_in_without_the_phone(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, _) = fixture.signed_in(&phone).await;
    fixture.events().await;
    let request = RequestId::new(&fixture.clock);
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.request_id = Some(request);
    sign_in.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let (_, session) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    let taken = fixture.db.published(10, fixture.now()).await;
    assert_eq!(taken.len(), 2);
    for event in &taken {
        assert!(!event.addressed);
        let text = &event.body;
        assert!(!text.contains(phone.number.digits()), "{text}");
        assert!(text.contains(&event.id.to_string()) && text.contains("00-0af7651916cd43dd"));
        assert!(text.contains(&user.id.to_string()), "the account's id, not the unused new one");
        assert!(!text.contains(&sign_in.new_user.to_string()));
    }
    let started = taken.iter().find(|e| e.kind == "session.started.v1").unwrap();
    let body = started.body.as_bytes();
    let started = Envelope::<SessionStarted>::decode(body).unwrap();
    assert_eq!(started.encode().unwrap(), body, "as it was encoded, to the byte");
    let started = started.data;
    assert_eq!((started.session_id, started.user_id), (session.id, user.id));
    assert_eq!((started.method.as_str(), started.started_at), ("sms", sign_in.now));
    let verified = taken.iter().find(|e| e.kind == "otp.verified.v1").unwrap();
    assert!(verified.body.contains(&request.to_string()));
    assert!(Envelope::<UserCreated>::decode(verified.body.as_bytes()).is_err());

    let lines = fixture.db.audit.page(Some(&user.id.to_string()), None, 10).await.unwrap();
    let acts: Vec<_> = lines.iter().map(|line| line.act.as_str()).collect();
    assert_eq!(acts, ["signed_in", "signed_up"]);
    assert!(lines[0].detail.contains(&session.id.to_string()));
    assert!(!format!("{lines:?} {user:?}").contains(phone.number.digits()));
}
