//! The commands of the README and of the first hour, read out of the pages and run as they stand there.
//!
//! Two things are put in the place of what stands there: the server's address, because other tests run beside this one,
//! and `cargo run`, because the program is built already.

mod judged;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::time::Duration;

use futures::FutureExt as _;

use self::judged::{Judged, PAGES};
use crate::pages::{self, Block};
use testkit::folder::{Folder, free_port};
use testkit::process::{Binary, Process, program};
use testkit::system::STOP_LIMIT;

/// The address that the pages name.
const ADDRESS: &str = "http://127.0.0.1:8080";
/// That of the admin API.
const ADMIN_ADDRESS: &str = "127.0.0.1:8082";
/// Ends a command that would hang; no measure of speed.
const LIMIT: Duration = Duration::from_mins(5);

/// A reader of a page: a folder, a server that was started in it, and the commands since then.
struct Reader {
    home: Folder,
    server: Option<Process>,
    /// The blocks since the start, for one shell that keeps its variables.
    pasted: Vec<(Block, &'static [&'static str])>,
    /// The functions of the shell, as they were before a restart.
    shell: String,
    /// Where the admin API listens here, instead of the address that a page names.
    admin: String,
}

impl Reader {
    fn new() -> Self {
        Self {
            home: Folder::new("reader"),
            server: None,
            pasted: Vec::new(),
            shell: String::new(),
            admin: format!("127.0.0.1:{}", free_port()),
        }
    }

    /// Starts the server with the settings before `cargo run`; the former one is stopped, as a reader does.
    async fn start(&mut self, command: &str) {
        self.run().await;
        if let Some(mut former) = self.server.take() {
            let status = former.server.terminate(STOP_LIMIT).await;
            assert!(status.success(), "{status}\n{}", former.server.output());
        }
        let settings =
            command.trim().strip_suffix("cargo run").expect("a start ends with `cargo run`");
        let mut env = BTreeMap::new();
        for setting in settings.split_whitespace() {
            let (name, value) =
                setting.split_once('=').expect("NAME=value stands before `cargo run`");
            env.insert(name.to_owned(), value.replace(ADMIN_ADDRESS, &self.admin));
        }
        let mut process = Process::start(Binary::Latchkey, self.home.path(), &env);
        process.ready().await;
        self.server = Some(process);
    }

    /// Runs what was pasted since the last start in one shell, and compares what each block printed.
    async fn run(&mut self) {
        let pasted = std::mem::take(&mut self.pasted);
        if pasted.is_empty() {
            return;
        }
        let server = self.server.as_ref().expect("a page starts the server first");
        let url = server.url.clone().expect("it has an address");
        // The reader's shell outlives the server, whose address is another one each time only here.
        let mut script = format!("API={url}\n{}", std::mem::take(&mut self.shell));
        for (index, (block, _)) in pasted.iter().enumerate() {
            let text = here(&block.text, &url).replace(ADMIN_ADDRESS, &self.admin);
            script = format!("{script}\nprintf '\\n@@ {index}\\n'\n{text}");
        }
        script.push_str("\nprintf '\\n@@ shell\\n'; declare -f");
        let (printed, complaint) = self.bash(script).await;
        let mut parts = printed.split("\n@@ ").skip(1);
        for (block, wanted) in &pasted {
            let said = parts.next().unwrap_or_default();
            for wanted in *wanted {
                assert!(
                    said.contains(wanted),
                    "{}: no {wanted} in {said}\n{complaint}",
                    block.text
                );
            }
            let may_refuse = wanted.iter().any(|wanted| wanted.contains("urn:latchkey:problem"));
            assert!(may_refuse || !said.contains("urn:latchkey:problem"), "{}: {said}", block.text);
        }
        let shell = parts.next().and_then(|part| part.strip_prefix("shell\n"));
        shell
            .unwrap_or_else(|| panic!("the shell stopped: {printed}\n{complaint}"))
            .clone_into(&mut self.shell);
    }

    async fn bash(&self, script: String) -> (String, String) {
        let latchkey = program("latchkey");
        let folder = latchkey.parent().expect("a program is in a folder").display().to_string();
        let home = self.home.path().to_owned();
        let limit = LIMIT.as_secs().to_string();
        let run = tokio::task::spawn_blocking(move || {
            let mut bash = Command::new("timeout");
            bash.args([&limit, "bash", "-e", "-c", &script]).current_dir(&home);
            bash.env_clear()
                .env("HOME", &home)
                .env("XDG_DATA_HOME", home.join("xdg"))
                .env("USER", "reader");
            bash.env("PATH", format!("{folder}:/usr/bin:/bin")).env("LANG", "C.UTF-8").output()
        });
        let output = run.await.expect("the shell's thread").expect("start bash");
        let [printed, complaint] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{}\n{printed}\n{complaint}", output.status);
        (printed, complaint)
    }
}

/// A block as this test can run it.
fn here(text: &str, url: &str) -> String {
    let text =
        text.replace(ADDRESS, url).replace("cargo run -q -- \"$@\"", "command latchkey \"$@\"");
    assert!(!text.contains("cargo"), "{text}");
    text
}

/// The blocks of a page that are meant for a shell.
fn of_the_shell(page: &str) -> Vec<Block> {
    let blocks = pages::blocks(&pages::text(page));
    blocks.into_iter().filter(|block| block.info == "sh").collect()
}

async fn reads(page: &str) {
    let (_, judged) = PAGES.iter().find(|(name, _)| *name == page).expect("a judged page");
    let blocks = of_the_shell(page);
    let firsts: Vec<_> =
        blocks.iter().map(|block| block.text.lines().next().unwrap_or_default().trim()).collect();
    let known: Vec<_> = judged.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, known, "{page}: each block is judged once, in its order");
    let mut reader = Reader::new();
    for (block, (_, judged)) in blocks.into_iter().zip(*judged) {
        match judged {
            Judged::Starts => reader.start(&block.text).await,
            Judged::Prints(wanted) => reader.pasted.push((block, wanted)),
            Judged::Elsewhere(why) => assert!(why.len() > 10, "{why}"),
        }
    }
    reader.run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readmes_commands_run_as_they_stand_there() {
    reads("README.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_hours_commands_run_as_they_stand_there() {
    reads("docs/first-hour.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_apis_commands_run_as_they_stand_there() {
    reads("docs/admin-api.md").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collections_commands_run_as_they_stand_there() {
    reads("docs/postman/README.md").await;
}

/// A refusal that no one expected, and a text that never comes, fail a page: its reader would be stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_wrong_fails() {
    let block =
        |text: &str| Block { heading: String::new(), info: "sh".to_owned(), text: text.to_owned() };
    for (text, wanted) in [
        ("curl -s http://127.0.0.1:8080/v1/me", &[][..]),
        ("curl -s http://127.0.0.1:8080/.well-known/jwks.json", &["no such words"]),
        ("no-such-command", &[]),
    ] {
        let mut reader = Reader::new();
        reader.start("cargo run").await;
        reader.pasted.push((block(text), wanted));
        let read = AssertUnwindSafe(reader.run()).catch_unwind().await;
        assert!(read.is_err(), "{text} passed");
    }
}
