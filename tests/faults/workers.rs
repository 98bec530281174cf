//! `kill -9` of our own processes under load.

mod on_the_engines {
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::sleep;

    use super::super::load::Load;
    use super::super::provider::Provider;
    use super::super::{judge, oracle};
    use crate::journeys::TWICE;
    use testkit::engines::Engines;
    use testkit::http::{Api, new_phone};
    use testkit::process::Binary;
    use testkit::system::{Apart, System};
    use testkit::{PATIENCE, eventually, in_time};

    const ONE: Apart = Apart { gateways: 1, otp_workers: 1, sms_workers: 1 };

    /// Kills each process of a kind in turn under load, and restarts it.
    async fn killed_in_mid_flow(binary: Binary, at_most: usize) -> oracle::Findings {
        let provider = Provider::start().await;
        let engines = Engines::shared().fresh().await;
        let mut system = System::apart(engines, TWICE, &provider.settings()).await;
        let apis = vec![system.api_of(0), system.api_of(1)];
        let load = Load::on(apis);
        for round in 0..4 {
            load.more(15).await;
            let process = system.all(binary).nth(round % 2).expect("there are two");
            process.restart().await;
        }
        load.more(15).await;
        let told = load.stop().await;
        judge(&system, &system.api_of(0), &provider, told, at_most).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_an_otp_worker_killed_under_load_loses_nothing_and_causes_no_second_text() {
        killed_in_mid_flow(Binary::OtpWorker, 1).await.assert_none();
    }

    /// W1: a call in flight when its worker dies may have been taken; a second text with the same code may follow.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_w1_an_sms_worker_killed_under_load_loses_nothing_and_sends_at_most_two_texts() {
        let found = killed_in_mid_flow(Binary::SmsWorker, 2).await;
        found.assert_none();
        // Only calls in flight at one of the four kills: 20 requests a second, 40 ms a call.
        assert!(found.twice <= 16, "{} phones were texted twice", found.twice);
    }

    /// The most code requests that a gateway accepts, a second.
    async fn code_requests_limit(gateway: &str) -> Option<f64> {
        let answer = Api::new(gateway).get("/metrics").await.expect(200);
        let limit = |line: &str| line.strip_prefix("latchkey_code_requests_limit ")?.parse().ok();
        answer.body.as_str().expect("it is text").lines().find_map(limit)
    }

    /// Ruling 79: what a worker took too late bounds what gateways accept, until the worker keeps up again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p12_gateways_accept_fewer_code_requests_while_workers_are_late() {
        let provider = Provider::start().await;
        let engines = Engines::shared().fresh().await;
        let mut system = System::apart(engines, ONE, &provider.settings()).await;
        let api = system.api();
        let gateway = system.all(Binary::Gateway).next().expect("there is one").ops_url.clone();
        eventually("no limit", PATIENCE, async || {
            code_requests_limit(&gateway).await.filter(|limit| *limit == 0.0)
        })
        .await;
        let is_limited =
            async || code_requests_limit(&gateway).await.is_some_and(|limit| limit > 0.0);
        // A gateway may miss the one report that tells of it.
        eventually("a limit", PATIENCE * 4, async || {
            let worker = system.all(Binary::SmsWorker).next().expect("there is one");
            // The shortest wait that the worker knows is of this one.
            let (phone, late) = (new_phone(), new_phone());
            api.post("/v1/otp", json!({ "phone_number": phone })).await.expect(202);
            eventually("a text", PATIENCE, async || provider.code(&phone)).await;
            worker.server.pause().await;
            api.post("/v1/otp", json!({ "phone_number": late })).await.expect(202);
            sleep(Duration::from_secs(2)).await;
            worker.server.resume();
            in_time(Duration::from_secs(3), async || is_limited().await.then_some(())).await
        })
        .await;
        let another = json!({ "phone_number": new_phone() });
        api.post("/v1/otp", another).await.expect(202);
        eventually("the end of the limit", PATIENCE, async || (!is_limited().await).then_some(()))
            .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_a_gateway_killed_under_load_keeps_every_accepted_request() {
        killed_in_mid_flow(Binary::Gateway, 1).await.assert_none();
    }
}
