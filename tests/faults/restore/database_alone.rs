//! PostgreSQL alone goes back to a dump; Redis and the broker keep what they have, or Redis goes back as well.

mod on_the_engines {
    use std::time::Instant;

    use super::super::super::forgets::on_the_engines::{connect, restore, snapshot};
    use super::super::super::load::Load;
    use super::super::super::provider::Provider;
    use super::super::super::{back, settled};
    use super::super::{Dump, Person, fail, fresh_code, settings, use_code};
    use crate::journeys::TWICE;
    use testkit::engines::{EngineSet, Engines};
    use testkit::http::new_phone;
    use testkit::launch::Keeps;
    use testkit::postgres::Postgres;
    use testkit::proxy::{Fault, Proxy};
    use testkit::system::System;

    /// Engines with a database that can be put back: its address, its proxy and its server.
    async fn with_a_database_to_lose() -> (EngineSet, String, Proxy, Postgres) {
        let server = Postgres::start(Keeps::Everything).await;
        let mut set = Engines::shared().fresh().await;
        set.database_url = server.database().await;
        let direct = set.database_url.clone();
        let proxy = set.proxy_database().await;
        (set, direct, proxy, server)
    }

    /// Puts the dump in the place of the database.
    async fn go_back(proxy: &mut Proxy, dump: &Dump) -> (Postgres, String) {
        proxy.set(Fault::Refuse).await;
        let (server, url) = dump.on_a_new_server().await;
        proxy.aim(&server.address()).await;
        proxy.set(Fault::None).await;
        (server, url)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_a_database_that_goes_back_alone_loses_no_request_and_gives_no_used_code_back() {
        testkit::stalls::steady(goes_back_alone).await;
    }

    async fn goes_back_alone() {
        let provider = Provider::start().await;
        let (set, direct, mut proxy, _former) = with_a_database_to_lose().await;
        let system = System::apart(set, TWICE, &settings(&provider)).await;
        let apis = [system.api_of(0), system.api_of(1)];
        let [one, other] = &apis;
        let load = Load::on(apis.to_vec());
        load.more(20).await;
        let (used, exhausted, tried) = (new_phone(), new_phone(), new_phone());
        let at_used = fresh_code(one, &provider, &used).await;
        let at_exhausted = fresh_code(one, &provider, &exhausted).await;
        let at_tried = fresh_code(one, &provider, &tried).await;
        let dump = Dump::of(&direct).await;

        use_code(one, &used, &at_used).await;
        fail(one, &exhausted, &at_exhausted, 1..=5).await;
        fail(one, &tried, &at_tried, 1..=3).await;
        load.more(20).await;

        let (_server, _url) = go_back(&mut proxy, &dump).await;
        let healed = Instant::now();
        back("sign-ins on a database that went back", &apis, &provider, healed).await;
        // Redis knows what was used and tried, where the database forgot it.
        other.login(&used, &at_used).await.problem(401, "otp_incorrect");
        other.login(&exhausted, &at_exhausted).await.problem(429, "otp_attempts_exhausted");
        let fourth = other.login(&tried, &testkit::http::wrong(&at_tried, 4)).await;
        assert_eq!(fourth.problem(401, "otp_incorrect")["attempts_left"], 1);
        use_code(other, &tried, &at_tried).await;
        other.login(&tried, &at_tried).await.problem(401, "otp_incorrect");

        load.more(20).await;
        let told = load.stop().await;
        // The ledger forgot what was with a worker: as in W1, two texts with one code.
        let mut held = settled(&system, one, &provider, told, 2).await;
        held.add_the_tests_own();
        held.findings().assert_none();
        system.stop().await;
    }

    /// The hole that docs/restore.md closes by removing live codes: with both stores back at a moment before the use of a code,
    /// nothing knows of the use.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_code_works_again_where_both_stores_went_back_and_its_removal_prevents_that() {
        testkit::stalls::steady(both_went_back).await;
    }

    async fn both_went_back() {
        let provider = Provider::start().await;
        let (set, direct, mut proxy, _former) = with_a_database_to_lose().await;
        let system = System::apart(set, TWICE, &settings(&provider)).await;
        let (one, other) = (system.api_of(0), system.api_of(1));
        let mut redis = connect(&system).await;
        let (left, removed) = (new_phone(), new_phone());
        let at_left = fresh_code(&one, &provider, &left).await;
        let at_removed = fresh_code(&one, &provider, &removed).await;
        let kept = snapshot(&mut redis).await;
        let dump = Dump::of(&direct).await;
        use_code(&one, &left, &at_left).await;
        use_code(&one, &removed, &at_removed).await;

        // Redis alone goes back: the fence holds (P3).
        restore(&mut redis, &kept).await;
        other.login(&left, &at_left).await.problem(401, "otp_incorrect");
        let (_server, _url) = go_back(&mut proxy, &dump).await;
        restore(&mut redis, &kept).await;
        use_code(&other, &left, &at_left).await;
        other.login(&left, &at_left).await.problem(401, "otp_incorrect");
        super::super::page::remove_live_codes(&system).await;
        other.login(&removed, &at_removed).await.problem(401, "otp_incorrect");
        assert_eq!(Person::at(&one, &provider, &removed).await.phone, removed);
        system.stop().await;
    }
}
