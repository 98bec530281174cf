//! Two releases side by side on the same engines, each service under its own login, in the order of docs/upgrading.md and
//! back. `tests/upgrade/run` builds the programs of the former one.

mod on_the_engines {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde_json::{Value, json};

    use super::super::load::{Load, Told, Word};
    use super::super::provider::Provider;
    use super::super::settled;
    use crate::journeys::credentials::on_the_engines::{SERVICES, make_logins};
    use testkit::engines::Engines;
    use testkit::eventually;
    use testkit::folder::Folder;
    use testkit::http::{Api, new_phone};
    use testkit::process::{Binary, Process, Programs};
    use testkit::system::{Apart, STOP_LIMIT, System};

    const NONE: Apart = Apart { gateways: 0, otp_workers: 0, sms_workers: 0 };
    /// More than the queues hold at once: each pair of releases hands over some of each kind of message.
    const BESIDE_EACH: usize = 30;

    /// Processes of two releases.
    struct Fleet {
        system: System,
        former: Programs,
        /// The settings of each service: its logins and its keys.
        settings: BTreeMap<&'static str, BTreeMap<String, String>>,
        home: Folder,
    }

    impl Fleet {
        /// Engines as this release leaves them before the first of its processes starts.
        async fn new(former: Programs, more: &[(&str, &str)]) -> Self {
            let system = System::apart(Engines::shared().fresh().await, NONE, more).await;
            system.run(&["migrate"]);
            let urls = make_logins(system.engines.as_ref().expect("real engines")).await;
            let settings = SERVICES.map(|(service, _)| {
                let mut own = system.env.clone();
                own.extend(urls[service].env());
                let keys = system.run(&["keys", "derive", service]);
                own.insert("LATCHKEY_SERVICE_KEYS".to_owned(), keys.trim().to_owned());
                own.insert("LATCHKEY_SECRET".to_owned(), String::new());
                (service, own)
            });
            Self { system, former, settings: settings.into(), home: Folder::new("fleet") }
        }

        /// Starts one of each of these kinds, side by side: each waits for the queues that the others declare.
        async fn start(&mut self, programs: &Programs, binaries: &[Binary]) {
            let first = self.system.processes.len();
            for binary in binaries {
                let own = &self.settings[binary.name()];
                let process = Process::start_of(programs, *binary, self.home.path(), own);
                self.system.processes.push(process);
            }
            for process in &mut self.system.processes[first..] {
                process.ready().await;
            }
        }

        /// Starts one of these programs beside the one of its kind, and stops that one when the new one is ready.
        async fn replace(&mut self, programs: &Programs, binary: Binary) {
            self.start(programs, &[binary]).await;
            let at = self.system.processes.iter().position(|process| process.binary == binary);
            let mut replaced = self.system.processes.remove(at.expect("one to replace"));
            let status = replaced.server.terminate(STOP_LIMIT).await;
            assert!(status.success(), "{}: {status}", binary.name());
        }

        /// Replaces a worker under load, by the gateway that runs.
        async fn replace_worker(
            &mut self,
            programs: &Programs,
            binary: Binary,
            provider: &Provider,
        ) -> Vec<Told> {
            let load = Load::on(vec![self.system.api()]);
            load.more(BESIDE_EACH).await;
            self.replace(programs, binary).await;
            load.more(BESIDE_EACH).await;
            sign_in_by(&self.system.api(), &self.system.api(), provider).await;
            load.stop().await
        }

        /// Replaces the gateway under load. While both run, each takes the other's codes and tokens.
        async fn replace_gateway(&mut self, programs: &Programs, provider: &Provider) -> Vec<Told> {
            let before = self.system.api();
            let load = Load::on(vec![before.clone()]);
            load.more(BESIDE_EACH).await;
            self.start(programs, &[Binary::Gateway]).await;
            let after = self.system.api_of(1);
            sign_in_by(&before, &after, provider).await;
            sign_in_by(&after, &before, provider).await;
            let (kept, refresh) = tokens(&sign_in_by(&before, &before, provider).await);
            let mut told = load.stop().await;
            let load = Load::on(vec![after.clone()]);
            let at =
                self.system.processes.iter().position(|process| process.binary == Binary::Gateway);
            let mut replaced = self.system.processes.remove(at.expect("the gateway"));
            let status = replaced.server.terminate(STOP_LIMIT).await;
            assert!(status.success(), "gateway: {status}");
            load.more(BESIDE_EACH).await;
            after.me(&kept).await.expect(200);
            after.refresh(&refresh).await.expect(200);
            told.extend(load.stop().await);
            told
        }
    }

    fn tokens(login: &Value) -> (String, String) {
        let text = |name: &str| login[name].as_str().expect("a token").to_owned();
        (text("access"), text("refresh"))
    }

    /// A code requested at one gateway signs in at the other, and the tokens of each work at the other.
    async fn sign_in_by(one: &Api, other: &Api, provider: &Provider) -> Value {
        let phone = new_phone();
        let request = one.signup(&phone, "Ada", "Lovelace").await.expect(202).text("request_id");
        let code = eventually("the text", testkit::PATIENCE, async || provider.code(&phone)).await;
        other.login(&phone, &testkit::http::wrong(&code, 1)).await.problem(401, "otp_incorrect");
        let body = json!({ "phone_number": phone, "otp": code, "request_id": request });
        let key = [("idempotency-key", request.as_str())];
        let login = other.post_with("/v1/login", body, &key).await.expect(200).body;
        assert_eq!(login["user"]["first_name"], "Ada");
        one.login(&phone, &code).await.problem(401, "otp_incorrect");
        let (access, refresh) = tokens(&login);
        one.me(&access).await.expect(200);
        one.verify(&access).await.expect(200);
        let (access, refresh) = tokens(&one.refresh(&refresh).await.expect(200).body);
        other.me(&access).await.expect(200);
        other.refresh(&refresh).await.expect(200).body
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a switch for the tests, which config does not know"
    )]
    fn given(name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "it needs the programs of a former release: tests/upgrade/run --from TAG builds them and runs this"]
    async fn p1_p2_an_upgrade_and_the_way_back_lose_nothing_and_sign_nobody_out() {
        let former = given("LATCHKEY_FORMER_PROGRAMS").expect(
            "LATCHKEY_FORMER_PROGRAMS names no folder with the programs of a former release: tests/upgrade/run makes one",
        );
        let former = Programs::Own(PathBuf::from(former));
        let provider = Provider::start().await;
        let mut fleet = Fleet::new(former.clone(), &provider.settings()).await;
        let (new, old) = (Programs::InRoles, fleet.former.clone());
        fleet.start(&old, &[Binary::OtpWorker, Binary::SmsWorker, Binary::Gateway]).await;
        println!("the former release runs on the new schema");
        let mut told = Vec::new();
        for worker in [Binary::OtpWorker, Binary::SmsWorker] {
            told.extend(fleet.replace_worker(&new, worker, &provider).await);
            println!("{} is new", worker.name());
        }
        told.extend(fleet.replace_gateway(&new, &provider).await);
        println!("the gateway is new: the upgrade is done");
        if given("LATCHKEY_UPGRADE_ANY_ORDER").is_some() {
            for worker in [Binary::SmsWorker, Binary::OtpWorker] {
                told.extend(fleet.replace_worker(&old, worker, &provider).await);
            }
            println!("the new gateway works with the former workers");
            for worker in [Binary::OtpWorker, Binary::SmsWorker] {
                told.extend(fleet.replace_worker(&new, worker, &provider).await);
            }
        }
        told.extend(fleet.replace_gateway(&old, &provider).await);
        for worker in [Binary::SmsWorker, Binary::OtpWorker] {
            told.extend(fleet.replace_worker(&old, worker, &provider).await);
            println!("{} is the former one again", worker.name());
        }
        let made = told.iter().filter(|one| one.request().is_some()).count();
        assert!(told.iter().all(|one| one.word != Word::Nothing), "a connection broke");
        let api = fleet.system.api();
        let mut held = settled(&fleet.system, &api, &provider, told, 1).await;
        held.add_the_tests_own();
        held.findings().assert_none();
        println!("{made} code requests under load, and {} texts", held.texts.len());
        fleet.system.stop().await;
    }

    /// What the way back rests on: a schema that is newer than the program is no obstacle to a service with a login of its
    /// own. The owner's login would have to migrate, and says what it misses.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_service_runs_on_a_newer_schema_and_only_the_owners_login_refuses_it() {
        testkit::stalls::steady(newer_schema).await;
    }

    async fn newer_schema() {
        let provider = Provider::start().await;
        let mut fleet = Fleet::new(Programs::InRoles, &provider.settings()).await;
        let owner = fleet.system.env.clone();
        let mut look = testkit::postgres::connect(&owner["DATABASE_URL"]).await.unwrap();
        let newer =
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9001, 'of the next release', true, '', 0)";
        sqlx::query(newer).execute(&mut look).await.unwrap();
        let all = [Binary::OtpWorker, Binary::SmsWorker, Binary::Gateway];
        fleet.start(&Programs::InRoles, &all).await;
        sign_in_by(&fleet.system.api(), &fleet.system.api(), &provider).await;

        let mut refused = Process::start(Binary::Gateway, fleet.home.path(), &owner);
        let why = refused.server.try_ready(testkit::PATIENCE, async || false).await.unwrap_err();
        assert!(why.contains("9001 was previously applied but is missing"), "{why}");
        fleet.system.stop().await;
    }
}
