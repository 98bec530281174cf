//! The watchdog: one small shell for the whole run that briefly outlives it.
//!
//! Statics are not dropped and a killed test drops nothing, so everything we start is reported to a shell that reads
//! our pipe. When the pipe ends, for any reason, it kills the remaining process groups and removes the remaining
//! folders.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const WATCHDOG: &str = r#"
groups=
without() { rest=; for entry in $groups; do [ "${entry%:*}" = "$1" ] || rest="$rest $entry"; done; groups=$rest; }
while read -r word value signal; do
  case $word in
    group) groups="$groups $value:$signal" ;;
    gone) without "$value" ;;
    folder) set -- "$@" "$value" ;;
  esac
done
for entry in $groups; do kill -s "${entry#*:}" -- "-${entry%:*}" 2>/dev/null; done
for wait in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  left=
  for entry in $groups; do kill -s 0 -- "-${entry%:*}" 2>/dev/null && left=yes; done
  [ -n "$left" ] || break
  sleep 0.1
done
for entry in $groups; do kill -s KILL -- "-${entry%:*}" 2>/dev/null; done
[ $# -eq 0 ] || rm -rf -- "$@" || { sleep 1; rm -rf -- "$@"; }
"#;

/// How a process group ends when the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Kill,
    /// PostgreSQL's immediate shutdown: as abrupt for its data, but it releases its shared memory.
    Quit,
}

impl Ending {
    pub fn signal(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Quit => "QUIT",
        }
    }
}

pub fn watch_group(group: u32, ending: Ending) {
    tell(&format!("group {group} {}", ending.signal()));
}

/// Forgets a reaped group: its number may be reused.
pub fn forget_group(group: u32) {
    tell(&format!("gone {group}"));
}

pub fn watch_folder(folder: &Path) {
    tell(&format!("folder {}", folder.display()));
}

fn tell(line: &str) {
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| Mutex::new(start()));
    let mut shell = shell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pipe = shell.stdin.as_mut().expect("its stdin is a pipe");
    writeln!(pipe, "{line}").expect("the watchdog reads while we run");
}

fn start() -> Child {
    Command::new("sh")
        .args(["-c", WATCHDOG])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Its own group: an interrupt of the tests at a terminal must not end the watchdog.
        .process_group(0)
        .spawn()
        .expect("start the watchdog")
}

/// Runs the watchdog over these lines and a pipe that ends, for its own test.
pub fn rehearse(lines: &str) {
    let mut shell =
        Command::new("sh").args(["-c", WATCHDOG]).stdin(Stdio::piped()).spawn().expect("start sh");
    shell
        .stdin
        .take()
        .expect("its stdin is a pipe")
        .write_all(lines.as_bytes())
        .expect("write to the watchdog");
    shell.wait().expect("wait for the watchdog");
}
