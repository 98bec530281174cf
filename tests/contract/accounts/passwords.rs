//! Passwords.

use accounts::{AttemptKind, Counted, PasswordChange, PasswordOutcome, PasswordSignIn, Throttle};

use super::contract;
use super::world::{LIMITS, Phone, World};

contract!(
    setting_a_password_ends_the_other_sessions,
    a_password_is_set_only_over_the_one_that_was_read,
    a_correct_password_starts_a_session_and_resets_its_failures,
    p4_a_correct_password_waits_like_a_wrong_one,
    p4_a_correct_current_password_waits_like_a_wrong_one_and_resets_failures,
    a_changed_password_or_a_blocked_account_starts_no_session,
    p6_every_lookup_returns_the_highest_cost_of_imported_passwords,
);

fn password_sign_in<'a>(
    world: &World,
    phone: &'a Phone,
    user: domain::ids::UserId,
    hash: &'a str,
) -> PasswordSignIn<'a> {
    let mut session = world.new_session();
    session.method = accounts::Method::Pwd;
    PasswordSignIn {
        claimant: phone.stranger(),
        user_id: user,
        hash,
        limits: LIMITS,
        session,
        traceparent: None,
        now: world.now(),
    }
}

async fn setting_a_password_ends_the_other_sessions(world: World) {
    let phone = Phone::new();
    let (user, mine) = world.signed_in(&phone).await;
    let (_, other) = world.signed_in(&phone).await;
    assert!(world.db.accounts.password_of(&phone.number).await.unwrap().stored.is_none());
    assert_eq!(world.db.accounts.password_hash(user.id).await.unwrap(), None);
    let now = world.now();
    assert_eq!(world.set_password(&mine, None, "hash-1").await, Ok(true));
    assert!(world.db.sessions.live(mine.id, now).await.unwrap().is_some());
    assert!(world.db.sessions.live(other.id, now).await.unwrap().is_none());
    let stored = world.db.accounts.password_of(&phone.number).await.unwrap().stored.unwrap();
    assert_eq!((stored.user_id, stored.hash.as_str()), (user.id, "hash-1"));
    assert!(!format!("{stored:?}").contains("hash-1"));
    assert_eq!(world.db.accounts.password_hash(user.id).await.unwrap().as_deref(), Some("hash-1"));
}

async fn a_password_is_set_only_over_the_one_that_was_read(world: World) {
    let (_, mine) = world.signed_in(&Phone::new()).await;
    assert_eq!(world.set_password(&mine, None, "hash-1").await, Ok(true));
    assert_eq!(world.set_password(&mine, None, "hash-2").await, Ok(false));
    assert_eq!(world.set_password(&mine, Some("x"), "hash-2").await, Ok(false));
    assert_eq!(world.set_password(&mine, Some("hash-1"), "hash-2").await, Ok(true));
}

async fn a_correct_password_starts_a_session_and_resets_its_failures(world: World) {
    let phone = Phone::new();
    let (user, mine) = world.signed_in(&phone).await;
    world.set_password(&mine, None, "hash-1").await.unwrap();
    let attempt =
        |kind| world.db.attempts.record_failure(phone.stranger(), kind, None, LIMITS, world.now());
    attempt(AttemptKind::Password).await.unwrap().unwrap();
    attempt(AttemptKind::Code).await.unwrap().unwrap();
    world.events().await;
    let asked = password_sign_in(&world, &phone, user.id, "hash-1");
    let outcome = world.db.accounts.start_password_session(asked).await.unwrap();
    let Ok(PasswordOutcome::SignedIn { user: who, session }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((who, session.id), (user, asked.session.id));
    assert_eq!(session.method.as_str(), "pwd");
    assert!(world.db.sessions.live(session.id, world.now()).await.unwrap().is_some());
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1["data"]["method"], "pwd");
    let counted = |failures| Ok(Counted { failures, code_failures: 0 });
    assert_eq!(attempt(AttemptKind::Password).await.unwrap(), counted(1));
    assert_eq!(attempt(AttemptKind::Code).await.unwrap(), counted(2));
}

async fn p4_a_correct_password_waits_like_a_wrong_one(world: World) {
    let phone = Phone::new();
    let (user, mine) = world.signed_in(&phone).await;
    let now = world.now();
    world.set_password(&mine, None, "hash-1").await.unwrap();
    for _ in 0..10 {
        let attempt = world.db.attempts.record_failure(
            phone.stranger(),
            AttemptKind::Password,
            None,
            LIMITS,
            now,
        );
        attempt.await.unwrap().unwrap();
    }
    let mut asked = password_sign_in(&world, &phone, user.id, "hash-1");
    asked.now = now;
    let outcome = world.db.accounts.start_password_session(asked).await.unwrap();
    assert_eq!(outcome, Err(Throttle::Delayed { until: now.plus_secs(30) }));
    asked.now = now.plus_secs(30);
    let outcome = world.db.accounts.start_password_session(asked).await.unwrap();
    assert!(matches!(outcome, Ok(PasswordOutcome::SignedIn { .. })));
}

async fn p4_a_correct_current_password_waits_like_a_wrong_one_and_resets_failures(world: World) {
    let phone = Phone::new();
    let (user, mine) = world.signed_in(&phone).await;
    let now = world.now();
    assert_eq!(world.set_password(&mine, None, "hash-1").await, Ok(true));
    let claimant = phone.known(user.id);
    let fail =
        |at| world.db.attempts.record_failure(claimant, AttemptKind::Password, None, LIMITS, at);
    for _ in 0..10 {
        fail(now).await.unwrap().unwrap();
    }
    let change = PasswordChange {
        user_id: user.id,
        was: Some("hash-1"),
        hash: "hash-2",
        attempt: Some((claimant, LIMITS)),
        keep: mine.id,
        now,
    };
    let until = now.plus_secs(30);
    let throttle = Err(Throttle::Delayed { until });
    assert_eq!(world.db.accounts.set_password(change).await.unwrap(), throttle);
    assert_eq!(world.db.accounts.password_hash(user.id).await.unwrap().as_deref(), Some("hash-1"));
    // Of the checks that arrive when the wait ends, one is judged, correct or not; the others get the next wait.
    fail(until).await.unwrap().unwrap();
    let change = PasswordChange { now: until, ..change };
    let throttle = Err(Throttle::Delayed { until: until.plus_secs(60) });
    assert_eq!(world.db.accounts.set_password(change).await.unwrap(), throttle);
    let change = PasswordChange { now: until.plus_secs(60), ..change };
    assert_eq!(world.db.accounts.set_password(change).await.unwrap(), Ok(true));
    let first = Ok(Counted { failures: 1, code_failures: 0 });
    assert_eq!(fail(until.plus_secs(60)).await.unwrap(), first);
}

async fn a_changed_password_or_a_blocked_account_starts_no_session(world: World) {
    let phone = Phone::new();
    let (user, mine) = world.signed_in(&phone).await;
    world.set_password(&mine, None, "hash-1").await.unwrap();
    let old = world
        .db
        .accounts
        .start_password_session(password_sign_in(&world, &phone, user.id, "hash-0"))
        .await;
    assert_eq!(old.unwrap(), Ok(PasswordOutcome::Changed));
    world.db.accounts.block(user.id, "fraud", "staff:1", world.now()).await.unwrap();
    let blocked = world
        .db
        .accounts
        .start_password_session(password_sign_in(&world, &phone, user.id, "hash-1"))
        .await;
    assert_eq!(blocked.unwrap(), Ok(PasswordOutcome::Blocked));
    assert!(world.db.sessions.of_user(user.id, world.now()).await.unwrap().is_empty());
}

async fn p6_every_lookup_returns_the_highest_cost_of_imported_passwords(world: World) {
    let most = async || {
        let nobodys = world.db.accounts.password_of(&Phone::new().number).await.unwrap();
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
        let (user, mine) = world.signed_in(&phone).await;
        assert_eq!(world.set_password(&mine, None, &hash).await, Ok(true));
        assert_eq!(most().await, expected, "{hash}");
        let own = world.db.accounts.password_of(&phone.number).await.unwrap();
        assert_eq!((own.stored.unwrap().hash, own.imported_iterations), (hash.clone(), expected));
        users.push((user.id, hash));
    }
    // Once rehashed at their next use, they no longer cost anything.
    for (n, expected) in [(1, 870_000), (0, 0)] {
        let (id, was) = &users[n];
        assert!(
            world
                .db
                .accounts
                .rehash_password(*id, was, "$argon2id$new", world.now())
                .await
                .unwrap()
        );
        assert_eq!(most().await, expected);
    }
}
