//! Each service under its own login to each engine (contract, ruling 54), with the files of `deploy/`: a whole life of an
//! account works, and no login opens what is another's.

pub(crate) mod on_the_engines {
    use std::collections::BTreeMap;
    use std::fs;
    use std::process::{Command, Output};
    use std::sync::{Mutex, PoisonError};

    use bus::{Bus, Queue};
    use deadpool_redis::redis;
    use lapin::options::{
        BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
        ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
        QueuePurgeOptions,
    };
    use lapin::types::FieldTable;
    use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
    use reqwest::Method;
    use serde_json::json;
    use sqlx::Connection as _;

    use crate::console::browser::{Browser, Page};
    use testkit::engines::{EngineSet, Engines};
    use testkit::folder::Folder;
    use testkit::http::new_phone;
    use testkit::process::Binary;
    use testkit::server::find_program;
    use testkit::system::{Apart, System};
    use testkit::{PATIENCE, eventually};

    pub(crate) const SERVICES: [(&str, Binary); 3] = [
        ("otp-worker", Binary::OtpWorker),
        ("sms-worker", Binary::SmsWorker),
        ("gateway", Binary::Gateway),
    ];

    const EXCHANGE: &str = "latchkey";
    const DELETE_EXCHANGE: ExchangeDeleteOptions =
        ExchangeDeleteOptions { if_unused: false, nowait: false };
    /// As the services declare the exchange, and as the definitions do.
    const DURABLE: ExchangeDeclareOptions = ExchangeDeclareOptions {
        passive: false,
        durable: true,
        auto_delete: false,
        internal: false,
        nowait: false,
    };

    /// The URLs of the engines with the login of each service.
    pub(crate) type Urls = BTreeMap<&'static str, EngineSet>;

    fn deployed(file: &str) -> String {
        let path = format!("{}/deploy/{file}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The password of a service at an engine. All tests give the servers that they share these.
    pub(crate) fn password(engine: &str, service: &str) -> String {
        format!("{}-password-of-{service}", engine.to_lowercase())
    }

    /// Fills a template of `deploy/`, as `deploy/compose/fill` does.
    fn filled(template: &str, engine: &str) -> String {
        let mut text = template.replace(&format!("@{engine}_PASSWORD@"), "the-owners-password");
        for (service, _) in SERVICES {
            let name = format!("@{engine}_{}_PASSWORD@", service.to_uppercase().replace('-', "_"));
            text = text.replace(&name, &password(engine, service));
        }
        text
    }

    /// Runs what makes roles. They belong to the whole server, which the tests share: two scripts at once refuse each
    /// other's changes.
    pub(crate) fn output_of_roles(script: &mut Command) -> Output {
        static ROLES: Mutex<()> = Mutex::new(());
        let turn = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
        let output = script.output().expect("run the script of the roles");
        drop(turn);
        output
    }

    fn make_roles(database_url: &str) {
        let mut psql =
            Command::new(find_program("psql", &["/usr/lib/postgresql"], "postgresql-client"));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/postgres/roles.sql");
        psql.args(["--quiet", "--no-psqlrc", database_url, "-f", script]);
        for (service, _) in SERVICES {
            let variable =
                format!("POSTGRES_{}_PASSWORD", service.to_uppercase().replace('-', "_"));
            psql.env(variable, password("POSTGRES", service));
        }
        let output = output_of_roles(&mut psql);
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn make_redis_users(redis_url: &str) {
        let users = filled(&deployed("redis/users.acl"), "REDIS");
        add_redis_users(redis_url, &users).await;
    }

    /// Makes the logins of an ACL file. The tests' own login is the default one.
    pub(crate) async fn add_redis_users(redis_url: &str, users: &str) {
        let client = redis::Client::open(redis_url).unwrap();
        let mut connection = crate::redis_connection(&client).await.unwrap();
        for user in users.lines().filter(|line| !line.starts_with("user default ")) {
            let mut words = user.split_whitespace().skip(1);
            let mut set = redis::cmd("ACL");
            set.arg("SETUSER").arg(words.next().unwrap()).arg("reset");
            for word in words {
                set.arg(word);
            }
            set.query_async::<()>(&mut connection).await.unwrap_or_else(|e| panic!("{user}: {e}"));
        }
    }

    async fn make_rabbit_users(vhost: &str) {
        let folder = Folder::new("definitions");
        let file = folder.join("definitions.json");
        let text = filled(&deployed("rabbitmq/definitions.json"), "RABBITMQ");
        let text = text.replace("\"vhost\": \"latchkey\"", &format!("\"vhost\": \"{vhost}\""));
        let text = text.replace("{\"name\": \"latchkey\"}", &format!("{{\"name\": \"{vhost}\"}}"));
        fs::write(&file, text).unwrap();
        let node = Engines::one_by_one().rabbit_node().await;
        node.ctl(&["import_definitions", &file.display().to_string()]).await;
    }

    fn with_login(url: &str, user: &str, password: &str) -> String {
        let mut url = url::Url::parse(url).unwrap();
        url.set_username(user).unwrap();
        url.set_password(Some(password)).unwrap();
        url.into()
    }

    pub(crate) async fn make_logins(owner: &EngineSet) -> Urls {
        make_roles(&owner.database_url);
        make_redis_users(&owner.redis_url).await;
        make_rabbit_users(owner.amqp_url.rsplit('/').next().unwrap()).await;
        let urls = |service: &str| EngineSet {
            database_url: with_login(
                &owner.database_url,
                &format!("latchkey_{}", service.replace('-', "_")),
                &password("POSTGRES", service),
            ),
            redis_url: with_login(&owner.redis_url, service, &password("REDIS", service)),
            amqp_url: with_login(&owner.amqp_url, service, &password("RABBITMQ", service)),
        };
        SERVICES.map(|(service, _)| (service, urls(service))).into()
    }

    /// Starts one of each service under its own login.
    async fn start() -> (System, Urls) {
        let nothing = Apart { gateways: 0, otp_workers: 0, sms_workers: 0 };
        // The call makes otp-worker admit a request as the gateway does.
        let more = [("LATCHKEY_VOICE_FALLBACK_SECS", "10"), ("LATCHKEY_PUMPING_GUARD", "enforce")];
        let mut system = System::apart(Engines::shared().fresh().await, nothing, &more).await;
        system.run(&["migrate"]);
        let urls = make_logins(system.engines.as_ref().unwrap()).await;
        let started = SERVICES.map(|(service, binary)| {
            let keys = system.run(&["keys", "derive", service]);
            let mut own = urls[service].env();
            own.insert("LATCHKEY_SERVICE_KEYS".to_owned(), keys.trim().to_owned());
            own.insert("LATCHKEY_SECRET".to_owned(), String::new());
            (binary, own)
        });
        // Together: each waits for the queues that the others declare.
        system.add_all(&started).await;
        (system, urls)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_services_with_logins_of_their_own_serve_a_whole_account() {
        const PASSWORD: &str = "violet anchor breeze 42 lagoon";
        let (system, _) = start().await;
        let (api, phone, called) = (system.api(), new_phone(), new_phone());
        api.otp(&called).await.expect(202);
        let request = api.signup(&phone, "Ada", "Lovelace").await.expect(202).text("request_id");
        let code = api.code(&phone, 1).await;
        api.login(&phone, &testkit::http::wrong(&code, 1)).await.problem(401, "otp_incorrect");
        let login = api.login_for(&phone, &code, &request).await.expect(200);
        let refreshed = api.refresh(&login.text("refresh")).await.expect(200);
        let access = refreshed.text("access");
        let call = async |method: Method, path: &str, body| {
            api.signed_in(method, path, &access, body).await
        };
        call(Method::PATCH, "/v1/me", Some(json!({"first_name": "Augusta"}))).await.expect(200);
        call(Method::PUT, "/v1/me/password", Some(json!({ "password": PASSWORD })))
            .await
            .expect(204);
        let by_password = json!({ "phone_number": phone, "password": PASSWORD });
        api.post("/v1/token", by_password).await.expect(200);
        let new = new_phone();
        let change = json!({ "phone_number": new });
        call(Method::POST, "/v1/me/phone", Some(change)).await.expect(202);
        let otp = api.code(&new, 1).await;
        let confirm = json!({ "otp": otp });
        call(Method::POST, "/v1/me/phone/confirm", Some(confirm)).await.expect(200);
        call(Method::DELETE, "/v1/me", None).await.expect(204);
        eventually("the call after a text", PATIENCE, async || {
            api.messages(&called).await.into_iter().find(|message| message["channel"] == "voice")
        })
        .await;
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_the_console_works_with_the_gateways_own_login() {
        let (system, _) = start().await;
        let (api, phone) = (system.api(), new_phone());
        let user = api.sign_in(&phone).await["user"]["id"].as_str().unwrap().to_owned();
        system.run(&["staff", "grant", &phone, "owner"]);
        let mut browser = Browser::new(&api);
        assert_eq!(browser.sign_in(&phone).await.leads_to(), "/console");
        let request = api.otp(&new_phone()).await.expect(202).text("request_id");
        eventually("the request in the ledger", PATIENCE, async || {
            let page = browser.get(&format!("/console/requests/{request}")).await;
            (page.status == 200 && page.text.contains("inbox took it")).then_some(())
        })
        .await;
        for path in [
            "/console",
            "/console/delivery?country=IR",
            "/console/requests",
            "/console/requests?outcome=unverified&prefix=98&status=failed",
            "/console/users",
            "/console/blocks",
            "/console/audit",
            "/console/engines",
            "/console/providers",
            "/console/queues",
            &format!("/console/users/{user}"),
        ] {
            browser.get(path).await.expect(200);
        }
        // Counted in the background from tables of others.
        eventually("the figures of the hour", PATIENCE, async || {
            let page = browser.get("/console/delivery").await;
            page.text.contains("country=IR&#38;provider=inbox").then_some(())
        })
        .await;
        // Each service says by its own login that it runs.
        eventually("three processes", PATIENCE, async || {
            let page = browser.get("/console/engines").await.expect(200);
            (page.text.matches(">here<").count() == 3).then_some(())
        })
        .await;
        let page = browser.get("/console/blocks").await;
        let block = [("kind", "country"), ("value", "AQ"), ("hours", "1"), ("reason", "a test")];
        assert_eq!(browser.submit(&page, "/console/blocks", &block).await.status, 303);
        assert_eq!(browser.submit(&page, "/console/logout", &[]).await.status, 303);
        system.stop().await;
    }

    /// Puts an event on the broker that no program here knows, and waits until staff see that it is dead.
    async fn dead_letter(system: &System, browser: &mut Browser) {
        let owner = system.engines.as_ref().unwrap().amqp_url.as_str().into();
        let bus = Bus::connect_rabbit(&owner, "test").await.unwrap();
        bus.publish_raw("otp.requested.v9", "e1", "{\"id\":\"e1\"}".into(), true).await.unwrap();
        eventually("a dead letter", PATIENCE, async || {
            let list = bus.dead_list(Queue::OtpWorker, 10).await.ok()?;
            (list.len() == 1).then_some(())
        })
        .await;
        browser.get("/console/queues").await.expect(200);
    }

    /// The page, once it says this: on a slow machine the broker is away at first.
    async fn says(browser: &mut Browser, path: &str, text: &str) -> Page {
        eventually(text, PATIENCE, async || {
            let page = browser.get(path).await.expect(200);
            page.text.contains(text).then_some(page)
        })
        .await
    }

    async fn cannot_be_replayed(browser: &mut Browser, page: &Page, address: &str) {
        eventually("the refusal", PATIENCE, async || {
            let done = browser.submit(page, address, &[("act", "replay")]).await;
            assert!(!done.leads_to().ends_with("replayed"), "{}", done.leads_to());
            let page = browser.get(done.leads_to()).await.expect(200);
            page.text.contains("Import definitions.json again").then_some(())
        })
        .await;
    }

    async fn staff(system: &System) -> Browser {
        let (api, phone) = (system.api(), new_phone());
        api.sign_in(&phone).await;
        system.run(&["staff", "grant", &phone, "operator"]);
        let mut browser = Browser::new(&api);
        assert_eq!(browser.sign_in(&phone).await.leads_to(), "/console");
        browser
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_dead_letters_are_replayed_with_the_gateways_own_login() {
        let (mut system, _) = start().await;
        system.may_leave_dead_letters = true;
        let mut browser = staff(&system).await;
        dead_letter(&system, &mut browser).await;
        let address = "/console/queues/otp-worker/e1";
        let page = eventually("the letter", PATIENCE, async || {
            let page = browser.get(address).await.expect(200);
            page.text.contains("unreadable").then_some(page)
        })
        .await;
        eventually("a replay", PATIENCE, async || {
            let done = browser.submit(&page, address, &[("act", "replay")]).await;
            (done.leads_to() == "/console/queues?done=replayed").then_some(())
        })
        .await;
        // The worker had it again, and no program here knows it.
        let page = eventually("the letter again", PATIENCE, async || {
            let page = browser.get(address).await.expect(200);
            page.text.contains("unreadable").then_some(page)
        })
        .await;
        let fields = [("act", "drop"), ("reason", "a test")];
        eventually("a deletion", PATIENCE, async || {
            let done = browser.submit(&page, address, &fields).await;
            (done.leads_to() == "/console/queues?done=dropped").then_some(())
        })
        .await;
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_former_definitions_are_said_and_close_no_connection_that_works() {
        let (mut system, _) = start().await;
        system.may_leave_dead_letters = true;
        let mut browser = staff(&system).await;
        dead_letter(&system, &mut browser).await;
        let vhost =
            system.engines.as_ref().unwrap().amqp_url.rsplit('/').next().unwrap().to_owned();
        let node = Engines::one_by_one().rabbit_node().await;
        // As the release before had them.
        let former = ["set_permissions", "-p", &vhost, "gateway", "^$", "^latchkey$", "^$"];
        node.ctl(&former).await;
        let address = "/console/queues/otp-worker/e1";
        let mut page = None;
        for path in ["/console/queues", address] {
            page = Some(says(&mut browser, path, "Import definitions.json again").await);
        }
        let page = page.unwrap();
        cannot_be_replayed(&mut browser, &page, address).await;
        // It may read, and has no way back to put them on: the letter stays where it is.
        let half = ["set_permissions", "-p", &vhost, "gateway", "^$", "^latchkey$", "\\.dead$"];
        node.ctl(&half).await;
        let page = says(&mut browser, address, "unreadable").await;
        cannot_be_replayed(&mut browser, &page, address).await;
        says(&mut browser, address, "unreadable").await;
        system.api().otp(&new_phone()).await.expect(202);
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_no_login_of_a_service_opens_what_is_anothers() {
        let (system, urls) = start().await;
        let (api, phone) = (system.api(), new_phone());
        api.sign_in(&phone).await;
        api.otp(&new_phone()).await.expect(202);
        for (service, sql) in [
            ("sms-worker", "SELECT password_hash FROM users"),
            ("sms-worker", "UPDATE users SET password_hash = 'x'"),
            ("sms-worker", "SELECT phone_number FROM users"),
            ("sms-worker", "SELECT * FROM audit"),
            ("otp-worker", "SELECT password_hash FROM users"),
            ("otp-worker", "SELECT * FROM sessions"),
            ("otp-worker", "SELECT * FROM sms_ledger"),
            ("otp-worker", "SELECT * FROM console_sessions"),
            ("otp-worker", "SELECT report FROM processes"),
            ("sms-worker", "SELECT report FROM processes"),
            ("sms-worker", "DELETE FROM shut_providers"),
            (
                "otp-worker",
                "INSERT INTO shut_providers VALUES (gen_random_uuid(), 'twilio', '', '', NULL, 0)",
            ),
            ("sms-worker", "SELECT * FROM console_sessions"),
            ("sms-worker", "SELECT * FROM delivery_hours"),
            ("otp-worker", "UPDATE guard_hours SET sends = 0"),
            ("gateway", "SELECT * FROM sms_receipts"),
            ("gateway", "SELECT * FROM sms_totals"),
            ("gateway", "UPDATE sms_ledger SET state = 'delivered'"),
            ("gateway", "UPDATE sms_attempts SET state = 'accepted'"),
            ("gateway", "DELETE FROM sms_ledger"),
            ("gateway", "DELETE FROM sms_history"),
            (
                "gateway",
                "INSERT INTO sms_history (message_id, rank, state, at) VALUES (gen_random_uuid(), 1, 'sent', 0)",
            ),
            ("otp-worker", "SELECT * FROM admin_keys"),
            ("sms-worker", "SELECT * FROM admin_keys"),
            ("gateway", "UPDATE admin_keys SET role = 'owner'"),
            ("gateway", "UPDATE admin_keys SET revoked_at = NULL"),
            ("gateway", "DELETE FROM admin_keys"),
            (
                "gateway",
                "INSERT INTO admin_keys (id, name, hash, role, created_at, created_by) VALUES ('a', 'a', 'a', 'owner', 0, 'a')",
            ),
            ("gateway", "CREATE TABLE mine (id int)"),
            ("gateway", "DELETE FROM _sqlx_migrations"),
        ] {
            refused_by_postgres(&urls[service], sql).await;
        }
        for (service, _) in SERVICES {
            for sql in [
                "DELETE FROM audit",
                "TRUNCATE audit",
                "UPDATE audit SET act = 'nothing'",
                "UPDATE audit SET detail = '{}'",
                "ALTER TABLE audit DISABLE TRIGGER ALL",
                "DROP TABLE audit",
            ] {
                refused_by_postgres(&urls[service], sql).await;
            }
        }
        redis_refuses(&system, &urls).await;
        rabbit_refuses(&urls).await;
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_no_login_of_a_service_configures_what_all_share() {
        let (system, urls) = start().await;
        for (service, _) in SERVICES {
            configures_nothing_shared(service, &urls[service].amqp_url).await;
        }
        // What none of them may declare anew is enough for a service that comes back.
        let owner = &system.engines.as_ref().unwrap().amqp_url;
        let vhost = owner.rsplit('/').next().unwrap();
        let node = Engines::one_by_one().rabbit_node().await;
        node.ctl(&["close_all_connections", "--vhost", vhost, "as the test requires"]).await;
        let api = system.api();
        // A new number each time: a request that was refused may count.
        let phone = eventually("a request that is accepted", PATIENCE, async || {
            let phone = new_phone();
            (api.otp(&phone).await.status == 202).then_some(phone)
        })
        .await;
        api.code(&phone, 1).await;
        system.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_the_services_wait_for_the_exchange_that_none_of_them_may_declare() {
        let owner = Engines::one_by_one().vhost().await;
        make_rabbit_users(owner.rsplit('/').next().unwrap()).await;
        let connection = connect(&owner).await;
        let channel = connection.create_channel().await.unwrap();
        channel.exchange_delete(EXCHANGE.into(), DELETE_EXCHANGE).await.unwrap();
        let (mut waiting, mut buses) = (Vec::new(), Vec::new());
        for (service, queue) in [("otp-worker", Queue::OtpWorker), ("sms-worker", Queue::SmsWorker)]
        {
            let url = with_login(&owner, service, &password("RABBITMQ", service)).into();
            let bus = Bus::connect_rabbit(&url, "test").await.unwrap();
            waiting.push(bus.consume(queue, 1).await.unwrap());
            buses.push(bus);
        }
        for consumer in &waiting {
            let mut attached = consumer.attached();
            let why = |state: &bus::Attached| {
                state.as_ref().is_err_and(|why| why.contains("the exchange latchkey is missing"))
            };
            tokio::time::timeout(PATIENCE, attached.wait_for(why)).await.unwrap().unwrap();
        }
        channel
            .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, DURABLE, FieldTable::default())
            .await
            .unwrap();
        for consumer in &waiting {
            let mut attached = consumer.attached();
            let wait = attached.wait_for(Result::is_ok);
            tokio::time::timeout(PATIENCE, wait).await.unwrap().unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn f25_the_gateways_login_rewrites_no_actor_of_the_audit() {
        const FREE: &str = "5f0c1d2e3a4b59687786958493a2b1c0";
        let (system, urls) = start().await;
        let (api, phone) = (system.api(), new_phone());
        let signed_in = api.sign_in(&phone).await;
        let user = signed_in["user"]["id"].as_str().unwrap();
        let call = |user: &str, name: &str| {
            sqlx::AssertSqlSafe(format!("SELECT latchkey_delete_user('{user}', '{name}')"))
        };
        for sql in [
            "INSERT INTO audit_renames (name, pseudonym) SELECT actor, 'someone' FROM audit LIMIT 1",
            "UPDATE audit SET actor = 'someone'",
            "UPDATE audit SET subject = 'someone'",
        ] {
            refused_by_postgres(&urls["gateway"], sql).await;
        }
        let nobody = "00000000-0000-7000-8000-000000000000";
        refused_by_postgres(&urls["gateway"], call(nobody, FREE)).await;
        for name in ["operator", user] {
            refused_by_postgres(&urls["gateway"], call(user, name)).await;
        }
        for service in ["otp-worker", "sms-worker"] {
            refused_by_postgres(&urls[service], call(user, FREE)).await;
        }
        api.me(signed_in["access"].as_str().unwrap()).await.expect(200);
        let access = signed_in["access"].as_str().unwrap();
        api.signed_in(Method::DELETE, "/v1/me", access, None).await.expect(204);
        let owner = &system.engines.as_ref().unwrap().database_url;
        let mut connection = sqlx::PgConnection::connect(owner).await.unwrap();
        let sql = "SELECT subject FROM audit WHERE act = 'user_deleted' AND actor = subject";
        let pseudonym: String = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        let sql = "SELECT COUNT(*) FROM audit WHERE actor = $1 OR subject = $1";
        let named: i64 =
            sqlx::query_scalar(sql).bind(user).fetch_one(&mut connection).await.unwrap();
        assert_eq!(named, 0);
        // A pseudonym belongs to one account.
        let other = api.sign_in(&new_phone()).await["user"]["id"].as_str().unwrap().to_owned();
        refused_by_postgres(&urls["gateway"], call(&other, &pseudonym)).await;
        system.stop().await;
    }

    async fn refused_by_postgres(engines: &EngineSet, sql: impl sqlx::SqlSafeStr) {
        let sql = sql.into_sql_str();
        let mut connection = sqlx::PgConnection::connect(&engines.database_url).await.unwrap();
        let error = sqlx::raw_sql(sql.clone()).execute(&mut connection).await.unwrap_err();
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{}: {error}", sql.as_str());
    }

    async fn redis_refuses(system: &System, urls: &Urls) {
        let connect = async |url: &str| {
            let client = redis::Client::open(url).unwrap();
            crate::redis_connection(&client).await.unwrap()
        };
        let mut owner = connect(&system.engines.as_ref().unwrap().redis_url).await;
        let codes: Vec<String> =
            redis::cmd("KEYS").arg("lk:{*}:code:*").query_async(&mut owner).await.unwrap();
        assert!(!codes.is_empty());
        let mut sms_worker = connect(&urls["sms-worker"].redis_url).await;
        let mut gateway = connect(&urls["gateway"].redis_url).await;
        let mut otp_worker = connect(&urls["otp-worker"].redis_url).await;
        for words in [
            ["HGETALL", codes[0].as_str()].as_slice(),
            &["EVAL", "return redis.call('HGETALL', ARGV[1])", "0", codes[0].as_str()],
            &["HSET", "lk:req:x", "status", "sent"],
            &["SET", "elsewhere", "1"],
        ] {
            no_permission(&mut sms_worker, words).await;
        }
        no_permission(&mut otp_worker, &["GET", "lk:change:x"]).await;
        let library = "#!lua name=mine\nredis.register_function('f', function() return 1 end)";
        for words in [
            ["FLUSHALL"].as_slice(),
            &["CONFIG", "GET", "*"],
            &["ACL", "LIST"],
            &["KEYS", "*"],
            &["FUNCTION", "LOAD", library],
            &["FUNCTION", "FLUSH"],
            &["FUNCTION", "DELETE", "mine"],
            &["FUNCTION", "LIST"],
            &["FUNCTION", "DUMP"],
        ] {
            for connection in [&mut sms_worker, &mut gateway, &mut otp_worker] {
                no_permission(connection, words).await;
            }
        }
    }

    async fn no_permission(connection: &mut redis::aio::MultiplexedConnection, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        let error = command.query_async::<redis::Value>(connection).await.unwrap_err();
        let text = error.to_string();
        // A script reports a refused command within it only by its text.
        let is_refused = error.code() == Some("NOPERM")
            || ["permission", "can't run this command"].iter().any(|part| text.contains(part));
        assert!(is_refused, "{words:?}: {error}");
    }

    /// The queues of one worker (contract, section 5).
    fn queues_of(worker: &str) -> Vec<String> {
        let more = ["", ".dead", ".retry.1000", ".retry.3000", ".retry.5000", ".retry.30000"];
        more.map(|more| format!("{worker}{more}")).into()
    }

    /// Tries to replace the exchange, and to configure queues that are not this service's.
    async fn configures_nothing_shared(service: &str, url: &str) {
        let connection = connect(url).await;
        // A refusal closes its channel.
        let open = async || connection.create_channel().await.unwrap();
        let channel = open().await;
        let deleted = channel.exchange_delete(EXCHANGE.into(), DELETE_EXCHANGE).await;
        refused(deleted, &format!("deleting the exchange as {service}"));
        for kind in [ExchangeKind::Fanout, ExchangeKind::Topic] {
            let (channel, none) = (open().await, FieldTable::default());
            let declared = channel.exchange_declare(EXCHANGE.into(), kind, DURABLE, none).await;
            refused(declared, &format!("declaring the exchange as {service}"));
        }
        for own in [format!("{service}.spy"), format!("{service}.retry.2000")] {
            let (channel, options) = (open().await, QueueDeclareOptions::default());
            let declared = channel.queue_declare(own.into(), options, FieldTable::default()).await;
            refused(declared, &format!("another queue of {service}"));
        }
        let others = ["otp-worker", "sms-worker"].into_iter().filter(|name| *name != service);
        for queue in others.flat_map(queues_of) {
            let what = format!("{queue} as {service}");
            let (channel, options) = (open().await, QueueDeleteOptions::default());
            refused(channel.queue_delete(queue.as_str().into(), options).await, &what);
            // A gateway reads dead letters, and so may delete them (ruling 66).
            if service == "gateway" && queue.contains(".dead") {
                continue;
            }
            let (channel, options) = (open().await, QueuePurgeOptions::default());
            refused(channel.queue_purge(queue.as_str().into(), options).await, &what);
        }
    }

    async fn connect(url: &str) -> Connection {
        Connection::connect(url, ConnectionProperties::default()).await.unwrap()
    }

    async fn rabbit_refuses(urls: &Urls) {
        let gateway = &urls["gateway"].amqp_url;
        let connection = connect(gateway).await;
        for queue in ["sms-worker", "otp-worker", "sms-worker.retry.1000"] {
            let channel = connection.create_channel().await.unwrap();
            let consumed = channel.basic_consume(
                queue.into(),
                "thief".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            refused(consumed.await, queue);
        }
        let channel = connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions::default();
        refused(channel.queue_declare("mine".into(), options, FieldTable::default()).await, "mine");
        // It puts dead letters back by an exchange that leads to the two queues, and reaches no other directly.
        for queue in ["sms-worker", "otp-worker.dead", "sms-worker.retry.1000"] {
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default();
            let sent = channel.basic_publish("".into(), queue.into(), options, b"{}", properties);
            let confirm = sent.await.unwrap();
            refused(confirm.await, queue);
        }
        for queue in ["sms-worker.dead", "otp-worker.dead"] {
            let channel = connection.create_channel().await.unwrap();
            let options = QueuePurgeOptions::default();
            channel.queue_purge(queue.into(), options).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            let options = QueueDeleteOptions::default();
            refused(channel.queue_delete(queue.into(), options).await, queue);
        }

        let sms_worker = &urls["sms-worker"].amqp_url;
        let connection = connect(sms_worker).await;
        let channel = connection.create_channel().await.unwrap();
        let bound = channel.queue_bind(
            "sms-worker".into(),
            "latchkey".into(),
            "otp.requested.*".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        refused(bound.await, "otp.requested");
    }

    fn refused<T>(outcome: lapin::Result<T>, what: &str) {
        let Err(error) = outcome else { panic!("{what} was allowed") };
        assert!(
            error.to_string().contains("ACCESS_REFUSED") || error.to_string().contains("403"),
            "{what}: {error}"
        );
    }
}
