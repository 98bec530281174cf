//! Where and of what the figures are: without it they cannot be compared.

use std::fmt;
use std::fs;
use std::process::Command;

use domain::clock::Clock;

pub struct Machine {
    pub date: String,
    /// The commit of the sources, with `+` if they differ from it; of programs from elsewhere, their name.
    pub commit: String,
    /// The profile that this program was built in, by its folder.
    pub profile: String,
    pub cores: usize,
    pub model: String,
    /// The load average of the minute before the run: other work on the machine.
    pub load: f64,
}

impl Machine {
    /// `elsewhere`: what the programs are called if they are not those built with this one.
    pub fn look(elsewhere: Option<&str>) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: Clock::system().now().to_string(),
            commit: elsewhere.map_or_else(commit, str::to_owned),
            profile: folder().unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, commit, profile, cores, model, load } = self;
        writeln!(
            f,
            "{date}, {commit}, profile {profile}; {cores} cores, {model}, load before: {load}."
        )
    }
}

fn folder() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.file_name()?.to_string_lossy().into_owned())
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "unknown".to_owned();
    };
    // A figure of `bench/` itself is no change of what is measured.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench"]);
    if changed.is_some_and(|changed| changed.is_empty()) { commit } else { commit + "+" }
}
