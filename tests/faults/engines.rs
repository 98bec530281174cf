//! Each engine killed, away and hanging, under code requests and logins.

mod on_the_engines {
    use std::time::{Duration, Instant};

    use super::super::load::Load;
    use super::super::provider::Provider;
    use super::super::{back, judge_with_the_tests_own};
    use crate::journeys::TWICE;
    use testkit::engines::EngineSet;
    use testkit::http::{Answer, Api, allowed, new_phone, once};
    use testkit::launch::{Keeps, Restart as _};
    use testkit::postgres::Postgres;
    use testkit::rabbit::Rabbit;
    use testkit::redis::Redis;
    use testkit::server::Server;
    use testkit::system::{Side, System};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Engine {
        Broker,
        Redis,
        Postgres,
    }

    /// Private engines. Redis loses nothing: what it may lose in production is W5, and P1 holds outside of that.
    struct PrivateEngines {
        rabbit: Rabbit,
        redis: Redis,
        postgres: Postgres,
    }

    impl PrivateEngines {
        async fn start() -> Self {
            let (rabbit, redis, postgres) = tokio::join!(
                Rabbit::start(Keeps::Everything),
                Redis::start(Keeps::Everything),
                Postgres::start(Keeps::Everything)
            );
            Self { rabbit, redis, postgres }
        }

        async fn set(&self) -> EngineSet {
            EngineSet {
                database_url: self.postgres.database().await,
                redis_url: self.redis.database(),
                amqp_url: self.rabbit.vhost().await,
            }
        }

        fn server(&mut self, engine: Engine) -> &mut Server {
            match engine {
                Engine::Broker => &mut self.rabbit.server,
                Engine::Redis => &mut self.redis.server,
                Engine::Postgres => &mut self.postgres.server,
            }
        }

        async fn start_again(&mut self, engine: Engine) {
            match engine {
                Engine::Broker => self.rabbit.start_again().await,
                Engine::Redis => self.redis.start_again().await,
                Engine::Postgres => self.postgres.start_again().await,
            }
        }
    }

    /// A login with a code that nobody has: refused (401), or unavailable (503).
    async fn attempt(api: &Api) -> (Answer, Duration) {
        let start = Instant::now();
        let answer = once(api.login(&new_phone(), "000000")).await;
        (answer, start.elapsed())
    }

    /// While the engine is gone: 503 in time where it is needed, and no code check decided without it.
    async fn refused_in_time(engine: Engine, apis: &[Api], twin: &Api, until: Instant) -> usize {
        let (mut asked, mut slowest) = (0, Duration::ZERO);
        while Instant::now() < until {
            for api in apis {
                let begun = Instant::now();
                let (_, before) = attempt(twin).await;
                let (answer, took) = attempt(api).await;
                let (_, after) = attempt(twin).await;
                // What the same call costs on an unbroken system: the load of a busy machine, and its variance.
                let allowed = allowed(begun, before.max(after));
                assert!(took <= allowed, "{} after {took:?}, {allowed:?} allowed", answer.status);
                slowest = slowest.max(took);
                match engine {
                    // A code check needs no broker. The other engines may be too slow for one, on a busy machine.
                    Engine::Broker if answer.status == 503 => {
                        api.login(&new_phone(), "000000").await.problem(401, "otp_incorrect")
                    }
                    Engine::Broker => answer.problem(401, "otp_incorrect"),
                    Engine::Redis | Engine::Postgres => {
                        answer.problem(503, "temporarily_unavailable")
                    }
                };
                asked += 1;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        println!("the slowest answer without {engine:?}: {slowest:?}");
        asked
    }

    async fn breaks(engine: Engine, away: Duration) {
        let provider = Provider::start().await;
        let mut private = PrivateEngines::start().await;
        let system = System::apart(private.set().await, TWICE, &provider.settings()).await;
        let apis = [system.api_of(0), system.api_of(1)];
        let unbroken = System::start(Side::Embedded, &[]).await;
        let twin = unbroken.api();
        let load = Load::on(apis.to_vec());
        load.more(30).await;

        private.server(engine).kill9().await;
        private.start_again(engine).await;
        let healed = Instant::now();
        back("back after a restart", &apis, &provider, healed).await;
        load.more(30).await;

        private.server(engine).kill9().await;
        let gone = Instant::now();
        let asked = refused_in_time(engine, &apis, &twin, gone + away).await;
        println!("{engine:?} away for {:?}: {asked} logins answered in time", gone.elapsed());
        private.start_again(engine).await;
        let healed = Instant::now();
        back("back after it was away", &apis, &provider, healed).await;
        load.more(30).await;

        private.server(engine).pause().await;
        let until = Instant::now() + Duration::from_secs(6);
        let asked = refused_in_time(engine, &apis, &twin, until).await;
        println!("{engine:?} hung: {asked} logins answered in time");
        private.server(engine).resume();
        let healed = Instant::now();
        back("back after it hung", &apis, &provider, healed).await;
        load.more(30).await;

        let told = load.stop().await;
        // A call whose result could not be recorded before the worker gave up stays inside W1.
        let at_most = if engine == Engine::Postgres { 2 } else { 1 };
        let found = judge_with_the_tests_own(&system, &apis[0], &provider, told, at_most).await;
        found.assert_none();
        system.stop().await;
    }

    const AWAY: Duration = Duration::from_secs(20);
    const TWO_MINUTES: Duration = Duration::from_mins(2);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p12_the_broker_dies_is_away_and_hangs() {
        breaks(Engine::Broker, AWAY).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p12_redis_dies_is_away_and_hangs() {
        breaks(Engine::Redis, AWAY).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_p12_postgres_dies_is_away_and_hangs() {
        breaks(Engine::Postgres, AWAY).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes three minutes, and the short one shows the same: tests/run --slow"]
    async fn p1_p12_the_broker_is_away_for_two_minutes() {
        breaks(Engine::Broker, TWO_MINUTES).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes three minutes, and the short one shows the same: tests/run --slow"]
    async fn p1_p12_redis_is_away_for_two_minutes() {
        breaks(Engine::Redis, TWO_MINUTES).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes three minutes, and the short one shows the same: tests/run --slow"]
    async fn p1_p12_postgres_is_away_for_two_minutes() {
        breaks(Engine::Postgres, TWO_MINUTES).await;
    }
}
