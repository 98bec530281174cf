//! The worst day: PostgreSQL is a dump of some minutes ago on another server, Redis and the broker are empty. The services
//! run all the while, and code requests go on.

mod on_the_engines {
    use std::cell::Cell;
    use std::fs;
    use std::time::Instant;

    use reqwest::Method;

    use super::super::super::load::{Load, Told, Word};
    use super::super::super::provider::Provider;
    use super::super::super::{back, settled};
    use super::super::{Dump, Person, assert_whole, count, fail, fresh_code, settings, use_code};
    use crate::journeys::TWICE;
    use testkit::engines::EngineSet;
    use testkit::eventually;
    use testkit::http::{Api, new_phone};
    use testkit::launch::{Keeps, Restart as _};
    use testkit::postgres::Postgres;
    use testkit::proxy::Proxy;
    use testkit::rabbit::Rabbit;
    use testkit::redis::Redis;
    use testkit::system::System;

    /// The engines of this test, which it may empty.
    struct Site {
        postgres: Postgres,
        redis: Redis,
        rabbit: Rabbit,
        /// Before PostgreSQL: its address stays when the server is another one.
        proxy: Proxy,
        /// The URL of the database past the proxy.
        database_url: String,
        set: EngineSet,
    }

    impl Site {
        async fn start() -> Self {
            let (postgres, redis, rabbit) = tokio::join!(
                Postgres::start(Keeps::Everything),
                Redis::start(Keeps::Everything),
                Rabbit::start(Keeps::Everything)
            );
            let database_url = postgres.database().await;
            let mut set = EngineSet {
                database_url: database_url.clone(),
                redis_url: redis.database(),
                amqp_url: rabbit.vhost().await,
            };
            let proxy = set.proxy_database().await;
            Self { postgres, redis, rabbit, proxy, database_url, set }
        }

        /// Loses all of Redis and the broker, and puts the dump in the place of the database. Returns the new server.
        async fn burn(&mut self, dump: &Dump) -> Postgres {
            self.postgres.server.kill9().await;
            self.redis.server.kill9().await;
            fs::remove_dir_all(self.redis.data()).expect("remove what Redis kept");
            fs::create_dir(self.redis.data()).expect("an empty folder");
            let vhost = self.set.amqp_url.rsplit('/').next().expect("a vhost").to_owned();
            self.rabbit.ctl(&["delete_vhost", &vhost]).await;
            let ((server, restored_url), ()) = tokio::join!(dump.on_a_new_server(), async {
                self.rabbit.ctl(&["add_vhost", &vhost]).await;
                let all = ["set_permissions", "--vhost", &vhost, "guest", ".*", ".*", ".*"];
                self.rabbit.ctl(&all).await;
                self.redis.start_again().await;
            });
            self.proxy.aim(&server.address()).await;
            self.database_url = restored_url;
            server
        }
    }

    /// A dump that is taken while people sign in, one after the other.
    async fn dump_amid_sign_ins(site: &Site, api: &Api, provider: &Provider) -> Dump {
        let (sign_ins, over) = (Cell::new(0), Cell::new(false));
        let people = async {
            while !over.get() {
                Person::new(api, provider).await;
                sign_ins.set(sign_ins.get() + 1);
            }
        };
        let more = async |count: u32| {
            let goal = sign_ins.get() + count;
            let enough = async || (sign_ins.get() >= goal).then_some(());
            eventually("more sign-ins", testkit::PATIENCE, enough).await;
        };
        let dumping = async {
            more(3).await;
            let dump = Dump::of(&site.database_url).await;
            more(3).await;
            over.set(true);
            dump
        };
        tokio::join!(people, dumping).1
    }

    /// What was told before the loss: whether a request's text came is not known any more.
    fn before(told: &[Told], lost: Instant) -> Vec<Told> {
        let asked_before = told.iter().filter(|one| one.at < lost + one.took);
        let without_word = |one: &Told| match one.word {
            Word::Accepted(_) => Told { word: Word::Nothing, ..one.clone() },
            _ => one.clone(),
        };
        asked_before.map(without_word).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dump_taken_under_load_and_two_empty_engines_sign_people_in_again_by_themselves() {
        testkit::stalls::steady(all_is_lost).await;
    }

    async fn all_is_lost() {
        let provider = Provider::start().await;
        let mut site = Site::start().await;
        let system = System::apart(site.set.clone(), TWICE, &settings(&provider)).await;
        let apis = [system.api_of(0), system.api_of(1)];
        let [one, other] = &apis;
        let load = Load::on(apis.to_vec());

        let idle = Person::new(one, &provider).await;
        let refreshed = Person::new(one, &provider).await;
        let copied = Person::new(one, &provider).await;
        let ended = Person::new(one, &provider).await;
        let deleted = Person::new(one, &provider).await;
        let used_later = new_phone();
        let code_of_then = fresh_code(one, &provider, &used_later).await;
        let (locked, slowed) =
            (Person::new(one, &provider).await, Person::new(one, &provider).await);
        let at_locked = fresh_code(one, &provider, &locked.phone).await;
        fail(one, &locked.phone, &at_locked, 1..=5).await;
        let at_slowed = fresh_code(one, &provider, &slowed.phone).await;
        fail(one, &slowed.phone, &at_slowed, 1..=3).await;

        let dump = dump_amid_sign_ins(&site, other, &provider).await;

        // What the dump does not know.
        let spent = refreshed.refresh().to_owned();
        let newer = other.refresh(&spent).await.expect(200).text("refresh");
        let second = other.refresh(copied.refresh()).await.expect(200).text("refresh");
        let third = other.refresh(&second).await.expect(200).text("refresh");
        other.blacklist(ended.refresh()).await.expect(200);
        other.signed_in(Method::DELETE, "/v1/me", deleted.access(), None).await.expect(204);
        use_code(one, &used_later, &code_of_then).await;
        fail(one, &slowed.phone, &at_slowed, 4..=5).await;
        one.login(&slowed.phone, &at_slowed).await.problem(429, "too_many_requests");
        let newcomer = Person::new(one, &provider).await;
        load.more(20).await;

        let _server = site.burn(&dump).await;
        let healed = Instant::now();
        back("sign-ins on a dump and two empty engines", &apis, &provider, healed).await;
        assert_whole(&site.database_url).await;

        // Nobody used it since: it goes on.
        other.me(idle.access()).await.expect(200);
        other.refresh(idle.refresh()).await.expect(200);
        // Its token is newer than the database: the session ends, and the account is there.
        one.refresh(&newer).await.problem(401, "session_revoked");
        one.refresh(&spent).await.problem(401, "session_revoked");
        one.me(refreshed.access()).await.problem(401, "session_revoked");
        assert_eq!(Person::at(one, &provider, &refreshed.phone).await.id(), refreshed.id());
        // A used token works once more, until its owner comes: docs/restore.md says to end all sessions.
        let stolen = one.refresh(copied.refresh()).await.expect(200).text("refresh");
        one.refresh(&third).await.problem(401, "session_revoked");
        other.refresh(&stolen).await.problem(401, "session_revoked");
        // An ended session is live again, and a deleted account is there: the page says so.
        one.refresh(ended.refresh()).await.expect(200);
        assert_eq!(Person::at(one, &provider, &deleted.phone).await.id(), deleted.id());
        // Who signed up since is a stranger, and becomes another account.
        one.me(newcomer.access()).await.problem(401, "session_revoked");
        one.refresh(newcomer.refresh()).await.problem(401, "session_revoked");
        assert_ne!(Person::at(one, &provider, &newcomer.phone).await.id(), newcomer.id());

        // No code from before signs in: used before the dump, after it, or never.
        for (phone, code) in
            [(&idle.phone, &idle.code), (&used_later, &code_of_then), (&slowed.phone, &at_slowed)]
        {
            one.login(phone, code).await.problem(401, "otp_incorrect");
        }
        // Failures and locks are those of the dump.
        let at_locked = fresh_code(one, &provider, &locked.phone).await;
        one.login(&locked.phone, &at_locked).await.problem(429, "too_many_requests");
        let failures = "SELECT count(*) FROM guesses WHERE kind = 'code' AND failures = 3";
        assert_eq!(count(&site.database_url, failures).await, 1, "the failures of the dump");
        let at_slowed = fresh_code(one, &provider, &slowed.phone).await;
        fail(one, &slowed.phone, &at_slowed, 1..=1).await;
        use_code(other, &slowed.phone, &at_slowed).await;

        load.more(20).await;
        let told = load.stop().await;
        let after = told.iter().filter(|one| one.at >= healed + one.took).cloned().collect();
        // What a worker had in hand when the database went away stays inside W1.
        let mut held = settled(&system, one, &provider, after, 2).await;
        held.told.extend(before(&told, healed));
        println!("{} requests, with those before the engines were there again", held.told.len());
        // The test's own people have several texts, each with a code of its own.
        held.texts.retain(|text| held.told.iter().any(|one| one.phone == text.phone));
        held.findings().assert_none();
        system.stop().await;
    }
}
