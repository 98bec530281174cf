//! P9 on an intact network: parallel refreshes, the grace period, reuse, session ends, restarts, and thieves.

use std::sync::Arc;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use super::in_process::InProcessLatchkey;
use testkit::both_sides;
use testkit::http::{Answer, Api, new_phone};
use testkit::process::Binary;
use testkit::system::{Side, System};

both_sides!(
    p9_50_refreshes_at_once_leave_one_branch_and_sign_nobody_out,
    p9_the_last_refresh_may_be_repeated_for_30_seconds,
    p9_an_older_token_ends_the_session_and_that_survives_restarts,
    p9_a_thiefs_replay_ends_the_session_in_every_interleaving,
    p9_a_refresh_that_races_a_logout_leaves_no_session,
    a_session_ends_when_it_is_idle_and_at_its_absolute_end,
    p9_a_login_replayed_with_its_key_returns_the_same_session,
);

fn token(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap().to_owned()
}

fn generation(refresh: &str) -> i64 {
    claims(refresh)["gen"].as_i64().unwrap()
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Sends the same refresh from many tasks at once, spread over the gateways.
async fn at_once(apis: &[Api], count: usize, refresh: &str) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(count));
    let calls = (0..count).map(|number| {
        let (api, barrier) = (apis[number % apis.len()].clone(), barrier.clone());
        let refresh = refresh.to_owned();
        tokio::spawn(async move {
            barrier.wait().await;
            api.refresh(&refresh).await
        })
    });
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

async fn p9_50_refreshes_at_once_leave_one_branch_and_sign_nobody_out(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let mut refresh = token(&apis[0].sign_in(&new_phone()).await, "refresh");
    for round in 1..=4 {
        let answers = at_once(&apis, 50, &refresh).await;
        let pairs: Vec<Value> = answers.into_iter().map(|answer| answer.expect(200).body).collect();
        // All 50 hold one generation: the client can continue with any of them.
        for pair in &pairs {
            assert_eq!(generation(&token(pair, "refresh")), round + 1, "one rotation per round");
        }
        for pair in [&pairs[0], &pairs[49]] {
            apis[1].me(&token(pair, "access")).await.expect(200);
        }
        refresh = token(&pairs[7 * usize::try_from(round).unwrap()], "refresh");
    }
    let user = claims(&refresh)["user_id"].as_str().unwrap().parse().unwrap();
    let live = accounts::Sessions::new(&latchkey.engines.sql)
        .of_user(user, latchkey.clock.now())
        .await
        .unwrap();
    assert_eq!((live.len(), live[0].generation), (1, 5), "one live branch");
}

async fn p9_the_last_refresh_may_be_repeated_for_30_seconds(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let first = token(&api.sign_in(&new_phone()).await, "refresh");
    let second = token(&api.refresh(&first).await.expect(200).body, "refresh");
    latchkey.advance(29);
    let again = token(&api.refresh(&first).await.expect(200).body, "refresh");
    assert_eq!(generation(&again), generation(&second), "equivalent, of the same generation");
    let third = token(&api.refresh(&again).await.expect(200).body, "refresh");
    // Each rotation has its own grace period, which reaches back one generation only.
    api.refresh(&second).await.expect(200);
    latchkey.advance(31);
    api.refresh(&second).await.problem(401, "refresh_reused");
    api.refresh(&third).await.problem(401, "session_revoked");
}

async fn p9_an_older_token_ends_the_session_and_that_survives_restarts(side: Side) {
    let mut system = System::start(side, &[]).await;
    let api = system.api();
    let first = api.sign_in(&new_phone()).await;
    let second = api.refresh(&token(&first, "refresh")).await.expect(200).body;
    let third = api.refresh(&token(&second, "refresh")).await.expect(200).body;
    for process in system.all(Binary::Latchkey) {
        process.restart().await;
    }
    let api = system.api();
    api.refresh(&token(&first, "refresh")).await.problem(401, "refresh_reused");
    api.me(&token(&third, "access")).await.problem(401, "session_revoked");
    for process in system.all(Binary::Latchkey) {
        process.restart().await;
    }
    let api = system.api();
    for pair in [&first, &second, &third] {
        api.refresh(&token(pair, "refresh")).await.problem(401, "session_revoked");
        api.verify(&token(pair, "access")).await.problem(401, "session_revoked");
    }
}

/// Owner and thief hold the same stolen token and refresh six times in total, each with the last pair they got: in
/// every order, all within the grace and all with the grace over in between. Then each refreshes once more.
async fn p9_a_thiefs_replay_ends_the_session_in_every_interleaving(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let apis = [latchkey.api_of(0), latchkey.api_of(1)];
    let phone = new_phone();
    for (order, gap) in (0_u32..64).flat_map(|order| [(order, 0), (order, 31)]) {
        let stolen = token(&apis[0].sign_in(&phone).await, "refresh");
        let mut held = [stolen.clone(), stolen];
        let (mut detected, mut used) = (false, [false; 2]);
        let turns = (0..6).map(|step| (order >> step & 1 == 1, gap));
        for (step, (thief, gap)) in turns.chain([(false, 31), (true, 31)]).enumerate() {
            if step == 6 {
                latchkey.advance(31);
            }
            let who = usize::from(thief);
            let answer = apis[step % 2].refresh(&held[who]).await;
            used[who] = true;
            match answer.status {
                200 if !detected => held[who] = answer.text("refresh"),
                401 => {
                    let code = answer.text("code");
                    assert_eq!(code == "refresh_reused", !detected, "order {order:06b}: {code}");
                    detected = true;
                }
                _ => panic!("order {order:06b}, step {step}: {}", answer.body),
            }
            latchkey.advance(gap);
            if gap > 0 && step < 6 {
                assert_eq!(detected, used == [true, true], "order {order:06b}, step {step}");
            }
        }
        assert!(detected, "order {order:06b}, gap {gap}: both used the stolen token");
        for token in &held {
            apis[0].refresh(token).await.problem(401, "session_revoked");
        }
    }
}

async fn p9_a_refresh_that_races_a_logout_leaves_no_session(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    for _ in 0..20 {
        let refresh = token(&one.sign_in(&phone).await, "refresh");
        let (refreshed, ended) = tokio::join!(one.refresh(&refresh), other.blacklist(&refresh));
        ended.expect(200);
        let held = match refreshed.status {
            200 => refreshed.text("refresh"),
            _ => {
                refreshed.problem(401, "session_revoked");
                refresh
            }
        };
        one.refresh(&held).await.problem(401, "session_revoked");
    }
}

async fn a_session_ends_when_it_is_idle_and_at_its_absolute_end(side: Side) {
    const DAY: u64 = 24 * 60 * 60;
    let latchkey = InProcessLatchkey::start(side, 1).await;
    let api = latchkey.api();
    let idle = token(&api.sign_in(&new_phone()).await, "refresh");
    let mut kept = token(&api.sign_in(&new_phone()).await, "refresh");
    for day in (29..=174).step_by(29) {
        latchkey.advance(29 * DAY);
        let pair = api.refresh(&kept).await.expect(200).body;
        let left = pair["refresh_expires_in"].as_u64().unwrap();
        assert!(left <= (180 - day) * DAY, "day {day}: no token outlives its session");
        kept = token(&pair, "refresh");
    }
    // The token itself expired first: that is checked before the session is read.
    api.refresh(&idle).await.problem(401, "token_not_valid");
    // Within the leeway of 5 s the token is still valid, but its session has ended.
    latchkey.advance(6 * DAY);
    api.refresh(&kept).await.problem(401, "session_revoked");
    latchkey.advance(6);
    api.refresh(&kept).await.problem(401, "token_not_valid");
}

async fn p9_a_login_replayed_with_its_key_returns_the_same_session(side: Side) {
    let latchkey = InProcessLatchkey::start(side, 2).await;
    let (one, other) = (latchkey.api_of(0), latchkey.api_of(1));
    let phone = new_phone();
    let code = one.fresh_code(&phone).await;
    let key = [("idempotency-key", "a-login-of-mine")];
    let body = json!({ "phone_number": phone, "otp": code });
    let first = one.post_with("/v1/login", body.clone(), &key).await.expect(200).body;
    let again = other.post_with("/v1/login", body.clone(), &key).await.expect(200).body;
    let session = |pair: &Value| claims(&token(pair, "access"))["sid"].clone();
    assert_eq!(session(&first), session(&again));
    let access = token(&again, "access");
    let listed = one.signed_in(Method::GET, "/v1/me/sessions", &access, None).await;
    assert_eq!(listed.expect(200).body.as_array().unwrap().len(), 1);
    latchkey.advance(31);
    one.post_with("/v1/login", body, &key).await.problem(401, "otp_incorrect");
}
