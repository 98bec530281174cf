//! A private RabbitMQ node with its own epmd.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::folder::{Folder, free_port};
use crate::guard::Ending;
use crate::launch::{self, Keeps, Restart};
use crate::server::{Launch, Server, find_program};

/// The folder whose programs skip the wrapper that switches users.
const PROGRAMS: &[&str] = &["/usr/lib/rabbitmq"];
/// The settings of the broker that compose starts.
const DEPLOYED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/compose/rabbitmq.conf");
/// One call of `rabbitmqctl` costs 0.4 s and each vhost 0.02 s more, so one call makes this many.
const VHOSTS_AT_ONCE: u32 = 24;
/// In a node's home folder.
const COOKIE: &str = ".erlang.cookie";
/// How often each queue of the shared node counts its messages, for `rabbitmqctl list_queues` alone. A whole run leaves
/// thousands of queues behind; by the usual five seconds they took four tenths of a processor of two, at half of the run.
const SHARED_TICK_MS: u32 = 20_000;

#[derive(Debug)]
pub struct Rabbit {
    pub server: Server,
    port: u16,
    env: BTreeMap<String, String>,
    vhosts: Mutex<Vhosts>,
    /// Of the first node of a cluster, for all of them.
    _epmd: Option<Server>,
    folder: Folder,
}

#[derive(Debug, Default)]
struct Vhosts {
    given: u32,
    made: u32,
}

impl Rabbit {
    /// RabbitMQ keeps its queues on disk either way; what `keeps` changes is how often each queue is counted.
    pub async fn start(keeps: Keeps) -> Self {
        Self::launch(keeps, None).await
    }

    /// Starts a node and makes it a member of this one's cluster.
    pub async fn join(&self) -> Self {
        let node = Self::launch(Keeps::Everything, Some(self)).await;
        node.ctl(&["stop_app"]).await;
        node.ctl(&["join_cluster", &self.name()]).await;
        node.ctl(&["start_app"]).await;
        node
    }

    async fn launch(keeps: Keeps, peer: Option<&Self>) -> Self {
        let program = find_program("rabbitmq-server", PROGRAMS, "rabbitmq-server");
        let folder = Folder::new("rabbitmq");
        fs::write(folder.join("plugins"), "[].\n").expect("write the plugins' file");
        // Tests must publish on a small disk too; only a test that wants an alarm causes one.
        let settings = "loopback_users = none\ndisk_free_limit.absolute = 50MB\n\
                        cluster_partition_handling = pause_minority\n";
        // The bound on a message is the deployed one.
        let deployed = fs::read_to_string(DEPLOYED).expect("read the deployed settings");
        let bound = deployed.lines().filter(|line| line.starts_with("max_message_size"));
        let settings: String =
            settings.lines().chain(bound).flat_map(|line| [line, "\n"]).collect();
        fs::write(folder.join("rabbitmq.conf"), settings).expect("write rabbitmq.conf");
        // Only advanced.config takes this one.
        let ticks = match keeps {
            Keeps::Nothing => {
                format!("[{{rabbit, [{{quorum_tick_interval, {SHARED_TICK_MS}}}]}}].\n")
            }
            Keeps::AsInProduction | Keeps::Everything => "[].\n".to_owned(),
        };
        fs::write(folder.join("advanced.config"), ticks).expect("write advanced.config");
        let (epmd, epmd_port) = match peer {
            Some(peer) => (None, peer.env["ERL_EPMD_PORT"].parse().expect("a port")),
            None => {
                let (epmd, port) = start_epmd(&folder).await;
                (Some(epmd), port)
            }
        };
        if let Some(peer) = peer {
            // Nodes admit each other by this secret; the first one made it.
            let copied = fs::copy(peer.folder.join(COOKIE), folder.join(COOKIE));
            copied.expect("copy the cluster's cookie");
        }
        let launch = |port: u16| Launch {
            program: program.clone(),
            args: Vec::new(),
            env: environment(&folder, epmd_port, port),
            folder: folder.path().to_owned(),
            log: folder.join("log"),
            owner: None,
            ending: Ending::Kill,
        };
        let (server, port) = launch::start_on_a_free_port(launch, Self::answers).await;
        let env = server.env().clone();
        Self { server, port, env, vhosts: Mutex::default(), _epmd: epmd, folder }
    }

    /// Returns the URL of a vhost that no other test has.
    pub async fn vhost(&self) -> String {
        let mut vhosts = self.vhosts.lock().await;
        if vhosts.given == vhosts.made {
            self.make_vhosts(vhosts.made, vhosts.made + VHOSTS_AT_ONCE).await;
            vhosts.made += VHOSTS_AT_ONCE;
        }
        vhosts.given += 1;
        self.url(&format!("test_{}", vhosts.given - 1))
    }

    /// Returns its name in a cluster.
    pub fn name(&self) -> String {
        self.env["RABBITMQ_NODENAME"].clone()
    }

    /// Returns its port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of a vhost; the default one, `/`, is written `%2F`.
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Returns the folder of everything it wrote to disk, to search for what must not be there.
    pub fn data(&self) -> PathBuf {
        self.folder.join("mnesia")
    }

    async fn make_vhosts(&self, from: u32, to: u32) {
        let last = to - 1;
        self.eval(&format!(
            "[begin V = list_to_binary(\"test_\" ++ integer_to_list(N)), rabbit_vhost:add(V, <<\"tests\">>), \
             ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, \
             <<\"tests\">>) end || N <- lists:seq({from}, {last})], ok."
        ))
        .await;
    }

    /// Returns the node that leads a quorum queue, and how many nodes hold it.
    pub async fn leader_of(&self, queue: &str, vhost: &str) -> (String, usize) {
        let leader = "element(2, amqqueue:get_pid(Queue))";
        let members = "length(maps:get(nodes, amqqueue:get_type_state(Queue)))";
        let found = self.about(queue, vhost, "~s ~b", &[leader, members]).await;
        let [leader, members] = found.as_deref().expect("the queue") else { panic!("{found:?}") };
        (leader.clone(), members.parse().expect("a number"))
    }

    /// Counts the messages of a quorum queue: ready, and in hand; `None` before it is declared. Its leader answers: what
    /// `list_queues` prints is as old as the queue's last tick.
    pub async fn counts_of(&self, queue: &str, vhost: &str) -> Option<(u32, u32)> {
        // `{ok, {_, Count}, _}`
        let count = |query| {
            format!(
                "element(2, element(2, ra:leader_query(amqqueue:get_pid(Queue), fun rabbit_fifo:{query}/1)))"
            )
        };
        let (ready, in_hand) = (count("query_messages_ready"), count("query_messages_checked_out"));
        let found = self.about(queue, vhost, "~b ~b", &[&ready, &in_hand]).await?;
        let [ready, in_hand] = &*found else { panic!("{found:?}") };
        Some((ready.parse().expect("a number"), in_hand.parse().expect("a number")))
    }

    /// What these Erlang expressions say of `Queue`; `None` if there is none of that name.
    async fn about(
        &self,
        queue: &str,
        vhost: &str,
        format: &str,
        expressions: &[&str],
    ) -> Option<Vec<String>> {
        let said = expressions.join(", ");
        let printed = self
            .eval(&format!(
                "case rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{vhost}\">>, queue, <<\"{queue}\">>)) of \
                 {{ok, Queue}} -> lists:flatten(io_lib:format(\"{format}\", [{said}])); \
                 _ -> none end."
            ))
            .await;
        let said = printed.trim().strip_prefix('"')?.strip_suffix('"')?;
        Some(said.split(' ').map(str::to_owned).collect())
    }

    /// Runs an Erlang expression in the node.
    pub async fn eval(&self, expression: &str) -> String {
        self.ctl(&["eval", expression]).await
    }

    /// Runs `rabbitmqctl` against the node and returns its output.
    pub async fn ctl(&self, args: &[&str]) -> String {
        let program = find_program("rabbitmqctl", PROGRAMS, "rabbitmq-server");
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .envs(&self.env)
            .output()
            .await
            .expect("run rabbitmqctl");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {args:?}: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }
}

impl Restart for Rabbit {
    fn server(&mut self) -> (&mut Server, u16) {
        (&mut self.server, self.port)
    }

    async fn answers(port: u16) -> bool {
        // The listener opens last; the answer begins with a method frame, Connection.Start.
        launch::exchange(port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00").await
    }
}

async fn start_epmd(folder: &Folder) -> (Server, u16) {
    let program =
        find_program("epmd", &["/usr/lib/erlang"], "erlang-base, a dependency of rabbitmq-server");
    let launch = |port: u16| Launch {
        program: program.clone(),
        args: vec!["-port".into(), port.to_string(), "-address".into(), "127.0.0.1".into()],
        env: BTreeMap::new(),
        folder: folder.path().to_owned(),
        log: folder.join("epmd.log"),
        owner: None,
        ending: Ending::Kill,
    };
    launch::start_on_a_free_port(launch, async |port: u16| {
        // NAMES_REQ; the answer begins with the port in four bytes.
        launch::exchange(port, b"\x00\x01n", &u32::from(port).to_be_bytes()).await
    })
    .await
}

fn environment(folder: &Folder, epmd_port: u16, port: u16) -> BTreeMap<String, String> {
    let place = |name: &str| folder.join(name).display().to_string();
    let dist_port = free_port();
    [
        // The node's name holds the port: two nodes on one machine must not share a name.
        ("RABBITMQ_NODENAME", format!("latchkey{port}@localhost")),
        ("RABBITMQ_NODE_PORT", port.to_string()),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
        // The default is the port + 20000, in the ephemeral range.
        ("RABBITMQ_DIST_PORT", dist_port.to_string()),
        ("RABBITMQ_MNESIA_BASE", place("mnesia")),
        ("RABBITMQ_LOG_BASE", place("logs")),
        ("RABBITMQ_LOGS", "-".into()),
        ("RABBITMQ_CONFIG_FILE", place("rabbitmq.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", place("advanced.config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", place("plugins")),
        ("RABBITMQ_PID_FILE", place("pid")),
        // Ignores the machine's own broker configuration.
        ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
        ("ERL_EPMD_PORT", epmd_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("HOME", folder.path().display().to_string()),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("LANG", "C.UTF-8".into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
