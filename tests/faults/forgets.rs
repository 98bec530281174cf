//! W5: Redis loses data, or restores old data. Neither a used code nor a used attempt comes back.

pub(super) mod on_the_engines {
    use deadpool_redis::redis::{self, aio::MultiplexedConnection};

    use crate::journeys::Place;
    use testkit::eventually;
    use testkit::http::{Api, new_phone, wrong};
    use testkit::system::System;

    /// A dump of one Redis database, for a later restore.
    pub(in crate::faults) struct Snapshot(Vec<(Vec<u8>, i64, Vec<u8>)>);

    pub(in crate::faults) async fn connect(system: &System) -> MultiplexedConnection {
        let url = system.engines.as_ref().expect("it runs on real engines").redis_url.as_str();
        let client = redis::Client::open(url).unwrap();
        crate::redis_connection(&client).await.unwrap()
    }

    pub(in crate::faults) async fn snapshot(redis: &mut MultiplexedConnection) -> Snapshot {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(redis).await.unwrap();
        let mut all = Vec::new();
        for key in keys {
            let ttl: i64 = redis::cmd("PTTL").arg(&key).query_async(redis).await.unwrap();
            let dump: Option<Vec<u8>> =
                redis::cmd("DUMP").arg(&key).query_async(redis).await.unwrap();
            if let Some(dump) = dump {
                all.push((key, ttl.max(0), dump));
            }
        }
        assert!(!all.is_empty());
        Snapshot(all)
    }

    async fn flush(redis: &mut MultiplexedConnection) {
        let () = redis::cmd("FLUSHDB").query_async(redis).await.unwrap();
    }

    pub(in crate::faults) async fn restore(redis: &mut MultiplexedConnection, snapshot: &Snapshot) {
        flush(redis).await;
        for (key, ttl, dump) in &snapshot.0 {
            let mut command = redis::cmd("RESTORE");
            // A worker may have written the key since the flush: what was kept wins.
            command.arg(key).arg(ttl).arg(dump).arg("REPLACE");
            let () = command.query_async(redis).await.unwrap();
        }
    }

    async fn two_gateways() -> (System, [Api; 2], MultiplexedConnection) {
        let (system, apis) = Place::Twice.open(&[]).await;
        let redis = connect(&system).await;
        (system, apis.try_into().unwrap(), redis)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p3_w5_a_used_code_does_not_come_back_with_a_restored_dump() {
        let (_system, [one, other], mut redis) = two_gateways().await;
        let phone = new_phone();
        let code = one.fresh_code(&phone).await;
        let before = snapshot(&mut redis).await;
        one.login(&phone, &code).await.expect(200);
        for _ in 0..3 {
            restore(&mut redis, &before).await;
            other.login(&phone, &code).await.problem(401, "otp_incorrect");
            one.login(&phone, &code).await.problem(401, "otp_incorrect");
        }
        flush(&mut redis).await;
        other.login(&phone, &code).await.problem(401, "otp_incorrect");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p4_w5_used_attempts_do_not_come_back_with_a_restored_dump() {
        let (_system, [one, other], mut redis) = two_gateways().await;
        let phone = new_phone();
        let code = one.fresh_code(&phone).await;
        let before = snapshot(&mut redis).await;
        for attempt in 1..=3 {
            one.login(&phone, &wrong(&code, attempt)).await.problem(401, "otp_incorrect");
        }
        restore(&mut redis, &before).await;
        for (attempt, left) in [(4, 1), (5, 0)] {
            let answer = other.login(&phone, &wrong(&code, attempt)).await;
            assert_eq!(answer.problem(401, "otp_incorrect")["attempts_left"], left);
        }
        restore(&mut redis, &before).await;
        other.login(&phone, &wrong(&code, 6)).await.problem(429, "otp_attempts_exhausted");
        restore(&mut redis, &before).await;
        let answer = one.login(&phone, &code).await;
        assert_ne!(answer.status, 200, "the right code after five failed attempts");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn w5_a_flushed_redis_costs_the_live_code_and_nothing_else() {
        let (_system, [one, other], mut redis) = two_gateways().await;
        let phone = new_phone();
        let session = one.sign_in(&phone).await;
        let request = one.otp(&phone).await.expect(202).text("request_id");
        let code = one.code(&phone, 2).await;
        // The news of the text, if it came later, would bring the record back (contract, ruling 30).
        eventually("the text to be sent", testkit::PATIENCE, async || {
            (one.status(&request).await.text("status") == "sent").then_some(())
        })
        .await;
        flush(&mut redis).await;
        one.status(&request).await.problem(404, "not_found");
        other.login(&phone, &code).await.problem(401, "otp_incorrect");
        other.me(session["access"].as_str().unwrap()).await.expect(200);
        other.refresh(session["refresh"].as_str().unwrap()).await.expect(200);
        let again = other.sign_in(&phone).await;
        assert_eq!(again["user"], session["user"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn scripts_that_redis_lost_are_sent_again() {
        let (_system, [one, other], mut redis) = two_gateways().await;
        let phone = new_phone();
        one.sign_in(&phone).await;
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
        other.sign_in(&phone).await;
    }
}
