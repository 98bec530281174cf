//! Refresh tokens by generation, and logout by one.

use accounts::{BlacklistOutcome, RefreshOutcome, Session};
use domain::ids::SessionId;
use futures::future::join_all;

use super::contract;
use super::fixture::{AccountsFixture, DAY, GRACE, IDLE, MAX, Phone, Raw, token};

contract!(
    p9_a_refresh_gives_the_next_generation_and_moves_the_idle_end,
    p9_the_last_refresh_may_be_repeated_within_the_grace,
    p9_an_older_token_ends_the_session_for_good,
    p9_one_of_fifty_refreshes_with_one_token_rotates_and_the_others_repeat_it,
    p9_a_repeat_after_the_grace_is_reuse,
    a_session_ends_idle_and_at_its_absolute_end,
    a_token_newer_than_its_session_ends_it,
    blacklisting_ends_a_session_by_its_current_and_previous_token,
    blacklisting_by_an_older_token_is_reuse,
);

async fn refresh(fixture: &AccountsFixture, id: SessionId, generation: i64) -> RefreshOutcome {
    fixture.db.sessions.refresh(token(id, generation), GRACE, IDLE, fixture.now()).await.unwrap()
}

#[track_caller]
fn rotated(outcome: RefreshOutcome) -> Session {
    match outcome {
        RefreshOutcome::Rotated(session) => session,
        other => panic!("not rotated: {other:?}"),
    }
}

async fn p9_a_refresh_gives_the_next_generation_and_moves_the_idle_end(fixture: AccountsFixture) {
    let (_, first) = fixture.signed_in(&Phone::new()).await;
    fixture.advance(DAY);
    let now = fixture.now();
    let second =
        rotated(fixture.db.sessions.refresh(token(first.id, 1), GRACE, IDLE, now).await.unwrap());
    assert_eq!(second.generation, 2);
    assert_eq!((second.last_seen_at, second.expires_at), (now, now.plus_secs(IDLE)));
    assert_eq!(second.created_at, first.created_at, "a refresh is not a new sign-in");
    assert_eq!(second.absolute_expires_at, first.absolute_expires_at);
    assert_eq!(rotated(refresh(&fixture, first.id, 2).await).generation, 3);
    let live = fixture.db.sessions.live(first.id, fixture.now()).await.unwrap().unwrap();
    assert_eq!(live.session.generation, 3);
}

async fn p9_the_last_refresh_may_be_repeated_within_the_grace(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    let second = rotated(refresh(&fixture, session.id, 1).await);
    fixture.advance(GRACE - 1);
    assert_eq!(refresh(&fixture, session.id, 1).await, RefreshOutcome::Repeated(second));
    let third = rotated(refresh(&fixture, session.id, 2).await);
    assert_eq!(
        refresh(&fixture, session.id, 2).await,
        RefreshOutcome::Repeated(third),
        "the duplicate of the used one is a repeat of the last refresh"
    );
}

async fn p9_an_older_token_ends_the_session_for_good(fixture: AccountsFixture) {
    let phone = Phone::new();
    let (user, session) = fixture.signed_in(&phone).await;
    let (_, other) = fixture.signed_in(&phone).await;
    rotated(refresh(&fixture, session.id, 1).await);
    rotated(refresh(&fixture, session.id, 2).await);
    fixture.events().await;
    assert_eq!(refresh(&fixture, session.id, 1).await, RefreshOutcome::Reused);
    for generation in 1..=4 {
        assert_eq!(refresh(&fixture, session.id, generation).await, RefreshOutcome::Ended);
    }
    let restarted = fixture.another().await;
    assert!(restarted.sessions.live(session.id, fixture.now()).await.unwrap().is_none());
    assert_eq!(
        restarted.sessions.refresh(token(session.id, 3), GRACE, IDLE, fixture.now()).await.unwrap(),
        RefreshOutcome::Ended
    );
    rotated(refresh(&fixture, other.id, 1).await);
    let events = fixture.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].0, "session.ended.v1");
    assert_eq!(events[0].1["data"]["reason"], "refresh_reused");
    assert_eq!(events[0].1["data"]["session_id"], session.id.to_string());
    let lines = fixture.db.audit.page(Some(&user.id.to_string()), None, 10).await.unwrap();
    assert_eq!(lines[0].act, "refresh_reused");
}

async fn p9_one_of_fifty_refreshes_with_one_token_rotates_and_the_others_repeat_it(
    fixture: AccountsFixture,
) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    let outcomes = join_all((0..50).map(|_| refresh(&fixture, session.id, 1))).await;
    let rotations = outcomes.iter().filter(|o| matches!(o, RefreshOutcome::Rotated(_))).count();
    assert_eq!(rotations, 1);
    for outcome in outcomes {
        let (RefreshOutcome::Rotated(session) | RefreshOutcome::Repeated(session)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(session.generation, 2);
    }
}

async fn p9_a_repeat_after_the_grace_is_reuse(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    rotated(refresh(&fixture, session.id, 1).await);
    fixture.advance(GRACE);
    assert_eq!(refresh(&fixture, session.id, 1).await, RefreshOutcome::Reused);
    assert_eq!(refresh(&fixture, session.id, 2).await, RefreshOutcome::Ended);

    let (_, strict) = fixture.signed_in(&Phone::new()).await;
    let now = fixture.now();
    rotated(fixture.db.sessions.refresh(token(strict.id, 1), 0, IDLE, now).await.unwrap());
    let repeat = fixture.db.sessions.refresh(token(strict.id, 1), 0, IDLE, now).await.unwrap();
    assert_eq!(repeat, RefreshOutcome::Reused, "a grace period of 0 is none");
}

async fn a_session_ends_idle_and_at_its_absolute_end(fixture: AccountsFixture) {
    let (user, idle) = fixture.signed_in(&Phone::new()).await;
    let end = idle.expires_at;
    assert!(fixture.db.sessions.live(idle.id, end.plus_ms(-1)).await.unwrap().is_some());
    assert!(fixture.db.sessions.live(idle.id, end).await.unwrap().is_none());
    assert_eq!(
        fixture.db.sessions.refresh(token(idle.id, 1), GRACE, IDLE, end).await.unwrap(),
        RefreshOutcome::Ended
    );
    assert!(fixture.db.sessions.of_user(user.id, end).await.unwrap().is_empty());

    let (_, busy) = fixture.signed_in(&Phone::new()).await;
    let mut last = busy.clone();
    while last.expires_at < last.absolute_expires_at {
        let at = last.expires_at.plus_secs(-1);
        last = rotated(
            fixture
                .db
                .sessions
                .refresh(token(busy.id, last.generation), GRACE, IDLE, at)
                .await
                .unwrap(),
        );
    }
    assert_eq!(last.expires_at, busy.created_at.plus_secs(MAX));
    let after = fixture
        .db
        .sessions
        .refresh(token(busy.id, last.generation), GRACE, IDLE, last.expires_at)
        .await;
    assert_eq!(after.unwrap(), RefreshOutcome::Ended);
}

async fn a_token_newer_than_its_session_ends_it(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    assert_eq!(refresh(&fixture, session.id, 5).await, RefreshOutcome::Ended);
    assert_eq!(refresh(&fixture, session.id, 1).await, RefreshOutcome::Ended);
    let absent = SessionId::new(&fixture.clock);
    assert_eq!(refresh(&fixture, absent, 1).await, RefreshOutcome::Ended);
}

async fn blacklisting_ends_a_session_by_its_current_and_previous_token(fixture: AccountsFixture) {
    let phone = Phone::new();
    for (rotations, presented) in [(0, 1), (1, 2), (1, 1), (2, 2)] {
        let (_, session) = fixture.signed_in(&phone).await;
        for generation in 1..=rotations {
            rotated(refresh(&fixture, session.id, generation).await);
        }
        fixture.advance(2 * GRACE);
        let now = fixture.now();
        let ended = fixture.db.sessions.blacklist(token(session.id, presented), now).await.unwrap();
        assert_eq!(ended, BlacklistOutcome::Ended, "{presented} of {rotations}");
        assert!(fixture.db.sessions.live(session.id, now).await.unwrap().is_none());
        let again = fixture.db.sessions.blacklist(token(session.id, presented), now).await.unwrap();
        assert_eq!(again, BlacklistOutcome::Gone);
    }
}

async fn blacklisting_by_an_older_token_is_reuse(fixture: AccountsFixture) {
    let (_, session) = fixture.signed_in(&Phone::new()).await;
    rotated(refresh(&fixture, session.id, 1).await);
    rotated(refresh(&fixture, session.id, 2).await);
    let now = fixture.now();
    assert_eq!(
        fixture.db.sessions.blacklist(token(session.id, 1), now).await.unwrap(),
        BlacklistOutcome::Reused
    );
    assert_eq!(refresh(&fixture, session.id, 3).await, RefreshOutcome::Ended);
}

/// A few sessions, so that their page has room for every version: to make room anew depends on what else goes on.
#[tokio::test]
async fn a_refresh_touches_no_index_on_the_engines() {
    let fixture = AccountsFixture::postgres().await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(fixture.signed_in(&Phone::new()).await.1);
    }
    for generation in 1..=3 {
        for session in &sessions {
            fixture.advance(60);
            let presented = token(session.id, generation);
            let refreshed =
                fixture.db.sessions.refresh(presented, GRACE, IDLE, fixture.now()).await;
            assert!(matches!(refreshed, Ok(RefreshOutcome::Rotated(_))), "{refreshed:?}");
        }
    }
    // A backend tells what it did when it ends.
    fixture.db.pool.close().await;
    let mut raw = fixture.raw().await;
    let of = async |raw: &mut Raw, column| {
        let sql = format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = 'sessions'");
        raw.number(&sql).await
    };
    testkit::eventually("the statistics", testkit::PATIENCE, async || {
        (of(&mut raw, "n_tup_upd").await == 15).then_some(())
    })
    .await;
    assert_eq!(of(&mut raw, "n_tup_hot_upd").await, 15);
    // Nothing that a refresh moves is indexed: the sweep goes by a column of its own.
    let sql = "SELECT COUNT(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
               AND a.attnum = ANY (i.indkey) WHERE i.indrelid = 'sessions'::regclass
               AND a.attname IN ('generation', 'rotated_at', 'last_seen_at', 'expires_at')";
    assert_eq!(raw.number(sql).await, 0);
}
