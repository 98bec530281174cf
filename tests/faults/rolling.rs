//! P12: a rolling restart of everything is noticed by nobody.

mod on_the_engines {
    use std::sync::Arc;
    use std::time::Instant;

    use super::super::balancer::Balancer;
    use super::super::judge;
    use super::super::provider::Provider;
    use super::super::users::Users;
    use crate::journeys::TWICE;
    use testkit::engines::Engines;
    use testkit::process::{Binary, Process};
    use testkit::stalls::steady;
    use testkit::system::{STOP_LIMIT, System};

    /// Sign-ins between two restarts.
    const BETWEEN: usize = 12;

    /// P12: sends SIGTERM and waits for the end with 0.
    async fn ends(process: &mut Process) {
        let start = Instant::now();
        let status = process.server.terminate(STOP_LIMIT).await;
        let output = process.server.output();
        assert_eq!(status.code(), Some(0), "{output}");
        assert!(!output.contains("connections cut at shutdown"), "{output}");
        println!("{} stopped in {:?}", process.binary.name(), start.elapsed());
    }

    /// One gateway more, then one less: as the manifests do it, and deploy/compose/rolling-restart.
    async fn replace_a_gateway(system: &mut System, balancer: &Balancer) {
        let new = system.add(Binary::Gateway, &[]).await;
        balancer.add(&system.processes[new]).await;
        let oldest = system.processes.iter().position(|it| it.binary == Binary::Gateway);
        let mut old = system.processes.remove(oldest.expect("there are gateways"));
        balancer.remove(&old);
        ends(&mut old).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p2_p12_a_rolling_restart_of_everything_is_noticed_by_no_client() {
        steady(rolling_restart).await;
    }

    async fn rolling_restart() {
        let provider = Arc::new(Provider::start().await);
        let engines = Engines::shared().fresh().await;
        let mut system = System::apart(engines, TWICE, &provider.settings()).await;
        let gateways: Vec<_> = system.all(Binary::Gateway).map(|it| &*it).collect();
        let balancer = Balancer::before(gateways).await;
        let users = Users::of(&balancer.url, &provider);
        users.more(BETWEEN).await;
        for binary in [Binary::OtpWorker, Binary::SmsWorker] {
            for worker in system.all(binary) {
                ends(worker).await;
                worker.server.spawn();
                worker.ready().await;
                users.more(BETWEEN).await;
            }
        }
        for _ in 0..2 {
            replace_a_gateway(&mut system, &balancer).await;
            users.more(BETWEEN).await;
        }
        let seen = users.stop().await;
        assert_eq!(seen.harms, [""; 0], "a client was not served");
        assert!(seen.reopened > 0, "no event stream was open at a gateway that ended");
        assert!(seen.calls > seen.sign_ins, "the strict clients hardly called");
        let requests = seen.told.len();
        judge(&system, &system.api(), &provider, seen.told, 1).await.assert_none();
        assert_eq!(seen.sign_ins, requests, "not every code signed in");
        assert!(!system.stop().await.contains("panicked"));
    }
}
