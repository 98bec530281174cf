//! Our own program in its roles as processes, each with its own folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::folder::free_port;
use crate::guard::Ending;
use crate::http;
use crate::server::{Launch, Server};
use crate::stalls;

/// For a debug build on a busy machine; an idle one needs a second.
const START_LIMIT: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Latchkey,
    Gateway,
    OtpWorker,
    SmsWorker,
}

impl Binary {
    pub fn name(self) -> &'static str {
        match self {
            Self::Latchkey => "latchkey",
            Self::Gateway => "gateway",
            Self::OtpWorker => "otp-worker",
            Self::SmsWorker => "sms-worker",
        }
    }

    pub fn path(self) -> PathBuf {
        program("latchkey")
    }

    /// The command that makes `latchkey` this one.
    fn role(self) -> Option<&'static str> {
        (self != Self::Latchkey).then(|| self.name())
    }

    /// The program that this one is, and its arguments.
    fn of(self, programs: &Programs) -> (PathBuf, Vec<String>) {
        match programs {
            Programs::InRoles => {
                (self.path(), self.role().map(str::to_owned).into_iter().collect())
            }
            Programs::Own(folder) => (folder.join(self.name()), Vec::new()),
        }
    }

    fn listens(self) -> bool {
        matches!(self, Self::Latchkey | Self::Gateway)
    }
}

/// Which programs run the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Programs {
    /// `latchkey` in its roles, as in the image; the one that was built with the caller.
    InRoles,
    /// The program of each service, in this folder: those of another version too.
    Own(PathBuf),
}

/// The path of one of our programs. Tests run from target/PROFILE/deps, the load generator from target/PROFILE; the
/// programs are in the latter.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program has a path");
    let folder = own.parent().expect("a program is in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not built: cargo build --workspace --all-targets",
        path.display()
    );
    path
}

/// One running service.
#[derive(Debug)]
pub struct Process {
    pub binary: Binary,
    pub server: Server,
    /// The public address; the workers have none.
    pub url: Option<String>,
    pub ops_url: String,
}

impl Process {
    /// Starts a service on free ports, with `home` as its home and `env` over the common environment. It is not ready
    /// yet: several can start side by side.
    pub fn start(binary: Binary, home: &Path, env: &BTreeMap<String, String>) -> Self {
        Self::start_of(&Programs::InRoles, binary, home, env)
    }

    /// Like [`Process::start`], with these programs.
    pub fn start_of(
        programs: &Programs,
        binary: Binary,
        home: &Path,
        env: &BTreeMap<String, String>,
    ) -> Self {
        let (program, args) = binary.of(programs);
        Self::launch(binary, program, args, home, env)
    }

    /// Like [`Process::start`], for a process that may have this many files and sockets open and cannot raise that.
    pub fn start_with_open_files(
        binary: Binary,
        home: &Path,
        env: &BTreeMap<String, String>,
        open_files: u32,
    ) -> Self {
        let limited = format!("ulimit -n {open_files} && exec \"$0\" \"$@\"");
        let program = binary.path().display().to_string();
        let args = ["-c".to_owned(), limited, program].into_iter();
        let args = args.chain(binary.role().map(str::to_owned)).collect();
        Self::launch(binary, "/bin/sh".into(), args, home, env)
    }

    fn launch(
        binary: Binary,
        program: PathBuf,
        args: Vec<String>,
        home: &Path,
        env: &BTreeMap<String, String>,
    ) -> Self {
        let (port, ops_port) = (free_port(), free_port());
        let url = binary.listens().then(|| format!("http://127.0.0.1:{port}"));
        let mut all = BTreeMap::from([
            ("LATCHKEY_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
            ("LATCHKEY_OPS_LISTEN".to_owned(), format!("127.0.0.1:{ops_port}")),
        ]);
        all.extend(surroundings(home));
        all.extend(env.clone());
        let mut server = Server::new(Launch {
            program,
            args,
            env: all,
            folder: home.to_owned(),
            log: home.join(format!("{}-{ops_port}.log", binary.name())),
            owner: None,
            ending: Ending::Kill,
        });
        server.spawn();
        Self { binary, server, url, ops_url: format!("http://127.0.0.1:{ops_port}") }
    }

    /// Waits until `/readyz` is ok; fails with the end of the log if the process ends first.
    pub async fn ready(&mut self) {
        let url = format!("{}/readyz", self.ops_url);
        self.server.ready(START_LIMIT, async || http::status_of(&url).await == Some(200)).await;
    }

    /// Kills it, restarts it on the same ports and folder, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.server.kill9().await;
        self.server.spawn();
        self.ready().await;
    }
}

/// Runs an operator command to its end and returns its standard output; fails if the command fails.
pub fn run(binary: Binary, args: &[&str], home: &Path, env: &BTreeMap<String, String>) -> String {
    run_of(&Programs::InRoles, binary, args, home, env)
}

/// Like [`run`], with these programs. A command that finds an engine away beside a pause of the machine is repeated, as
/// its user would.
pub fn run_of(
    programs: &Programs,
    binary: Binary,
    args: &[&str],
    home: &Path,
    env: &BTreeMap<String, String>,
) -> String {
    let (program, role) = binary.of(programs);
    let command = || {
        let output = std::process::Command::new(&program)
            .args(&role)
            .args(args)
            .current_dir(home)
            .env_clear()
            .envs(surroundings(home))
            .envs(env)
            .output();
        let output = output.expect("run our command");
        let [printed, complaint] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let failed = format!("{} {args:?}: {}\n{printed}{complaint}", binary.name(), output.status);
        if output.status.success() { Ok(printed) } else { Err(failed) }
    };
    stalls::steady_command(command).unwrap_or_else(|failed| panic!("{failed}"))
}

/// The environment of a process: nothing from the machine that could change a test's outcome.
fn surroundings(home: &Path) -> BTreeMap<String, String> {
    let home = home.display().to_string();
    [
        ("HOME", home.clone()),
        ("XDG_DATA_HOME", format!("{home}/xdg")),
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        // Whom the audit names for an operator's command.
        ("USER", "operator".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
