//! One of our programs or an engine, running in its own process group until dropped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{eventually, in_time};
use crate::guard::{self, Ending};

/// How to start a program, the same way each time: program, arguments, environment, and where its output goes.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The working directory; output is appended to `log`.
    pub folder: PathBuf,
    pub log: PathBuf,
    /// User and group to run as; `None`: ours.
    pub owner: Option<(u32, u32)>,
    pub ending: Ending,
}

#[derive(Debug)]
pub struct Server {
    launch: Launch,
    child: Option<Child>,
}

/// Whether each server gets a session of its own.
static OWN_SESSIONS: AtomicBool = AtomicBool::new(false);

/// From now on, each server that starts gets a session of its own, as a service has under systemd. Linux divides processors
/// among sessions first (`sched_autogroup_enabled`), and each process of PostgreSQL makes a session for itself: if all
/// others shared one, a measurement on few processors would starve either side.
pub fn start_in_own_sessions() {
    OWN_SESSIONS.store(true, Ordering::Relaxed);
}

impl Server {
    pub fn new(launch: Launch) -> Self {
        Self { launch, child: None }
    }

    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} is running already", self.launch.program.display());
        let log =
            File::options().create(true).append(true).open(&self.launch.log).expect("open the log");
        let mut command = if OWN_SESSIONS.load(Ordering::Relaxed) {
            let mut command = Command::new("setsid");
            command.arg(&self.launch.program);
            command
        } else {
            let mut command = Command::new(&self.launch.program);
            command.process_group(0);
            command
        };
        command
            .args(&self.launch.args)
            .current_dir(&self.launch.folder)
            .env_clear()
            .envs(&self.launch.env);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("share the log")).stderr(log);
        if let Some((user, group)) = self.launch.owner {
            command.gid(group).uid(user);
        }
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}", self.launch.program.display()));
        guard::watch_group(child.id(), self.launch.ending);
        self.child = Some(child);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was spawned").id()
    }

    /// Returns all output since the first start.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.launch.log).unwrap_or_default()).into_owned()
    }

    pub fn log(&self) -> &Path {
        &self.launch.log
    }

    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.launch.env
    }

    /// Returns the status if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("query our own child");
        if status.is_some() {
            self.forget();
        }
        status
    }

    /// Waits for the probe; fails with the end of the log if the program ends first or `within` is over.
    pub async fn ready(&mut self, within: Duration, probe: impl AsyncFnMut() -> bool) {
        if let Err(why) = self.try_ready(within, probe).await {
            panic!("{why}");
        }
    }

    pub async fn try_ready(
        &mut self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> bool,
    ) -> Result<(), String> {
        let outcome = in_time(within, async || {
            if let Some(status) = self.ended() {
                return Some(Err(format!("ended at start with {status}")));
            }
            probe().await.then_some(Ok(()))
        })
        .await
        .unwrap_or_else(|| Err(format!("was not ready within {within:?}")));
        outcome.map_err(|why| format!("{} {why}:\n{}", self.launch.program.display(), self.tail()))
    }

    fn tail(&self) -> String {
        let output = self.output();
        let start = output.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
        output[start..].to_owned()
    }

    /// Sends SIGKILL to the process and its descendants at once; returns when all are gone.
    pub async fn kill9(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let all = tree(child.id());
        signal("KILL", &all);
        child.wait().expect("wait for our own child");
        guard::forget_group(child.id());
        eventually("the end of the killed processes", crate::PATIENCE, async || {
            all.iter().all(|pid| state(*pid).is_none()).then_some(())
        })
        .await;
    }

    /// Sends SIGTERM and returns the exit status; fails if the process has not ended `within`.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal("TERM");
        let status = in_time(within, async || self.ended()).await;
        status.unwrap_or_else(|| {
            panic!("did not stop within {within:?} of SIGTERM:\n{}", self.tail())
        })
    }

    pub fn signal(&self, name: &str) {
        signal(name, &[self.pid()]);
    }

    /// Sends SIGSTOP to the process and its descendants: connections stay open and nothing answers.
    pub async fn pause(&self) {
        let all = tree(self.pid());
        signal("STOP", &all);
        eventually("the processes to stop", crate::PATIENCE, async || {
            all.iter().all(|pid| matches!(state(*pid).as_deref(), None | Some("T"))).then_some(())
        })
        .await;
    }

    pub fn resume(&self) {
        signal("CONT", &tree(self.pid()));
    }

    /// Returns the resident memory in KiB of the process and its descendants.
    pub fn resident_kib(&self) -> u64 {
        tree(self.pid()).into_iter().filter_map(resident_kib).sum()
    }

    /// Returns the processor time in seconds of the process and its descendants, including ended ones that were waited
    /// for.
    pub fn cpu_secs(&self) -> f64 {
        tree(self.pid()).into_iter().filter_map(cpu_secs).sum()
    }

    fn forget(&mut self) {
        if let Some(child) = self.child.take() {
            guard::forget_group(child.id());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let all = tree(child.id());
        signal("CONT", &all);
        signal(self.launch.ending.signal(), &all[..1]);
        if self.launch.ending == Ending::Kill {
            signal("KILL", &all);
        }
        let _ = child.wait();
        guard::forget_group(child.id());
    }
}

/// Whether a status means death by SIGKILL.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

fn signal(name: &str, pids: &[u32]) {
    // Through the shell: Debian's minimal images have no kill program, and `unsafe` is forbidden.
    let script = "name=$1; shift; for pid; do kill -s \"$name\" \"$pid\" 2>/dev/null; done; :";
    let pids = pids.iter().map(u32::to_string);
    let status =
        Command::new("sh").args(["-c", script, "sh", name]).args(pids).status().expect("run sh");
    assert!(status.success(), "send SIG{name}");
}

/// Lists the process and its descendants, in any group or session, parents first.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").expect("read /proc").flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok())
        {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// Returns the state letter of a process that exists and is not a zombie.
fn state(pid: u32) -> Option<String> {
    stat(pid)?.into_iter().next().filter(|state| state != "Z")
}

/// Returns the fields of `/proc/PID/stat` after the name: state, parent, group, ...
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn resident_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Sums fields 14 to 17 of `/proc/PID/stat`: user and system time, its own and of the children it waited for. Linux
/// counts them in hundredths of a second on every machine that we build for.
fn cpu_secs(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    let ticks: u32 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u32>().ok()).sum();
    Some(f64::from(ticks) / 100.0)
}

/// Finds a program: on the usual paths, or in the newest of the `bin` folders under `roots`.
pub fn find_program(name: &str, roots: &[&str], package: &str) -> PathBuf {
    let usual =
        ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut versioned = Vec::new();
    for root in roots {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            versioned.push(entry.path().join("bin"));
        }
        versioned.push(Path::new(root).join("bin"));
    }
    versioned.sort_by_key(|path| std::cmp::Reverse(version(path)));
    let mut places = versioned.into_iter().chain(usual);
    places.find_map(|place| Some(place.join(name)).filter(|path| path.is_file())).unwrap_or_else(
        || {
            panic!(
                "{name} is not installed, and the engines' tests need it: \
             apt-get install rabbitmq-server redis-server postgresql ({name} is in {package})"
            )
        },
    )
}

/// Returns the number in a path such as `/usr/lib/postgresql/17/bin`.
fn version(path: &Path) -> u32 {
    path.iter().filter_map(|part| part.to_str()?.parse().ok()).next_back().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    fn shell(folder: &Folder, script: &str) -> Server {
        Server::new(Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            folder: folder.path().to_owned(),
            log: folder.join("log"),
            owner: None,
            ending: Ending::Kill,
        })
    }

    #[tokio::test]
    async fn kill9_ends_a_process_and_its_children() {
        let folder = Folder::new("kill");
        let mut server = shell(&folder, "setsid sleep 60 & echo up; wait");
        server.spawn();
        let log = server.log().to_owned();
        server
            .ready(crate::PATIENCE, async || fs::read_to_string(&log).unwrap().contains("up"))
            .await;
        let parent = server.pid();
        let all = eventually("the child", crate::PATIENCE, async || {
            Some(tree(parent)).filter(|all| all.len() == 2)
        })
        .await;
        server.pause().await;
        assert!(all.iter().all(|pid| state(*pid).as_deref() == Some("T")), "not all are stopped");
        server.resume();
        assert!(server.resident_kib() > 100);
        server.kill9().await;
        assert!(all.iter().all(|pid| state(*pid).is_none()));
        server.spawn();
        assert_ne!(server.pid(), parent, "it did not start again");
    }

    #[tokio::test]
    async fn the_processor_time_of_children_counts_before_and_after_they_end() {
        let folder = Folder::new("busy");
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        let mut server = shell(&folder, &format!("sh -c '{spin}'; echo done; exec sleep 60"));
        server.spawn();
        eventually("time spent by the child", crate::PATIENCE, async || {
            (server.cpu_secs() > 0.02).then_some(())
        })
        .await;
        eventually("the child's end", crate::PATIENCE, async || {
            server.output().contains("done").then_some(())
        })
        .await;
        assert!(server.cpu_secs() > 0.02, "{}", server.cpu_secs());
    }

    #[tokio::test]
    async fn the_status_and_output_of_an_ended_process_are_kept() {
        let folder = Folder::new("term");
        let mut server = shell(
            &folder,
            "trap 'echo bye >&2; exit 7' TERM; echo up; while :; do sleep 0.02; done",
        );
        server.spawn();
        let log = server.log().to_owned();
        server
            .ready(crate::PATIENCE, async || fs::read_to_string(&log).unwrap().contains("up"))
            .await;
        let status = server.terminate(crate::PATIENCE).await;
        assert_eq!(status.code(), Some(7));
        assert!(!was_killed(status));
        assert_eq!(server.output(), "up\nbye\n");
    }

    #[tokio::test]
    async fn an_exit_at_start_is_reported_with_its_output() {
        let folder = Folder::new("fails");
        let mut server = shell(&folder, "echo no such luck; exit 3");
        server.spawn();
        let why = server.try_ready(crate::PATIENCE, async || false).await.unwrap_err();
        assert!(why.contains("exit status: 3") && why.contains("no such luck"), "{why}");
    }

    #[test]
    #[should_panic(expected = "apt-get install rabbitmq-server redis-server postgresql")]
    fn a_missing_engine_fails_with_the_command_to_install_it() {
        find_program("no-such-engine", &["/nowhere"], "no-such-package");
    }

    #[test]
    fn the_watchdog_cleans_up_after_a_killed_run() {
        // The test cannot kill its own run, so it runs the watchdog's script as the guard does, with a pipe that ends.
        let folder =
            std::env::temp_dir().join(format!("latchkey-test-left-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut left = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let lines = format!(
            "group {} KILL\ngroup 999999 KILL\ngone 999999\nfolder {}\n",
            left.id(),
            folder.display()
        );
        guard::rehearse(&lines);
        assert!(was_killed(left.wait().unwrap()));
        assert!(!folder.exists());
    }
}
