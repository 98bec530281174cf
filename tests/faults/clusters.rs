//! Engines of several nodes: one is lost, and another takes over under code requests and whole sign-ins.

mod on_the_engines {
    use std::time::{Duration, Instant};

    use super::super::load::{Load, Told, Word};
    use super::super::provider::Provider;
    use super::super::{HEALED_WITHIN, back, judge_with_the_tests_own, sign_in};
    use crate::journeys::TWICE;
    use testkit::engines::{EngineSet, Engines};
    use testkit::eventually;
    use testkit::http::{Api, allowed, new_phone, once};
    use testkit::launch::{Keeps, Restart as _};
    use testkit::postgres::Postgres;
    use testkit::proxy::Proxy;
    use testkit::rabbit::Rabbit;
    use testkit::redis::{Redis, Sentinels};
    use testkit::system::{Side, System};

    /// Requests that the load must have accepted before the next fault.
    const BETWEEN_FAULTS: usize = 30;

    async fn two_gateways(
        engines: EngineSet,
        provider: &Provider,
        more: &[(&str, &str)],
    ) -> (System, [Api; 2]) {
        let settings = [&provider.settings(), more].concat();
        let system = System::apart(engines, TWICE, &settings).await;
        let apis = [system.api_of(0), system.api_of(1)];
        (system, apis)
    }

    /// Three nodes of one broker.
    struct Cluster {
        nodes: Vec<Rabbit>,
        vhost: String,
    }

    impl Cluster {
        async fn start() -> Self {
            let first = Rabbit::start(Keeps::Everything).await;
            let second = first.join().await;
            let third = first.join().await;
            let url = first.vhost().await;
            let vhost = url.rsplit('/').next().unwrap().to_owned();
            Self { nodes: vec![first, second, third], vhost }
        }

        /// The setting that names all nodes.
        fn url(&self) -> String {
            let hosts: Vec<_> =
                self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
            format!("amqp://guest:guest@{}/{}", hosts.join(","), self.vhost)
        }

        /// Kills the node that leads a queue, and returns its index.
        async fn kill_leader_of(&mut self, queue: &str) -> usize {
            let (leader, members) = self.nodes[0].leader_of(queue, &self.vhost).await;
            assert_eq!(members, 3, "{queue} is not on every node");
            let leads = |node: &Rabbit| node.name() == leader;
            let index = self.nodes.iter().position(leads).expect("one of the three leads");
            self.nodes[index].server.kill9().await;
            index
        }
    }

    /// While the broker has no majority: 503 in time to each code request.
    async fn refused_in_time(apis: &[Api], twin: &Api) {
        for api in apis.iter().cycle().take(6) {
            let begun = Instant::now();
            twin.otp(&new_phone()).await.expect(202);
            let twins = begun.elapsed();
            let start = Instant::now();
            let answer = once(api.otp(&new_phone())).await;
            let took = start.elapsed();
            let allowed = allowed(begun, twins);
            answer.problem(503, "temporarily_unavailable");
            assert!(took <= allowed, "503 after {took:?}, {allowed:?} allowed");
            // A code check needs no broker.
            api.login(&new_phone(), "000000").await.problem(401, "otp_incorrect");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p12_a_broker_of_three_nodes_loses_its_leaders_and_then_its_majority() {
        let provider = Provider::start().await;
        let shared = Engines::one_by_one();
        let (database_url, redis_url) = tokio::join!(shared.database(), shared.redis());
        let mut cluster = Cluster::start().await;
        let all = cluster.url();
        let amqp_url = cluster.nodes[0].url(&cluster.vhost);
        let engines = EngineSet { database_url, redis_url, amqp_url };
        let (system, apis) = two_gateways(engines, &provider, &[("AMQP_URL", &all)]).await;
        let unbroken = System::start(Side::Embedded, &[]).await;
        let load = Load::on(apis.to_vec());
        load.more(BETWEEN_FAULTS).await;

        for queue in ["sms-worker", "otp-worker"] {
            let killed = cluster.kill_leader_of(queue).await;
            back(&format!("after {queue}'s leader died"), &apis, &provider, Instant::now()).await;
            load.more(BETWEEN_FAULTS).await;
            cluster.nodes[killed].start_again().await;
            load.more(BETWEEN_FAULTS).await;
        }

        for node in &mut cluster.nodes[1..] {
            node.server.kill9().await;
        }
        eventually("a request that no majority takes", HEALED_WITHIN, async || {
            (once(apis[0].otp(&new_phone())).await.status == 503).then_some(())
        })
        .await;
        refused_in_time(&apis, &unbroken.api()).await;
        let (second, third) = cluster.nodes[1..].split_at_mut(1);
        tokio::join!(second[0].start_again(), third[0].start_again());
        back("after the majority came back", &apis, &provider, Instant::now()).await;
        load.more(BETWEEN_FAULTS).await;

        let told = load.stop().await;
        judge_with_the_tests_own(&system, &apis[0], &provider, told, 1).await.assert_none();
        system.stop().await;
    }

    /// A request that was accepted so long before a failover may still be in hand, on a busy machine.
    const IN_HAND: Duration = Duration::from_secs(15);

    /// Sets aside the requests whose codes a failover of Redis may have cost (W5), and says how many it did. Their
    /// texts stay: none may be texted twice.
    fn without_uncopied(
        told: Vec<Told>,
        faults: &[(Instant, Instant)],
        provider: &Provider,
    ) -> Vec<Told> {
        let exposed = |one: &Told| {
            let mut faults = faults.iter();
            faults.any(|(from, to)| *from <= one.at + IN_HAND && one.at <= *to)
        };
        let (aside, mut rest): (Vec<_>, Vec<_>) = told.into_iter().partition(exposed);
        let accepted = aside.iter().filter(|one| one.request().is_some());
        let without = accepted.clone().filter(|one| provider.code(&one.phone).is_none()).count();
        println!(
            "{} of {} requests accepted around a failover have no text (W5)",
            without,
            accepted.count()
        );
        rest.extend(aside.into_iter().map(|one| Told { word: Word::Nothing, ..one }));
        rest
    }

    /// Waits until one of the two is the primary and the other its replica.
    async fn one_leads(what: &str, servers: [&Redis; 2]) {
        eventually(what, HEALED_WITHIN, async || {
            let (one, other) = (servers[0].is_primary().await?, servers[1].is_primary().await?);
            (one != other).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p12_w5_sentinels_name_another_redis() {
        let provider = Provider::start().await;
        let shared = Engines::one_by_one();
        let (database_url, amqp_url) = tokio::join!(shared.database(), shared.vhost());
        let mut first = Redis::start(Keeps::Everything).await;
        let second = first.replica().await;
        let sentinels = Sentinels::of(&first).await;
        let (redis_url, watched) = (first.url(0), sentinels.url(0));
        let engines = EngineSet { database_url, redis_url, amqp_url };
        let (system, apis) = two_gateways(engines, &provider, &[("REDIS_URL", &watched)]).await;
        let load = Load::on(apis.to_vec());
        load.more(BETWEEN_FAULTS).await;
        let mut faults = Vec::new();

        let died = Instant::now();
        first.server.kill9().await;
        back("after the primary died", &apis, &provider, died).await;
        faults.push((died, Instant::now()));
        load.more(BETWEEN_FAULTS).await;

        first.start_again().await;
        one_leads("the former primary to follow", [&first, &second]).await;
        let (begun, before) = (Instant::now(), sentinels.epoch().await);
        sentinels.fail_over().await;
        let after = eventually("the second failover", HEALED_WITHIN, async || {
            Some(sentinels.epoch().await).filter(|epoch| *epoch > before)
        })
        .await;
        one_leads("the other server to follow", [&first, &second]).await;
        back("after a failover of servers that are well", &apis, &provider, begun).await;
        faults.push((begun, Instant::now()));
        load.more(BETWEEN_FAULTS).await;

        let told = load.stop().await;
        if sentinels.epoch().await != after {
            // The Sentinels took a busy server for a dead one. Any request may have met that.
            println!("more than two failovers");
            faults.push((died, Instant::now()));
        }
        let told = without_uncopied(told, &faults, &provider);
        judge_with_the_tests_own(&system, &apis[0], &provider, told, 1).await.assert_none();
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p12_the_address_of_postgres_leads_to_a_standby_and_then_to_a_promoted_one() {
        let provider = Provider::start().await;
        let shared = Engines::one_by_one();
        let (redis_url, amqp_url) = tokio::join!(shared.redis(), shared.vhost());
        let mut primary = Postgres::start(Keeps::Everything).await;
        let (proxy, database_url) = Proxy::before_url(&primary.database().await).await;
        let standby = primary.standby().await;
        let engines = EngineSet { database_url, redis_url, amqp_url };
        let (system, apis) = two_gateways(engines, &provider, &[]).await;
        let load = Load::on(apis.to_vec());
        load.more(BETWEEN_FAULTS).await;

        proxy.aim(&standby.address()).await;
        proxy.cut_all();
        for api in &apis {
            eventually("a login that a standby cannot serve", HEALED_WITHIN, async || {
                (once(api.login(&new_phone(), "000000")).await.status == 503).then_some(())
            })
            .await;
        }
        // What was connected meanwhile stays connected, if it was kept.
        proxy.aim(&primary.address()).await;
        back("after the address came back", &apis, &provider, Instant::now()).await;
        // A connection to the standby that was kept would break the row, again and again.
        let mut in_a_row = 0;
        eventually("twenty sign-ins in a row", HEALED_WITHIN, async || {
            in_a_row = sign_in(&apis, &provider).await.map_or(0, |()| in_a_row + 1);
            (in_a_row == 20).then_some(())
        })
        .await;

        primary.server.kill9().await;
        proxy.aim(&standby.address()).await;
        standby.promote().await;
        back("after the standby was promoted", &apis, &provider, Instant::now()).await;
        load.more(BETWEEN_FAULTS).await;

        let told = load.stop().await;
        // A call whose result could not be recorded before the worker gave up stays inside W1.
        judge_with_the_tests_own(&system, &apis[0], &provider, told, 2).await.assert_none();
        system.stop().await;
    }
}
