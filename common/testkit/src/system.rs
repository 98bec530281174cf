//! A whole running Latchkey: in one process, or as separate services.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::engines::{EngineSet, Engines};
use crate::folder::Folder;
use crate::http::{self, Api};
use crate::process::{self, Binary, Process, Programs};
use crate::proxy::Proxy;

/// P12: after SIGTERM, exit 0 within this time.
pub const STOP_LIMIT: Duration = Duration::from_secs(25);

/// The engines that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Memory and SQLite, in one process.
    Embedded,
    /// RabbitMQ, Redis and PostgreSQL.
    Engines,
}

/// How many of each separate service run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    pub gateways: usize,
    pub otp_workers: usize,
    pub sms_workers: usize,
}

/// The running processes of one Latchkey; killed on drop.
#[derive(Debug)]
pub struct System {
    pub processes: Vec<Process>,
    /// The environment that they share.
    pub env: BTreeMap<String, String>,
    /// The test's engines; `None` when embedded.
    pub engines: Option<EngineSet>,
    /// Set by a test that provokes dead letters. Every other test fails if one is left when its system is dropped.
    pub may_leave_dead_letters: bool,
    programs: Programs,
    // Declared after the processes: they end before it is removed.
    home: Folder,
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_leftovers();
        }
    }
}

impl System {
    /// Starts the all-in-one process on either kind of engines, with limits off; `more` settings override the others.
    pub async fn start(side: Side, more: &[(&str, &str)]) -> Self {
        match side {
            Side::Embedded => Self::embedded(Programs::InRoles, more).await,
            Side::Engines => Self::on(Engines::shared().fresh().await, more).await,
        }
    }

    /// Starts the all-in-one process on these engines.
    pub async fn on(engines: EngineSet, more: &[(&str, &str)]) -> Self {
        Self::launch(Programs::InRoles, Some(engines), &[Binary::Latchkey], more).await
    }

    /// Starts the all-in-one process of these programs on memory and SQLite.
    pub async fn embedded(programs: Programs, more: &[(&str, &str)]) -> Self {
        Self::launch(programs, None, &[Binary::Latchkey], more).await
    }

    /// Starts the all-in-one process on the shared engines, with a proxy before its database; returns the URL past the
    /// proxy too.
    pub async fn with_database_proxy() -> (Self, Proxy, String) {
        let mut engines = Engines::shared().fresh().await;
        let direct = engines.database_url.clone();
        let proxy = engines.proxy_database().await;
        (Self::on(engines, &[]).await, proxy, direct)
    }

    /// Starts the separate services on these engines.
    pub async fn apart(engines: EngineSet, counts: Apart, more: &[(&str, &str)]) -> Self {
        Self::apart_of(Programs::InRoles, engines, counts, more).await
    }

    /// Like [`System::apart`], with these programs.
    pub async fn apart_of(
        programs: Programs,
        engines: EngineSet,
        counts: Apart,
        more: &[(&str, &str)],
    ) -> Self {
        let mut binaries = vec![Binary::Gateway; counts.gateways];
        binaries.extend(vec![Binary::OtpWorker; counts.otp_workers]);
        binaries.extend(vec![Binary::SmsWorker; counts.sms_workers]);
        Self::launch(programs, Some(engines), &binaries, more).await
    }

    async fn launch(
        programs: Programs,
        engines: Option<EngineSet>,
        binaries: &[Binary],
        more: &[(&str, &str)],
    ) -> Self {
        let home = Folder::new("system");
        let mut env = settings(&home);
        if let Some(engines) = &engines {
            env.extend(engines.env());
            env.insert("LATCHKEY_SECRET".into(), secret());
            env.insert("LATCHKEY_SMS_ROUTES".into(), "default=inbox".into());
            env.insert("LATCHKEY_JWT_KEYS_DIR".into(), home.join("keys").display().to_string());
            env.insert("LATCHKEY_ISSUER".into(), "http://latchkey.test".into());
            fs::create_dir(home.join("keys")).expect("make the keys folder");
        }
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        if engines.is_some() {
            let make = ["keys", "generate"];
            process::run_of(&programs, Binary::Latchkey, &make, home.path(), &env);
        }
        let start = |binary: &Binary| Process::start_of(&programs, *binary, home.path(), &env);
        let mut processes: Vec<_> = binaries.iter().map(start).collect();
        for process in &mut processes {
            process.ready().await;
        }
        Self { processes, env, engines, may_leave_dead_letters: false, programs, home }
    }

    /// Starts one more process, with these settings over the shared ones; returns its index.
    pub async fn add(&mut self, binary: Binary, more: &[(&str, &str)]) -> usize {
        let mut env = self.env.clone();
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut process = Process::start_of(&self.programs, binary, self.home.path(), &env);
        process.ready().await;
        self.processes.push(process);
        self.processes.len() - 1
    }

    /// Starts more processes side by side, each with its settings over the shared ones.
    pub async fn add_all(&mut self, more: &[(Binary, BTreeMap<String, String>)]) {
        let first = self.processes.len();
        for (binary, settings) in more {
            let mut env = self.env.clone();
            env.extend(settings.clone());
            self.processes.push(Process::start_of(&self.programs, *binary, self.home.path(), &env));
        }
        for process in &mut self.processes[first..] {
            process.ready().await;
        }
    }

    /// Returns a client of the first gateway.
    pub fn api(&self) -> Api {
        self.api_of(0)
    }

    /// Returns a client of the gateway with this index.
    pub fn api_of(&self, gateway: usize) -> Api {
        let url = self.processes.iter().filter_map(|process| process.url.as_ref()).nth(gateway);
        Api::new(url.expect("a gateway with that index"))
    }

    /// Returns all processes of one kind.
    pub fn all(&mut self, binary: Binary) -> impl Iterator<Item = &mut Process> {
        self.processes.iter_mut().filter(move |process| process.binary == binary)
    }

    /// Runs an operator command with the settings of the processes.
    pub fn run(&self, args: &[&str]) -> String {
        process::run_of(&self.programs, Binary::Latchkey, args, self.home.path(), &self.env)
    }

    /// Returns the output of all processes.
    pub fn output(&self) -> String {
        self.processes.iter().map(|process| process.server.output()).collect()
    }

    /// Fails if a process that still runs counts a dead letter.
    fn check_leftovers(&self) {
        if self.may_leave_dead_letters {
            return;
        }
        for process in &self.processes {
            let metrics = http::get_blocking(&process.ops_url, "/metrics").unwrap_or_default();
            let left =
                |line: &&str| line.starts_with("latchkey_dead_letters{") && !line.ends_with(" 0");
            if let Some(line) = metrics.lines().find(left) {
                panic!(
                    "{} left a dead letter: {line}\n{}",
                    process.binary.name(),
                    process.server.output()
                );
            }
        }
    }

    /// P12: sends SIGTERM to all at once; each exits with 0 within 25 s. Returns their output.
    pub async fn stop(mut self) -> String {
        self.check_leftovers();
        for process in &self.processes {
            process.server.signal("TERM");
        }
        for process in &mut self.processes {
            let status = process.server.terminate(STOP_LIMIT).await;
            assert!(
                status.success(),
                "{}: {status}\n{}",
                process.binary.name(),
                process.server.output()
            );
        }
        self.output()
    }
}

/// Turns off every limit that a test could reach by frequent requests.
pub const NO_LIMITS: [(&str, &str); 7] = [
    ("LATCHKEY_RESEND_COOLDOWN_SECS", "0"),
    ("LATCHKEY_SENDS_PER_PHONE_HOUR", "0"),
    ("LATCHKEY_SENDS_PER_PHONE_DAY", "0"),
    ("LATCHKEY_SENDS_PER_IP_HOUR", "0"),
    ("LATCHKEY_LOGINS_PER_IP_MINUTE", "0"),
    ("LATCHKEY_CONNECTIONS_PER_IP", "0"),
    ("LATCHKEY_PUMPING_GUARD", "off"),
];

fn settings(home: &Folder) -> BTreeMap<String, String> {
    let data = home.join("data").display().to_string();
    [("LATCHKEY_ENV", "development"), ("LATCHKEY_DATA_DIR", &data), ("RUST_LOG", "info")]
        .into_iter()
        .chain(NO_LIMITS)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn secret() -> String {
    STANDARD.encode(domain::rng::secret_bytes::<32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::both_sides;
    use crate::eventually;
    use crate::http::new_phone;

    both_sides!(a_system_signs_a_user_in_and_stops);

    async fn a_system_signs_a_user_in_and_stops(side: Side) {
        let system = System::start(side, &[]).await;
        assert_eq!(system.engines.is_some(), side == Side::Engines);
        journey(&system.api()).await;
        assert!(!system.stop().await.is_empty(), "it logged nothing");
    }

    mod on_the_engines {
        use super::*;

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn separate_services_sign_a_user_in_and_stop() {
            let counts = Apart { gateways: 2, otp_workers: 2, sms_workers: 2 };
            let mut system = System::apart(Engines::shared().fresh().await, counts, &[]).await;
            journey(&system.api_of(1)).await;
            for worker in system.all(Binary::OtpWorker) {
                worker.restart().await;
            }
            journey(&system.api()).await;
            assert_eq!(system.all(Binary::SmsWorker).count(), 2);
            assert!(system.run(&["limits"]).contains("cooldown"));
            for process in &system.processes {
                let health = |binary| {
                    process::run(binary, &["health"], system.home.path(), process.server.env())
                };
                assert_eq!(health(process.binary), "ready\n");
                assert_eq!(health(Binary::Latchkey), "ready\n");
            }
            system.stop().await;
        }
    }

    async fn journey(api: &Api) {
        let phone = new_phone();
        let request = api.signup(&phone, "Ada", "Lovelace").await.expect(202);
        let code = api.code(&phone, 1).await;
        // The text arrives before its status, which comes back through the broker.
        eventually("the status after the text", crate::PATIENCE, async || {
            let status = api.status(&request.text("request_id")).await.expect(200).text("status");
            (status == "sent").then_some(())
        })
        .await;
        let login = api.login_for(&phone, &code, &request.text("request_id")).await.expect(200);
        assert_eq!(login.body["user"]["first_name"], "Ada");
        let me = api.me(&login.text("access")).await.expect(200);
        assert_eq!(me.text("phone_number"), phone);
        let refreshed = api.refresh(&login.text("refresh")).await.expect(200);
        api.verify(&refreshed.text("access")).await.expect(200);
        api.blacklist(&refreshed.text("refresh")).await.expect(200);
        api.refresh(&refreshed.text("refresh")).await.problem(401, "session_revoked");
        let again = api.sign_in(&phone).await;
        assert_eq!(again["user"]["id"], login.body["user"]["id"]);
    }
}
