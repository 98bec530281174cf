//! `kill -9` of our own processes under load.

mod on_the_engines {
    use super::super::load::Load;
    use super::super::provider::Provider;
    use super::super::{judge, oracle};
    use crate::journeys::TWICE;
    use testkit::engines::Engines;
    use testkit::process::Binary;
    use testkit::system::System;

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

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_a_gateway_killed_under_load_keeps_every_accepted_request() {
        killed_in_mid_flow(Binary::Gateway, 1).await.assert_none();
    }
}
