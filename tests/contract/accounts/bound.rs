//! Sessions that are bound to a client's key (RFC 9449).

use accounts::{
    BlacklistOutcome, LoginKey, Method, PasswordOutcome, PasswordSignIn, Presented, RefreshOutcome,
    Session, User,
};

use super::contract;
use super::world::{GRACE, IDLE, LIMITS, Phone, World, signed_in, token};

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

async fn bound(world: &World) -> (User, Session) {
    let phone = Phone::new();
    let mut sign_in = world.new_sign_in(&phone, world.code());
    sign_in.session.jkt = Some(KEY);
    signed_in(world.db.accounts.sign_in(sign_in).await.unwrap())
}

async fn refresh(world: &World, presented: Presented<'_>) -> RefreshOutcome {
    world.db.sessions.refresh(presented, GRACE, IDLE, world.now()).await.unwrap()
}

async fn generation(world: &World, session: &Session) -> Option<i64> {
    let live = world.db.sessions.live(session.id, world.now()).await.unwrap();
    live.map(|live| live.session.generation)
}

async fn a_session_keeps_the_key_that_it_was_started_with(world: World) {
    let phone = Phone::new();
    let mut sign_in = world.new_sign_in(&phone, world.code());
    sign_in.session.jkt = Some(KEY);
    sign_in.key = Some(LoginKey { key_hash: "key", body_hash: "body" });
    let (user, session) = signed_in(world.db.accounts.sign_in(sign_in).await.unwrap());
    assert_eq!(session.jkt.as_deref(), Some(KEY));
    let now = world.now();
    assert_eq!(world.db.sessions.live(session.id, now).await.unwrap().unwrap().session, session);
    assert_eq!(
        world.db.sessions.of_user(user.id, now).await.unwrap(),
        std::slice::from_ref(&session)
    );
    let replay = world.db.accounts.login_replay("key", now).await.unwrap().unwrap();
    assert_eq!(replay.session.unwrap().session, session);

    assert_eq!(world.set_password(&session, None, "hash").await, Ok(true));
    let mut started = world.new_session();
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
    let outcome = world.db.accounts.start_password_session(by_password).await.unwrap();
    let Ok(PasswordOutcome::SignedIn { session, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(session.jkt.as_deref(), Some(OTHER));
    assert_eq!(world.db.sessions.live(session.id, now).await.unwrap().unwrap().session, session);
}

async fn p9_a_bound_session_is_refreshed_and_repeated_only_with_its_key(world: World) {
    let (_, session) = bound(&world).await;
    let rotated = refresh(&world, by(KEY, &session, 1)).await;
    let RefreshOutcome::Rotated(second) = rotated else { panic!("{rotated:?}") };
    assert_eq!((second.generation, second.jkt.as_deref()), (2, Some(KEY)));
    world.advance(GRACE - 1);
    assert_eq!(refresh(&world, by(OTHER, &session, 1)).await, RefreshOutcome::Unproven);
    assert_eq!(refresh(&world, token(session.id, 1)).await, RefreshOutcome::Unproven);
    assert_eq!(refresh(&world, by(KEY, &session, 1)).await, RefreshOutcome::Repeated(second));
    let ended = world.db.sessions.blacklist(by(KEY, &session, 2), world.now()).await.unwrap();
    assert_eq!(ended, BlacklistOutcome::Ended);
}

async fn a_token_without_the_key_neither_uses_a_bound_session_nor_ends_it(world: World) {
    let (_, session) = bound(&world).await;
    for generation in 1..=2 {
        let outcome = refresh(&world, by(KEY, &session, generation)).await;
        assert!(matches!(outcome, RefreshOutcome::Rotated(_)), "{outcome:?}");
    }
    world.advance(2 * GRACE);
    world.events().await;
    let now = world.now();
    // Older, previous, current, and a future one: with the key each but the third would end it.
    for presented in 1..=4 {
        for stolen in [token(session.id, presented), by(OTHER, &session, presented)] {
            assert_eq!(refresh(&world, stolen).await, RefreshOutcome::Unproven, "{stolen:?}");
            let ended = world.db.sessions.blacklist(stolen, now).await.unwrap();
            assert_eq!(ended, BlacklistOutcome::Unproven, "{stolen:?}");
            assert_eq!(generation(&world, &session).await, Some(3), "{stolen:?}");
        }
    }
    assert!(world.events().await.is_empty());
    assert!(matches!(refresh(&world, by(KEY, &session, 3)).await, RefreshOutcome::Rotated(_)));
}

async fn p9_an_older_token_with_the_key_ends_a_bound_session(world: World) {
    let (_, session) = bound(&world).await;
    refresh(&world, by(KEY, &session, 1)).await;
    refresh(&world, by(KEY, &session, 2)).await;
    assert_eq!(refresh(&world, by(KEY, &session, 1)).await, RefreshOutcome::Reused);
    assert_eq!(generation(&world, &session).await, None);
    assert_eq!(refresh(&world, by(OTHER, &session, 3)).await, RefreshOutcome::Ended);
}

async fn an_unbound_session_needs_no_key(world: World) {
    let (_, session) = world.signed_in(&Phone::new()).await;
    assert_eq!(session.jkt, None);
    let rotated = refresh(&world, by(KEY, &session, 1)).await;
    let RefreshOutcome::Rotated(second) = rotated else { panic!("{rotated:?}") };
    assert_eq!(second.jkt, None, "a refresh binds nothing");
    let ended = world.db.sessions.blacklist(by(OTHER, &session, 2), world.now()).await.unwrap();
    assert_eq!(ended, BlacklistOutcome::Ended);
}
