//! Passwords.

use accounts::{
    AttemptKind, Counted, PasswordChange, PasswordChangeDenied, PasswordOutcome, PasswordSignIn,
    Throttle,
};

use super::contract;
use super::fixture::{AccountsFixture, LIMITS, Phone};

contract!(
    setting_a_password_ends_the_other_sessions,
    a_password_is_set_only_over_the_one_that_was_read,
    a_correct_password_starts_a_session_and_resets_its_failures,
    p4_a_correct_password_waits_like_a_wrong_one,
    p4_a_correct_current_password_waits_like_a_wrong_one_and_resets_failures,
    a_changed_password_or_a_blocked_account_starts_no_session,
    f05_sessions_of_a_password_make_room_before_those_of_a_code,
    p6_every_lookup_returns_the_highest_cost_of_imported_passwords,
);

fn password_sign_in<'a>(
    fixture: &AccountsFixture,
    phone: &'a Phone,
    user: domain::ids::UserId,
    hash: &'a str,
) -> PasswordSignIn<'a> {
    let mut session = fixture.new_session();
    session.method = accounts::Method::Pwd;
    PasswordSignIn {
        claimant: phone.stranger(),
        user_id: user,
        hash,
        limits: LIMITS,
        session,
        traceparent: None,
        now: fixture.now(),
    }
}

async fn setting_a_password_ends_the_other_sessions(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    let (_, other) = fixture.signed_in(&phone).await;
    assert!(fixture.db.accounts.password_of(&phone.number).await.unwrap().stored.is_none());
    assert_eq!(fixture.db.accounts.password_hash(user.id).await.unwrap(), None);
    let now = fixture.now();
    assert_eq!(fixture.set_password(&mine, None, "hash-1").await, Ok(true));
    assert!(fixture.db.sessions.live(mine.id, now).await.unwrap().is_some());
    assert!(fixture.db.sessions.live(other.id, now).await.unwrap().is_none());
    let stored = fixture.db.accounts.password_of(&phone.number).await.unwrap().stored.unwrap();
    assert_eq!((stored.user_id, stored.hash.as_str()), (user.id, "hash-1"));
    assert!(!format!("{stored:?}").contains("hash-1"));
    assert_eq!(
        fixture.db.accounts.password_hash(user.id).await.unwrap().as_deref(),
        Some("hash-1")
    );
}

async fn a_password_is_set_only_over_the_one_that_was_read(fixture: AccountsFixture) {
    let (_, mine) = fixture.signed_in(&Phone::new()).await;
    assert_eq!(fixture.set_password(&mine, None, "hash-1").await, Ok(true));
    assert_eq!(fixture.set_password(&mine, None, "hash-2").await, Ok(false));
    assert_eq!(fixture.set_password(&mine, Some("x"), "hash-2").await, Ok(false));
    assert_eq!(fixture.set_password(&mine, Some("hash-1"), "hash-2").await, Ok(true));
}

async fn a_correct_password_starts_a_session_and_resets_its_failures(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    fixture.set_password(&mine, None, "hash-1").await.unwrap();
    let attempt = |kind| {
        fixture.db.attempts.record_failure(phone.stranger(), kind, None, LIMITS, fixture.now())
    };
    attempt(AttemptKind::Password).await.unwrap().unwrap();
    attempt(AttemptKind::Code).await.unwrap().unwrap();
    fixture.events().await;
    let asked = password_sign_in(&fixture, &phone, user.id, "hash-1");
    let outcome = fixture.db.accounts.start_password_session(asked).await.unwrap();
    let Ok(PasswordOutcome::SignedIn { user: who, session }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((who, session.id), (user, asked.session.id));
    assert_eq!(session.method.as_str(), "pwd");
    assert!(fixture.db.sessions.live(session.id, fixture.now()).await.unwrap().is_some());
    let events = fixture.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1["data"]["method"], "pwd");
    let counted =
        |failures| Ok(Counted { failures, code_failures: 0, by_device: false, locked: false });
    assert_eq!(attempt(AttemptKind::Password).await.unwrap(), counted(1));
    assert_eq!(attempt(AttemptKind::Code).await.unwrap(), counted(2));
}

async fn p4_a_correct_password_waits_like_a_wrong_one(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    let now = fixture.now();
    fixture.set_password(&mine, None, "hash-1").await.unwrap();
    fixture.ten_wrong_passwords(&phone, now).await;
    let mut asked = password_sign_in(&fixture, &phone, user.id, "hash-1");
    asked.now = now;
    let outcome = fixture.db.accounts.start_password_session(asked).await.unwrap();
    assert_eq!(outcome, Err(Throttle::Delayed { until: now.plus_secs(30) }));
    asked.now = now.plus_secs(30);
    let outcome = fixture.db.accounts.start_password_session(asked).await.unwrap();
    assert!(matches!(outcome, Ok(PasswordOutcome::SignedIn { .. })));
}

async fn p4_a_correct_current_password_waits_like_a_wrong_one_and_resets_failures(
    fixture: AccountsFixture,
) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    let now = fixture.now();
    assert_eq!(fixture.set_password(&mine, None, "hash-1").await, Ok(true));
    let claimant = phone.known(user.id);
    let fail =
        |at| fixture.db.attempts.record_failure(claimant, AttemptKind::Password, None, LIMITS, at);
    for _ in 0..10 {
        fail(now).await.unwrap().unwrap();
    }
    let change = PasswordChange {
        user_id: user.id,
        was: Some("hash-1"),
        hash: Some("hash-2"),
        attempt: Some((claimant, LIMITS)),
        keep: mine.id,
        notice: None,
        now,
    };
    let until = now.plus_secs(30);
    let throttle = Err(PasswordChangeDenied::Throttled(Throttle::Delayed { until }));
    assert_eq!(fixture.db.accounts.set_password(change).await.unwrap(), throttle);
    assert_eq!(
        fixture.db.accounts.password_hash(user.id).await.unwrap().as_deref(),
        Some("hash-1")
    );
    // Of the checks that arrive when the wait ends, one is judged, correct or not; the others get the next wait.
    fail(until).await.unwrap().unwrap();
    let change = PasswordChange { now: until, ..change };
    let until_then = until.plus_secs(60);
    let throttle = Err(PasswordChangeDenied::Throttled(Throttle::Delayed { until: until_then }));
    assert_eq!(fixture.db.accounts.set_password(change).await.unwrap(), throttle);
    let change = PasswordChange { now: until.plus_secs(60), ..change };
    assert_eq!(fixture.db.accounts.set_password(change).await.unwrap(), Ok(true));
    let first = Ok(Counted { failures: 1, code_failures: 0, by_device: false, locked: false });
    assert_eq!(fail(until.plus_secs(60)).await.unwrap(), first);
}

async fn a_changed_password_or_a_blocked_account_starts_no_session(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, mine) = fixture.signed_in(&phone).await;
    fixture.set_password(&mine, None, "hash-1").await.unwrap();
    let old = fixture
        .db
        .accounts
        .start_password_session(password_sign_in(&fixture, &phone, user.id, "hash-0"))
        .await;
    assert_eq!(old.unwrap(), Ok(PasswordOutcome::Changed));
    fixture.db.accounts.block(user.id, "fraud", "staff:1", fixture.now()).await.unwrap();
    let blocked = fixture
        .db
        .accounts
        .start_password_session(password_sign_in(&fixture, &phone, user.id, "hash-1"))
        .await;
    assert_eq!(blocked.unwrap(), Ok(PasswordOutcome::Blocked));
    assert!(fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap().is_empty());
}

async fn f05_sessions_of_a_password_make_room_before_those_of_a_code(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, first) = fixture.signed_in(&phone).await;
    assert_eq!(fixture.set_password(&first, None, "hash-1").await, Ok(true));
    let mut by_code = vec![first.id];
    for _ in 1..48 {
        fixture.advance(1);
        by_code.push(fixture.signed_in(&phone).await.1.id);
    }
    // Starts a session a second later; returns it, and the session that it ended.
    let next = async |with_password: bool| {
        fixture.advance(1);
        let before = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
        let started = if with_password {
            let sign_in = password_sign_in(&fixture, &phone, user.id, "hash-1");
            let outcome = fixture.db.accounts.start_password_session(sign_in).await.unwrap();
            assert!(matches!(outcome, Ok(PasswordOutcome::SignedIn { .. })), "{outcome:?}");
            sign_in.session.id
        } else {
            fixture.signed_in(&phone).await.1.id
        };
        let after = fixture.db.sessions.of_user(user.id, fixture.now()).await.unwrap();
        assert!(after.len() <= 50 && after.iter().any(|session| session.id == started));
        let mut ended = before.iter().filter(|old| after.iter().all(|new| new.id != old.id));
        (started, ended.next().map(|session| session.id))
    };
    let (one, ended) = next(true).await;
    assert_eq!(ended, None);
    let (two, ended) = next(true).await;
    assert_eq!(ended, None);
    let (three, ended) = next(true).await;
    assert_eq!(ended, Some(one), "the oldest that a password started");
    for password_session in [two, three] {
        let (_, ended) = next(false).await;
        assert_eq!(ended, Some(password_session), "a code's sign-in ends no code's session either");
    }
    let (mut last, ended) = next(true).await;
    assert_eq!(ended, Some(by_code[0]), "without a password's session the oldest of all");
    for _ in 0..3 {
        let (started, ended) = next(true).await;
        assert_eq!(ended, Some(last), "and no other of a code after it");
        last = started;
    }
}

async fn p6_every_lookup_returns_the_highest_cost_of_imported_passwords(fixture: AccountsFixture) {
    let most = async || {
        let nobodys = fixture.db.accounts.password_of(&Phone::new().number).await.unwrap();
        assert!(nobodys.stored.is_none());
        nobodys.imported_iterations
    };
    assert_eq!(most().await, 0);
    let imported = |iterations: &str| format!("pbkdf2_sha256${iterations}$salt$hash");
    let mut users = Vec::new();
    // Compared as numbers, not as text; a non-number costs nothing; our own hashes do not count.
    for (hash, expected) in [
        (imported("870000"), 870_000),
        (imported("1200000"), 1_200_000),
        (imported("many"), 1_200_000),
        ("$argon2id$v=19$m=19456,t=2,p=1$pbkdf2_sha256$9999999$".to_owned(), 1_200_000),
    ] {
        let phone = Phone::new();
        let (user, mine) = fixture.signed_in(&phone).await;
        assert_eq!(fixture.set_password(&mine, None, &hash).await, Ok(true));
        assert_eq!(most().await, expected, "{hash}");
        let own = fixture.db.accounts.password_of(&phone.number).await.unwrap();
        assert_eq!((own.stored.unwrap().hash, own.imported_iterations), (hash.clone(), expected));
        users.push((user.id, hash));
    }
    // Once rehashed at their next use, they no longer cost anything.
    for (n, expected) in [(1, 870_000), (0, 0)] {
        let (id, was) = &users[n];
        assert!(
            fixture
                .db
                .accounts
                .rehash_password(*id, was, "$argon2id$new", fixture.now())
                .await
                .unwrap()
        );
        assert_eq!(most().await, expected);
    }
}
