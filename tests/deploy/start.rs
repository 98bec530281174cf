//! The programs with exactly the environment, the commands and the files that the manifests of the trial give, without a
//! cluster: the Secrets are made by the script, and lie as Kubernetes lays them, behind links.

mod on_the_engines {
    use std::collections::BTreeMap;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use lapin::options::{BasicGetOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;
    use lapin::{Connection, ConnectionProperties};
    use serde_json::Value;

    use crate::deploy::manifests::{OWN_AGE, OWN_IN_HAND, rendered};
    use crate::deploy::rules::{containers, list, name, of, text, workloads};
    use crate::deploy::secrets::{environment, made, mounted};
    use crate::journeys::credentials::on_the_engines::{
        add_redis_users, output_of_roles, password,
    };
    use crate::openapi::python::said;
    use testkit::engines::{EngineSet, Engines};
    use testkit::folder::{Folder, free_port};
    use testkit::guard::Ending;
    use testkit::http::{Api, INBOX_TOKEN, get_blocking, new_phone, status_of};
    use testkit::process::{Binary, Process, program};
    use testkit::server::{Launch, Server, find_program};
    use testkit::system::STOP_LIMIT;
    use testkit::{PATIENCE, eventually};

    const OVERLAY: &str = "overlays/dev";
    const SERVICES: [Binary; 3] = [Binary::OtpWorker, Binary::SmsWorker, Binary::Gateway];

    /// Makes the Secrets for the engines of the test. The servers are shared, and so are the passwords of the services.
    fn make_secrets(folder: &Path, engines: &EngineSet) {
        let keep = folder.join("keep");
        fs::create_dir_all(&keep).unwrap();
        let kept = |name: &str, text: &str| {
            fs::write(keep.join(name), text).unwrap();
            fs::set_permissions(keep.join(name), Permissions::from_mode(0o600)).unwrap();
        };
        for engine in ["POSTGRES", "REDIS", "RABBITMQ"] {
            for service in SERVICES.map(Binary::name) {
                let name =
                    format!("{engine}_{}_PASSWORD", service.to_uppercase().replace('-', "_"));
                kept(&name, &password(engine, service));
            }
        }
        kept("RABBITMQ_PASSWORD", "the-owners-password");
        kept("LATCHKEY_INBOX_TOKEN", INBOX_TOKEN);
        let urls = [&engines.database_url, &engines.redis_url, &engines.amqp_url];
        let [postgres, redis, rabbit] = urls.map(|url| url::Url::parse(url).unwrap());
        if let Some(password) = postgres.password() {
            kept("POSTGRES_PASSWORD", password);
        }
        let host = |url: &url::Url| format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let path = |url: &url::Url| url.path().trim_start_matches('/').to_owned();
        let more = [
            ("POSTGRES_HOST", host(&postgres)),
            ("POSTGRES_DATABASE", path(&postgres)),
            ("POSTGRES_OWNER", postgres.username().to_owned()),
            ("POSTGRES_OPTIONS", String::new()),
            ("REDIS_HOST", host(&redis)),
            ("REDIS_DATABASE", path(&redis)),
            ("RABBITMQ_HOST", host(&rabbit)),
            ("RABBITMQ_VHOST", path(&rabbit)),
        ];
        let more: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        made(folder, &more);
        // As the page says for a trial.
        let token = "LATCHKEY_INBOX_TOKEN";
        fs::copy(keep.join(token), folder.join("latchkey-gateway").join(token)).unwrap();
    }

    /// Lays the files of each Secret as the kubelet does: the names are links to links to the files.
    fn mount(secrets: &Path, mounts: &Path) {
        for secret in fs::read_dir(secrets).unwrap() {
            let secret = secret.unwrap();
            let mount = mounts.join(secret.file_name());
            let data = mount.join("..2026_11_30_12_00_00.1");
            fs::create_dir_all(&data).unwrap();
            symlink(data.file_name().unwrap(), mount.join("..data")).unwrap();
            for file in fs::read_dir(secret.path()).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), data.join(file.file_name())).unwrap();
                let link = Path::new("..data").join(file.file_name());
                symlink(link, mount.join(file.file_name())).unwrap();
            }
        }
    }

    /// A container's program, arguments and environment, on the mounts.
    struct Run {
        program: PathBuf,
        arguments: Vec<String>,
        variables: BTreeMap<String, String>,
    }

    fn run_of(objects: &[Value], workload: &Value, container: &Value, mounts: &Path) -> Run {
        let own = program(Binary::Latchkey.name());
        let psql = find_program("psql", &["/usr/lib/postgresql"], "postgresql-client");
        let mut words = list(container, "/command").map(|word| {
            let word = mounted(word.as_str().unwrap(), workload, container, mounts);
            // The one ConfigMap that is mounted.
            word.replace("/roles/", &format!("{}/", mounts.join("roles").display()))
        });
        let program = match words.next().as_deref() {
            Some("latchkey") => own.clone(),
            Some("sh") => "/bin/sh".into(),
            other => panic!("{} runs {other:?}", name(workload)),
        };
        let mut variables = environment(objects, workload, container, mounts);
        let path = [own.parent(), psql.parent(), Some(Path::new("/usr/bin:/bin"))];
        let path = path.map(|folder| folder.unwrap().display().to_string()).join(":");
        variables.insert("PATH".to_owned(), path);
        Run { program, arguments: words.collect(), variables }
    }

    /// Runs the Job: its containers one after the other.
    fn migrate(objects: &[Value], mounts: &Path) {
        let job = of(objects, "Job").next().expect("the migration");
        let roles = of(objects, "ConfigMap").find(|map| name(map).starts_with("latchkey-roles"));
        fs::create_dir(mounts.join("roles")).unwrap();
        let script = text(roles.unwrap(), "/data/roles.sql");
        fs::write(mounts.join("roles").join("roles.sql"), script).unwrap();
        for container in containers(job) {
            let run = run_of(objects, job, container, mounts);
            let mut command = Command::new(run.program);
            command.args(run.arguments).env_clear().envs(run.variables).current_dir(mounts);
            let output = output_of_roles(&mut command);
            assert!(output.status.success(), "{}: {}", text(container, "/name"), said(&output));
        }
    }

    /// Starts a service, on free ports in place of those of its own network.
    fn start(objects: &[Value], binary: Binary, mounts: &Path) -> Process {
        let called = format!("latchkey-{}", binary.name());
        let workload = workloads(objects).find(|w| name(w) == called).expect("its Deployment");
        let container = containers(workload).next().expect("its container");
        let mut run = run_of(objects, workload, container, mounts);
        let (port, ops_port) = (free_port(), free_port());
        for (variable, port) in [("LATCHKEY_LISTEN", port), ("LATCHKEY_OPS_LISTEN", ops_port)] {
            let given = run.variables.insert(variable.to_owned(), format!("127.0.0.1:{port}"));
            assert!(given.is_some_and(|given| given.starts_with("0.0.0.0:")), "{variable}");
        }
        let url = (binary == Binary::Gateway).then(|| format!("http://127.0.0.1:{port}"));
        let mut server = Server::new(Launch {
            program: run.program,
            args: run.arguments,
            env: run.variables,
            folder: mounts.to_owned(),
            log: mounts.join(format!("{}.log", binary.name())),
            owner: None,
            ending: Ending::Kill,
        });
        server.spawn();
        Process { binary, server, url, ops_url: format!("http://127.0.0.1:{ops_port}") }
    }

    /// KEDA's login may ask how long a queue is, and take nothing from it.
    async fn keda_only_asks(mounts: &Path) {
        let url = fs::read_to_string(mounts.join("latchkey-keda").join("host")).unwrap();
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        for queue in ["otp-worker", "sms-worker"] {
            let channel = connection.create_channel().await.unwrap();
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let asked = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
            asked.unwrap_or_else(|error| panic!("{queue}: {error}"));
            let taken = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
            assert!(taken.is_err(), "it read {queue}");
        }
    }

    /// The figures that KEDA scales a worker by are at its ops port, without a label.
    async fn figures_are_shown(process: &Process) {
        eventually("the figures for KEDA", PATIENCE, async || {
            let ops_url = process.ops_url.clone();
            let read = move || get_blocking(&ops_url, "/metrics");
            let figures = tokio::task::spawn_blocking(read).await.ok()??;
            let shown = |name: &str| {
                let own = |line: &str| line.strip_prefix(name).is_some_and(|l| l.starts_with(' '));
                figures.lines().any(own)
            };
            [OWN_AGE, OWN_IN_HAND].iter().all(|name| shown(name)).then_some(())
        })
        .await;
    }

    /// The probes of the manifest, asked as the kubelet does.
    async fn probes_answer(objects: &[Value], process: &Process) {
        let called = format!("latchkey-{}", process.binary.name());
        let workload = workloads(objects).find(|w| name(w) == called).expect("its Deployment");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let pointer = format!("/spec/template/spec/containers/0/{probe}/httpGet/path");
            let url = format!("{}{}", process.ops_url, text(workload, &pointer));
            assert_eq!(status_of(&url).await, Some(200), "{url}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sign_in_works_with_what_the_manifests_give() {
        let engines = Engines::shared().fresh().await;
        let (secrets, mounts) = (Folder::new("secrets"), Folder::new("mounts"));
        make_secrets(secrets.path(), &engines);
        mount(secrets.path(), mounts.path());

        let users = fs::read_to_string(mounts.join("latchkey-redis").join("user.acl")).unwrap();
        add_redis_users(&engines.redis_url, &users).await;
        let definitions = mounts.join("latchkey-rabbitmq").join("definitions.json");
        let node = Engines::one_by_one().rabbit_node().await;
        node.ctl(&["import_definitions", &definitions.display().to_string()]).await;

        let objects = rendered(OVERLAY);
        // Together with the migration, as one `apply` starts them: they wait for it.
        let mut processes = SERVICES.map(|binary| start(objects, binary, mounts.path()));
        tokio::task::block_in_place(|| migrate(objects, mounts.path()));
        for process in &mut processes {
            process.ready().await;
            probes_answer(objects, process).await;
        }
        for worker in &processes[..2] {
            figures_are_shown(worker).await;
        }
        let api = Api::new(processes[2].url.as_deref().unwrap());
        let phone = new_phone();
        let request = api.signup(&phone, "Ada", "Lovelace").await.expect(202).text("request_id");
        let code = api.code(&phone, 1).await;
        let login = api.login_for(&phone, &code, &request).await.expect(200);
        api.me(&login.text("access")).await.expect(200);
        keda_only_asks(mounts.path()).await;
        for process in &mut processes {
            let status = process.server.terminate(STOP_LIMIT).await;
            let log = process.server.output();
            assert!(status.success(), "{}: {status}\n{log}", process.binary.name());
            assert!(!log.contains("everybody on this machine"), "{log}");
        }
    }
}
