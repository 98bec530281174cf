//! The outbox with several gateways, without a broker, and over the death of a gateway.

mod on_the_engines {
    use std::collections::{BTreeMap, BTreeSet};

    use accounts::{Accounts, AttemptLimits, Claimant, Denied, KnownDevice, LoginOutcome, Method};
    use accounts::{NewSession, SignIn, UsedCode};
    use domain::clock::Clock;
    use domain::engine_error::EngineError;
    use domain::ids::{CodeId, SessionId, UserId};
    use domain::keys::Keys;
    use domain::phone::E164;
    use futures::{StreamExt as _, stream};
    use secrecy::SecretString;
    use serde_json::Value;
    use sql::Pool;
    use testkit::engines::Engines;
    use testkit::http::new_phone;
    use testkit::process::Binary;
    use testkit::proxy::Fault;
    use testkit::system::{Apart, System};
    use testkit::{PATIENCE, eventually, postgres};

    use crate::journeys::probes::Spy;

    const TOLD: [&str; 3] = ["user.created.v1", "session.started.v1", "otp.verified.v1"];

    /// Sign-ins as gateways write them, without the way to them.
    struct SignIns {
        accounts: Accounts,
        clock: Clock,
        keys: Keys,
    }

    impl SignIns {
        async fn on(database_url: &str) -> Self {
            let pool = Pool::postgres(&SecretString::from(database_url)).await.unwrap();
            let keys = Keys::from_secret(b"a secret of at least 32 bytes, for tests", None);
            Self { accounts: Accounts::new(&pool), clock: Clock::system(), keys }
        }

        /// The sign-up of a new number: its account.
        async fn one(&self) -> UserId {
            let phone: E164 = new_phone().parse().unwrap();
            let (code, new_user) = (CodeId::new(&self.clock), UserId::new(&self.clock));
            // On a busy machine a database can take longer to answer than a gateway waits. Then nobody knows whether the
            // sign-in is committed, and the code tells: it signs in once (P3).
            eventually("a sign-in", PATIENCE, async || {
                match self.attempt(&phone, code, new_user).await {
                    Ok(Ok(LoginOutcome::SignedIn { user, .. })) => Some(user.id),
                    Ok(Err(Denied::CodeUsed)) => Some(new_user),
                    Err(error) if error.is_away() => None,
                    other => panic!("not signed in: {other:?}"),
                }
            })
            .await
        }

        async fn attempt(
            &self,
            phone: &E164,
            code: CodeId,
            new_user: UserId,
        ) -> Result<Result<LoginOutcome, Denied>, EngineError> {
            let now = self.clock.now();
            let claimant = Claimant {
                phone_number: phone,
                phone_key: &self.keys.phone_key(phone),
                former_key: None,
                known_device: None::<KnownDevice<'_>>,
            };
            let session = NewSession {
                id: SessionId::new(&self.clock),
                method: Method::Sms,
                device: "Phone/1",
                ip: "192.0.2.0",
                idle_secs: 3600,
                max_secs: 3600,
                jkt: None,
            };
            let sign_in = SignIn {
                claimant,
                code: UsedCode { id: code, expires_at: now.plus_secs(300) },
                request_id: None,
                limits: AttemptLimits {
                    attempts: 5,
                    max_failures: 100,
                    failure_reset_secs: 86_400,
                },
                new_user,
                profile: None,
                locale: "en",
                country: "IR",
                session,
                key: None,
                traceparent: None,
                now,
            };
            self.accounts.sign_in(sign_in).await
        }

        async fn many(&self, count: usize) -> BTreeSet<UserId> {
            stream::iter(0..count).map(|_| self.one()).buffer_unordered(16).collect().await
        }
    }

    async fn gateways(count: usize, engines: testkit::engines::EngineSet) -> System {
        let counts = Apart { gateways: count, otp_workers: 0, sms_workers: 0 };
        System::apart(engines, counts, &[]).await
    }

    /// What the exchange got, in its order: type, event id, account.
    fn told(spy: &Spy) -> Vec<(String, String, String)> {
        let read = |message: Vec<u8>| {
            let text = String::from_utf8(message).unwrap();
            let event: Value =
                serde_json::from_str(&text[text.find("{\"specversion\"").unwrap()..]).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["type"]), text(&event["id"]), text(&event["data"]["user_id"]))
        };
        spy.seen().into_iter().map(read).collect()
    }

    async fn waiting(database: &mut sqlx::PgConnection) -> i64 {
        let sql = "SELECT COUNT(*) FROM outbox_entries";
        sqlx::query_scalar(sql).fetch_one(database).await.unwrap()
    }

    async fn all_published(database: &mut sqlx::PgConnection) {
        let mut left = waiting(&mut *database).await;
        while left > 0 {
            left = eventually("a shorter outbox", PATIENCE, async || {
                let now = waiting(&mut *database).await;
                (now < left).then_some(now)
            })
            .await;
        }
    }

    /// What the exchange got, each event as it first came.
    struct Told {
        first: Vec<(String, String, String)>,
        /// Whether the broker confirmed in time what it got: then every event keeps its order (ruling 61).
        undisturbed: bool,
    }

    /// Waits until the spy has got so many events. One comes again only where an engine was too slow to confirm (P1): a
    /// batch of 200 entries at most, and the gateway says so.
    async fn seen_once(system: &System, spy: &Spy, events: usize) -> Told {
        let (first, repeated) = eventually("the events", PATIENCE, async || {
            let told = if spy.count() >= events { told(spy) } else { Vec::new() };
            let (all, mut ids) = (told.len(), BTreeSet::new());
            let first: Vec<_> =
                told.into_iter().filter(|(_, id, _)| ids.insert(id.clone())).collect();
            let repeated = all - first.len();
            (first.len() >= events).then_some((first, repeated))
        })
        .await;
        let output = system.output();
        let paused = |line: &&str| line.contains("outbox paused");
        let pauses: Vec<_> = output.lines().filter(paused).collect();
        // What was not sent, as the broker was away, is not sent again.
        let unsent = |line: &&&str| line.contains("the broker is unavailable");
        let unclear = pauses.len() - pauses.iter().filter(unsent).count();
        assert!(repeated <= unclear * 3 * 200, "{repeated} came again after {unclear} pauses");
        let in_time = pauses.iter().all(|line| !line.contains("no confirm"));
        Told { first, undisturbed: unclear == 0 && in_time }
    }

    fn place(kind: &str) -> Option<usize> {
        TOLD.iter().position(|told| *told == kind)
    }

    /// Waits until the spy has got as many messages.
    async fn seen(spy: &Spy, at_least: usize) -> Vec<(String, String, String)> {
        eventually("the events", PATIENCE, async || {
            let told = told(spy);
            (told.len() >= at_least).then_some(told)
        })
        .await
    }

    /// The types that each account's events came with, in order.
    fn by_account(told: &[(String, String, String)]) -> BTreeMap<&str, Vec<&str>> {
        let mut accounts = BTreeMap::<&str, Vec<&str>>::new();
        for (kind, _, user) in told {
            accounts.entry(user).or_default().push(kind);
        }
        accounts
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_two_gateways_publish_the_events_of_2000_sign_ins_once_each_and_in_order() {
        let engines = Engines::shared().fresh().await;
        let (url, broker) = (engines.database_url.clone(), engines.amqp_url.clone());
        let system = gateways(2, engines).await;
        let spy = Spy::on(&broker).await;
        let users = SignIns::on(&url).await.many(2000).await;
        let mut database = postgres::connect(&url).await.unwrap();
        all_published(&mut database).await;
        let told = seen_once(&system, &spy, 3 * users.len()).await;
        assert_eq!(told.first.len(), 6000);
        let mut accounts = by_account(&told.first);
        assert_eq!(accounts.len(), users.len());
        if !told.undisturbed {
            for kinds in accounts.values_mut() {
                kinds.sort_by_key(|kind| place(kind));
            }
        }
        assert!(accounts.values().all(|kinds| kinds == &TOLD), "in the order of the sign-in");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_events_written_while_the_broker_is_away_are_published_in_order_when_it_is_back() {
        let mut engines = Engines::shared().fresh().await;
        let (url, past_the_proxy) = (engines.database_url.clone(), engines.amqp_url.clone());
        let mut broker = engines.proxy_broker().await;
        let system = gateways(2, engines).await;
        let spy = Spy::on(&past_the_proxy).await;
        broker.set(Fault::Refuse).await;
        let sign_ins = SignIns::on(&url).await;
        let mut users = Vec::new();
        for _ in 0..300 {
            users.push(sign_ins.one().await.to_string());
        }
        let mut database = postgres::connect(&url).await.unwrap();
        assert_eq!(waiting(&mut database).await, 300);
        // P12: nobody waits for the broker with a transaction open.
        let open = "SELECT COUNT(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&mut database).await.unwrap();
        assert_eq!(open, 0);
        broker.set(Fault::None).await;
        all_published(&mut database).await;
        let told = seen_once(&system, &spy, 900).await;
        let of = |(kind, _, user): &'_ (String, String, String)| (kind.clone(), user.clone());
        let mut order: Vec<_> = told.first.iter().map(of).collect();
        let mut wanted: Vec<_> = users
            .iter()
            .flat_map(|user| TOLD.map(|kind| (kind.to_owned(), user.clone())))
            .collect();
        if !told.undisturbed {
            order.sort();
            wanted.sort();
        }
        let other = order.iter().zip(&wanted).position(|(told, wanted)| told != wanted);
        assert_eq!((order.len(), other), (wanted.len(), None), "the first in another place");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p1_a_gateway_killed_between_publishing_and_deleting_loses_no_event() {
        let engines = Engines::shared().fresh().await;
        let (url, broker) = (engines.database_url.clone(), engines.amqp_url.clone());
        let mut system = gateways(1, engines).await;
        let spy = Spy::on(&broker).await;
        let sign_ins = SignIns::on(&url).await;
        let mut lock = postgres::connect(&url).await.unwrap();
        let mut database = postgres::connect(&url).await.unwrap();
        let entries = {
            // Nobody gets the turn until all are written. Then they can be read and not deleted.
            let hold = "BEGIN; LOCK TABLE outbox_turn IN ACCESS EXCLUSIVE MODE";
            sqlx::raw_sql(hold).execute(&mut database).await.unwrap();
            let users = sign_ins.many(20).await;
            let hold = "BEGIN; LOCK TABLE outbox_entries IN SHARE MODE";
            sqlx::raw_sql(hold).execute(&mut lock).await.unwrap();
            sqlx::raw_sql("ROLLBACK").execute(&mut database).await.unwrap();
            users
        };
        let first = seen(&spy, 60).await;
        for process in system.all(Binary::Gateway) {
            process.server.kill9().await;
        }
        // The server ends what the dead gateway asked for; it must not carry it out when the lock is gone.
        let asked = "SELECT COUNT(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        eventually("the end of the dead gateway's statement", PATIENCE, async || {
            let asked: i64 = sqlx::query_scalar(asked).fetch_one(&mut database).await.unwrap();
            (asked == 0).then_some(())
        })
        .await;
        sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
        assert_eq!(waiting(&mut database).await, 20, "nothing is deleted");
        for process in system.all(Binary::Gateway) {
            process.server.spawn();
            process.ready().await;
        }
        all_published(&mut database).await;
        let told = seen(&spy, first.len() + 60).await;
        let accounts = by_account(&told[first.len()..]);
        assert_eq!(accounts.len(), entries.len());
        assert!(accounts.values().all(|kinds| kinds == &TOLD), "all of them again");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p11_an_event_that_cannot_be_published_harms_only_itself() {
        let engines = Engines::shared().fresh().await;
        let (url, broker) = (engines.database_url.clone(), engines.amqp_url.clone());
        let system = gateways(2, engines).await;
        let spy = Spy::on(&broker).await;
        let mut database = postgres::connect(&url).await.unwrap();
        // A name that no broker takes; and an entry that nobody can read.
        let bad = "INSERT INTO outbox_entries (events, created_at) VALUES
            ('[{\"id\":\"019a0000-0001-7000-8000-0000000000e0\",\"kind\":\"' || repeat('x', 256)
                || '\",\"addressed\":true,\"pieces\":[\"{}\"]}]', 0), ('[', 0)";
        let sign_ins = SignIns::on(&url).await;
        sqlx::query(bad).execute(&mut database).await.unwrap();
        let users = sign_ins.many(500).await;
        eventually("only what cannot be published", PATIENCE, async || {
            (waiting(&mut database).await == 2).then_some(())
        })
        .await;
        assert_eq!(seen_once(&system, &spy, 1500).await.first.len(), 3 * users.len());
    }
}
