//! Engines that are stopped, slow, full or cut off: 503 in time, no check skipped, no attempt counted, and recovery.

use std::time::{Duration, Instant};

use serde_json::json;

use testkit::http::{Answer, Api, new_phone, once, wrong};

/// P12.
const BACK_WITHIN: Duration = Duration::from_mins(1);

/// Asserts that every call that needs an engine gets 503 in time.
async fn all_are_refused(api: &Api, phone: &str, code: &str, why: &str) {
    let login = json!({ "phone_number": phone, "otp": code });
    for (path, body) in [
        ("/v1/otp", json!({ "phone_number": phone })),
        ("/v1/signup", json!({ "phone_number": phone, "first_name": "A", "last_name": "B" })),
        ("/v1/login", login.clone()),
        ("/v1/login", json!({ "phone_number": phone, "otp": wrong(code, 1) })),
        ("/v1/token", json!({ "phone_number": phone, "password": "whatever it may be" })),
    ] {
        let answer = in_time(api, path, body, why).await;
        let refused = answer.problem(503, "temporarily_unavailable");
        assert!((1..=10).contains(&refused["retry_after"].as_u64().unwrap()), "{path}, {why}");
    }
}

async fn in_time(api: &Api, path: &str, body: serde_json::Value, why: &str) -> Answer {
    api.in_time(&format!("{path}, {why}"), api.post(path, body)).await
}

mod on_the_engines {
    use deadpool_redis::redis;
    use futures::future::join_all;
    use sqlx::Connection as _;

    use super::*;
    use crate::attacks::streams::on_the_engines::calls;
    use testkit::engines::Engines;
    use testkit::launch::{Keeps, Restart as _};
    use testkit::proxy::{Fault, Proxy};
    use testkit::redis::Redis;
    use testkit::system::{Apart, System};
    use testkit::{eventually, postgres};

    /// Waits until a sign-in works again without help.
    async fn is_back(api: &Api, phone: &str) {
        let healed = Instant::now();
        eventually("an accepted code request", BACK_WITHIN, async || {
            (api.otp(phone).await.status == 202).then_some(())
        })
        .await;
        eventually("a sign-in", BACK_WITHIN, async || {
            let code = api.messages(phone).await.first()?["code"].as_str()?.to_owned();
            (api.login(phone, &code).await.status == 200).then_some(())
        })
        .await;
        assert!(healed.elapsed() < BACK_WITHIN);
    }

    /// Enabled, so that password logins need Redis too, to count their address.
    const LOGINS: (&str, &str) = ("LATCHKEY_LOGINS_PER_IP_MINUTE", "1000000");

    async fn behind_a_redis_proxy(more: &[(&str, &str)]) -> (System, Proxy) {
        let mut engines = Engines::shared().fresh().await;
        let proxy = engines.proxy_redis().await;
        (System::on(engines, more).await, proxy)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_slow_cut_or_silent_redis_gives_503_in_time_and_skips_no_limit() {
        let limits = [("LATCHKEY_SENDS_PER_PHONE_HOUR", "2"), LOGINS];
        let (system, mut proxy) = behind_a_redis_proxy(&limits).await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        for fault in [Fault::Latency(Duration::from_secs(5)), Fault::SwallowRequests, Fault::Refuse]
        {
            proxy.set(fault).await;
            all_are_refused(&api, &phone, &code, &format!("{fault:?}")).await;
            // Many at once do not wait for each other's timeouts.
            let code_requests = (0..60).map(|n| {
                let api = &api;
                async move {
                    let body = json!({ "phone_number": format!("+98913{n:07}") });
                    in_time(api, "/v1/otp", body, "many at once").await.status
                }
            });
            assert!(join_all(code_requests).await.iter().all(|status| *status == 503), "{fault:?}");
            proxy.set(Fault::None).await;
            proxy.cut_all();
            is_back(&api, &new_phone()).await;
        }
        // Redis kept its counts: one request of two was used.
        let statuses = [api.otp(&phone).await.status, api.otp(&phone).await.status];
        assert_eq!(statuses[1], 429, "{statuses:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_connections_cut_mid_script_accept_nothing_and_recover() {
        let (system, mut proxy) = behind_a_redis_proxy(&[]).await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        // The scripts run but their answers never arrive: the attempts stay counted, and nothing is accepted.
        proxy.set(Fault::SwallowAnswers).await;
        let attempts = (1..=3).map(|n| {
            let (api, body) = (&api, json!({ "phone_number": phone, "otp": wrong(&code, n) }));
            async move { in_time(api, "/v1/login", body, "answers are swallowed").await.status }
        });
        assert_eq!(join_all(attempts).await, [503, 503, 503]);
        proxy.set(Fault::None).await;
        proxy.cut_all();
        let left = eventually("a checked code", BACK_WITHIN, async || {
            let answer = api.login(&phone, &wrong(&code, 4)).await;
            (answer.status != 503).then_some(answer)
        });
        let left = left.await.problem(401, "otp_incorrect")["attempts_left"].as_u64().unwrap();
        assert!(left <= 3, "{left}");
        eventually("the right code", BACK_WITHIN, async || {
            (api.login(&phone, &code).await.status == 200).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_full_or_stopped_redis_gives_503_in_time_and_recovers() {
        let mut private = Redis::start(Keeps::Nothing).await;
        let mut engines = Engines::shared().fresh().await;
        engines.redis_url = private.url(0);
        let url = engines.redis_url.clone();
        let system = System::on(engines, &[LOGINS]).await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;

        let mut redis = crate::attacks::redis(&url).await;
        let set = async |redis: &mut redis::aio::MultiplexedConnection, to: &str| {
            let mut config = redis::cmd("CONFIG");
            config.arg("SET").arg("maxmemory").arg(to).query_async::<()>(redis).await.unwrap();
        };
        set(&mut redis, "1").await;
        let body = json!({ "phone_number": phone });
        let refused = in_time(&api, "/v1/otp", body, "full").await;
        refused.problem(503, "temporarily_unavailable");
        for otp in [&code, &wrong(&code, 1)] {
            let body = json!({ "phone_number": phone, "otp": otp });
            let answer = in_time(&api, "/v1/login", body, "full").await;
            answer.problem(503, "temporarily_unavailable");
        }
        set(&mut redis, "0").await;
        api.login(&phone, &wrong(&code, 1)).await.problem(401, "otp_incorrect");

        private.server.pause().await;
        all_are_refused(&api, &phone, &code, "paused").await;
        private.server.resume();
        is_back(&api, &new_phone()).await;

        private.server.kill9().await;
        all_are_refused(&api, &phone, &code, "killed").await;
        private.start_again().await;
        is_back(&api, &new_phone()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_a_database_that_is_down_slow_or_locked_costs_no_attempt() {
        let (system, mut proxy, direct) = System::with_database_proxy().await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        let refused = async |why: &str| {
            for otp in [&code, &wrong(&code, 1)] {
                let body = json!({ "phone_number": phone, "otp": otp });
                let answer = in_time(&api, "/v1/login", body, why).await;
                answer.problem(503, "temporarily_unavailable");
            }
            let body = json!({ "phone_number": phone, "password": "whatever it may be" });
            in_time(&api, "/v1/token", body, why).await.problem(503, "temporarily_unavailable");
        };
        for fault in [Fault::Refuse, Fault::SwallowRequests] {
            proxy.set(fault).await;
            for _ in 0..2 {
                refused(&format!("{fault:?}")).await;
            }
            // A code request needs no database.
            api.otp(&new_phone()).await.expect(202);
            proxy.set(Fault::None).await;
            proxy.cut_all();
        }
        let mut session = postgres::connect(&direct).await.unwrap();
        let mut locked = session.begin().await.unwrap();
        sqlx::query("LOCK TABLE users, sessions, guesses, code_guesses IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *locked)
            .await
            .unwrap();
        eventually("the database behind the proxy", BACK_WITHIN, async || {
            let body = json!({ "phone_number": phone, "otp": wrong(&code, 1) });
            let answer = in_time(&api, "/v1/login", body, "locked").await;
            (answer.status == 503).then_some(())
        })
        .await;
        refused("locked").await;
        locked.rollback().await.unwrap();
        // More than ten attempts were refused, of a code that has five: none was counted.
        eventually("the right code", BACK_WITHIN, async || {
            let answer = api.login(&phone, &code).await;
            assert_ne!(answer.status, 429, "{}", answer.body);
            assert_ne!(answer.status, 401, "{}", answer.body);
            (answer.status == 200).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_redis_and_database_slow_together_give_503_in_time() {
        let mut engines = Engines::shared().fresh().await;
        let (mut redis, mut database) =
            (engines.proxy_redis().await, engines.proxy_database().await);
        let system = System::on(engines, &[]).await;
        let api = system.api();
        let phone = new_phone();
        let code = api.fresh_code(&phone).await;
        // Each answers within its own limit, or nearly so; together they would take four seconds.
        redis.set(Fault::Latency(Duration::from_millis(200))).await;
        database.set(Fault::Latency(Duration::from_secs(3))).await;
        for otp in [&code, &wrong(&code, 1)] {
            let body = json!({ "phone_number": phone, "otp": otp });
            let answer = in_time(&api, "/v1/login", body, "both slow").await;
            answer.problem(503, "temporarily_unavailable");
        }
        redis.set(Fault::None).await;
        database.set(Fault::None).await;
        is_back(&api, &new_phone()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p10_the_body_of_a_returned_message_is_not_logged() {
        let engines = Engines::shared().fresh().await;
        let amqp_url = engines.amqp_url.clone();
        let counts = Apart { gateways: 1, otp_workers: 0, sms_workers: 0 };
        let system = System::apart(engines, counts, &[("RUST_LOG", "trace")]).await;
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&amqp_url, properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = lapin::options::QueueDeleteOptions::default();
        channel.queue_delete("otp-worker".into(), options).await.unwrap();
        let refused = once(system.api().otp(&new_phone())).await;
        refused.problem(503, "temporarily_unavailable");
        let output = system.output();
        assert!(output.contains("request not served"), "the refusal is logged: {output}");
        assert!(!output.contains("returned us a message"), "the broker's message is not logged");
        assert!(!output.contains("specversion"), "the event is not logged");
        // The topology is declared again without help.
        is_accepted_again(&system.api()).await;
    }

    async fn is_accepted_again(api: &Api) {
        eventually("an accepted code request", BACK_WITHIN, async || {
            (api.otp(&new_phone()).await.status == 202).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_code_request_with_every_limit_on_is_one_round_trip_to_redis() {
        let private = Redis::start(Keeps::Nothing).await;
        let mut engines = Engines::shared().fresh().await;
        engines.redis_url = private.url(0);
        let url = engines.redis_url.clone();
        let limits = [
            ("LATCHKEY_RESEND_COOLDOWN_SECS", "30"),
            ("LATCHKEY_SENDS_PER_PHONE_HOUR", "1000"),
            ("LATCHKEY_SENDS_PER_PHONE_DAY", "1000"),
            ("LATCHKEY_SENDS_PER_IP_HOUR", "1000"),
            ("LATCHKEY_SENDS_PER_COUNTRY_HOUR", "1000"),
            ("LATCHKEY_SENDS_PER_COUNTRY_DAY", "1000"),
            ("LATCHKEY_SENDS_PER_PREFIX_HOUR", "1000"),
            ("LATCHKEY_SENDS_PER_PREFIX_DAY", "1000"),
            ("LATCHKEY_SENDS_GLOBAL_DAY", "1000"),
        ];
        let counts = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };
        let mut system = System::apart(engines, counts, &limits).await;
        // Only the gateway's commands count: the workers' queues exist, the workers are stopped.
        for worker in system.processes.iter_mut().filter(|process| process.url.is_none()) {
            worker.server.kill9().await;
        }
        let api = system.api();
        // Without a key: that would be looked up first.
        let otp = async || {
            once(api.post("/v1/otp", json!({ "phone_number": new_phone() }))).await.expect(202)
        };
        otp().await;
        let before = calls(&url, "evalsha").await;
        let others = async || {
            calls(&url, "eval").await + calls(&url, "get").await + calls(&url, "set").await
        };
        let others_before = others().await;
        for _ in 0..100 {
            otp().await;
        }
        let scripts = calls(&url, "evalsha").await - before;
        println!("100 code requests with all limits: {scripts} EVALSHA, no other gateway command");
        assert_eq!(scripts, 100);
        assert_eq!(others().await, others_before);
    }
}
