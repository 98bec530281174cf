//! Sessions that are bound to a client's key (RFC 9449).

use accounts::{
    BlacklistOutcome, LoginKey, Method, PasswordOutcome, PasswordSignIn, Presented, RefreshOutcome,
    Session, User,
};

use super::contract;
use super::fixture::{AccountsFixture, GRACE, IDLE, LIMITS, Phone, signed_in, token};

contract!(
    a_session_keeps_the_key_that_it_was_started_with,
    p9_a_bound_session_is_refreshed_and_repeated_only_with_its_key,
    a_token_without_the_key_neither_uses_a_bound_session_nor_ends_it,
    p9_an_older_token_with_the_key_ends_a_bound_session,
    an_unbound_session_needs_no_key,
);

const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
const OTHER: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

/// A refresh token of a session, whose sender proved this key.
fn by(key: &str, session: &Session, generation: i64) -> Presented<'static> {
    let jkt = if key == KEY { KEY } else { OTHER };
    Presented { jkt: Some(jkt), ..token(session.id, generation) }
}

async fn bound(fixture: &AccountsFixture) -> (User, Session) {
    let phone = Phone::new();
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.session.jkt = Some(KEY);
    signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap())
}

async fn refresh(fixture: &AccountsFixture, presented: Presented<'_>) -> RefreshOutcome {
    fixture.db.sessions.refresh(presented, GRACE, IDLE, fixture.now()).await.unwrap()
}

async fn generation(fixture: &AccountsFixture, session: &Session) -> Option<i64> {
    let live = fixture.db.sessions.live(session.id, fixture.now()).await.unwrap();
    live.map(|live| live.session.generation)
}

async fn a_session_keeps_the_key_that_it_was_started_with(fixture: AccountsFixture) {
    let phone = Phone::new();
    let mut sign_in = fixture.new_sign_in(&phone, fixture.code());
    sign_in.session.jkt = Some(KEY);
    sign_in.key = Some(LoginKey { key_hash: "key", body_hash: "body" });
    let (user, session) = signed_in(fixture.db.accounts.sign_in(sign_in).await.unwrap());
    assert_eq!(session.jkt.as_deref(), Some(KEY));
    let now = fixture.now();
    assert_eq!(fixture.db.sessions.live(session.id, now).await.unwrap().unwrap().session, session);
    assert_eq!(
        fixture.db.sessions.of_user(user.id, now).await.unwrap(),
        std::slice::from_ref(&session)
    );
    let replay = fixture.db.accounts.login_replay("key", now).await.unwrap().unwrap();
    assert_eq!(replay.session.unwrap().session, session);

    assert_eq!(fixture.set_password(&session, None, "hash").await, Ok(true));
    let mut started = fixture.new_session();
    (started.method, started.jkt) = (Method::Pwd, Some(OTHER));
    let by_password = PasswordSignIn {
        claimant: phone.stranger(),
        user_id: user.id,
        hash: "hash",
        limits: LIMITS,
        session: started,
        traceparent: None,
        now,
    };
    let outcome = fixture.db.accounts.start_password_session(by_password).await.unwrap();
    let Ok(PasswordOutcome::SignedIn { session, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(session.jkt.as_deref(), Some(OTHER));
    assert_eq!(fixture.db.sessions.live(session.id, now).await.unwrap().unwrap().session, session);
}

async fn p9_a_bound_session_is_refreshed_and_repeated_only_with_its_key(fixture: AccountsFixture) {
    let (_, session) = bound(&fixture).await;
    let rotated = refresh(&fixture, by(KEY, &session, 1)).await;
    let RefreshOutcome::Rotated(second) = rotated else { panic!("{rotated:?}") };
    assert_eq!((second.generation, second.jkt.as_deref()), (2, Some(KEY)));
    fixture.advance(GRACE - 1);
    assert_eq!(refresh(&fixture, by(OTHER, &session, 1)).await, RefreshOutcome::Unproven);
    assert_eq!(refresh(&fixture, token(session.id, 1)).await, RefreshOutcome::Unproven);
    assert_eq!(refresh(&fixture, by(KEY, &session, 1)).await, RefreshOutcome::Repeated(second));
    let ended = fixture.db.sessions.blacklist(by(KEY, &session, 2), fixture.now()).await.unwrap();
    assert_eq!(ended, BlacklistOutcome::Ended);
}

async fn a_token_without_the_key_neither_uses_a_bound_session_nor_ends_it(
    fixture: AccountsFixture,
) {
    let (_, session) = bound(&fixture).await;
    for generation in 1..=2 {
        let outcome = refresh(&fixture, by(KEY, &session, generation)).await;
        assert!(matches!(outcome, RefreshOutcome::Rotated(_)), "{outcome:?}");
    }
    fixture.advance(2 * GRACE);
    fixture.events().await;
    let now = fixture.now();
    // Older, previous, current, and a future one: with the key each but the third would end it.
    for presented in 1..=4 {
        for stolen in [token(session.id, presented), by(OTHER, &session, presented)] {
            assert_eq!(refresh(&fixture, stolen).await, RefreshOutcome::Unproven, "{stolen:?}");
            let ended = fixture.db.sessions.blacklist(stolen, now).await.unwrap();
            assert_eq!(ended, BlacklistOutcome::Unproven, "{stolen:?}");
            assert_eq!(generation(&fixture, &session).await, Some(3), "{stolen:?}");
        }
    }
    assert!(fixture.events().await.is_empty());
    assert!(matches!(refresh(&fixture, by(KEY, &session, 3)).await, RefreshOutcome::Rotated(_)));
}

async fn p9_an_older_token_with_the_key_ends_a_bound_session(fixture: AccountsFixture) {
    let (_, session) = bound(&fixture).await;
    refresh(&fixture, by(KEY, &session, 1)).await;
    refresh(&fixture, by(KEY, &session, 2)).await;
    assert_eq!(refresh(&fixture, by(KEY, &session, 1)).await, RefreshOutcome::Reused);
    assert_eq!(generation(&fixture, &session).await, None);
    assert_eq!(refresh(&fixture, by(OTHER, &session, 3)).await, RefreshOutcome::Ended);
}

async fn an_unbound_session_needs_no_key(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    assert_eq!(session.jkt, None);
    let rotated = refresh(&fixture, by(KEY, &session, 1)).await;
    let RefreshOutcome::Rotated(second) = rotated else { panic!("{rotated:?}") };
    assert_eq!(second.jkt, None, "a refresh binds nothing");
    let ended = fixture.db.sessions.blacklist(by(OTHER, &session, 2), fixture.now()).await.unwrap();
    assert_eq!(ended, BlacklistOutcome::Ended);
}
