//! The commands of docs/restore.md, read out of the page and run as they stand there.

use std::collections::BTreeMap;
use std::path::Path;

use crate::pages;
use testkit::process::program;
use testkit::server::find_program;
use testkit::system::System;

/// The blocks for a shell, in their order. A new one fails until it stands here.
const BLOCKS: [&str; 7] = [
    "pg_dump --format=custom",
    "psql \"$SERVER_URL\"",
    "LAST=$(psql",
    "latchkey migrate",
    "redis-cli -u \"$REDIS_URL\" --scan",
    "psql \"$DATABASE_URL\" --set ON_ERROR_STOP=1 --single-transaction",
    "while read -r ID",
];

fn block(begins: &str) -> String {
    let blocks = pages::blocks(&pages::text("docs/restore.md"));
    let blocks: Vec<_> = blocks.into_iter().filter(|block| block.info == "sh").collect();
    assert_eq!(blocks.len(), BLOCKS.len(), "each block of the page is run");
    for (block, known) in blocks.iter().zip(BLOCKS) {
        assert!(block.text.starts_with(known), "{known}: {}", block.text);
    }
    let found = blocks.into_iter().find(|block| block.text.starts_with(begins));
    found.unwrap_or_else(|| panic!("no block begins with {begins}")).text
}

/// Runs the page's block that begins so, in this folder and with these variables, from the folder of the sources as far as
/// files of `deploy/` go.
async fn pasted(begins: &str, folder: &Path, env: &BTreeMap<String, String>) -> String {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/");
    let script = block(begins).replace(" deploy/", &format!(" {sources}"));
    let latchkey = program("latchkey");
    let psql = find_program("psql", &["/usr/lib/postgresql"], "postgresql-client");
    let folders =
        [&latchkey, &psql].map(|path| path.parent().expect("a folder").display().to_string());
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(folder).env_clear().envs(env);
    bash.env("PATH", format!("{}:/usr/bin:/bin", folders.join(":"))).env("LANG", "C.UTF-8");
    // `redis-cli` takes no empty name for the default login.
    bash.env("REDIS_URL", env["REDIS_URL"].replace("redis://:", "redis://default:"));
    bash.env("HOME", folder).env("USER", "operator");
    let output = bash.output().await.expect("start bash");
    let [printed, complaint] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{script}\n{printed}\n{complaint}");
    printed
}

/// Step 4 of the page.
pub(super) async fn remove_live_codes(system: &System) {
    let removed = pasted(BLOCKS[4], Path::new("/tmp"), &system.env).await;
    assert!(removed.trim().parse::<u32>().is_ok_and(|count| count > 0), "{removed}");
}

mod on_the_engines {
    use reqwest::Method;

    use super::super::super::forgets::on_the_engines::{connect, restore, snapshot};
    use super::super::super::provider::Provider;
    use super::super::{Person, count, fresh_code, settings, use_code};
    use super::{BLOCKS, pasted};
    use crate::journeys::TWICE;
    use testkit::engines::{EngineSet, Engines};
    use testkit::folder::Folder;
    use testkit::http::new_phone;
    use testkit::launch::Keeps;
    use testkit::postgres::{self, Postgres};
    use testkit::system::{STOP_LIMIT, System};

    /// Engines with a database of the page's name, on a server of its own: the page makes logins, which belong to a server.
    async fn as_on_the_page() -> (Postgres, EngineSet) {
        let server = Postgres::start(Keeps::Everything).await;
        let mut owner = postgres::connect(&server.url("postgres")).await.unwrap();
        sqlx::query("CREATE DATABASE latchkey").execute(&mut owner).await.unwrap();
        let mut set = Engines::shared().fresh().await;
        set.database_url = server.url("latchkey");
        (server, set)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn p3_p9_the_pages_commands_restore_a_database_and_leave_nothing_that_works_again() {
        testkit::stalls::steady(restored_by_the_page).await;
    }

    async fn restored_by_the_page() {
        let provider = Provider::start().await;
        let (server, set) = as_on_the_page().await;
        let mut system = System::apart(set.clone(), TWICE, &settings(&provider)).await;
        let mut env = system.env.clone();
        env.insert("SERVER_URL".into(), server.url("postgres"));
        for service in ["GATEWAY", "OTP_WORKER", "SMS_WORKER"] {
            env.insert(format!("POSTGRES_{service}_PASSWORD"), format!("of-the-{service}"));
        }
        let folder = Folder::new("restore");
        let here = folder.path();
        let (one, other) = (system.api_of(0), system.api_of(1));

        let copied = Person::new(&one, &provider).await;
        let ended = Person::new(&one, &provider).await;
        let deleted = Person::new(&one, &provider).await;
        let used = new_phone();
        let at_used = fresh_code(&one, &provider, &used).await;
        let mut redis = connect(&system).await;
        let kept = snapshot(&mut redis).await;
        pasted(BLOCKS[0], here, &env).await;

        other.refresh(copied.refresh()).await.expect(200);
        other.blacklist(ended.refresh()).await.expect(200);
        other.signed_in(Method::DELETE, "/v1/me", deleted.access(), None).await.expect(204);
        use_code(&one, &used, &at_used).await;
        for process in &mut system.processes {
            let status = process.server.terminate(STOP_LIMIT).await;
            assert!(status.success(), "{status}");
        }
        // Redis went back as well: the worst that the page provides for.
        restore(&mut redis, &kept).await;
        for begins in &BLOCKS[1..6] {
            pasted(begins, here, &env).await;
        }
        let former = server.url("latchkey_before");
        assert_eq!(count(&former, "SELECT count(*) FROM users").await, 3, "it is kept as it was");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("deleted-since-the-dump.txt").trim(), deleted.id().as_str().unwrap());
        assert!(
            read("since-the-dump.csv").contains(",user_deleted,"),
            "{}",
            read("since-the-dump.csv")
        );
        for process in &mut system.processes {
            process.server.spawn();
        }
        for process in &mut system.processes {
            process.ready().await;
        }
        pasted(BLOCKS[6], here, &env).await;

        one.login(&used, &at_used).await.problem(401, "otp_incorrect");
        for person in [&copied, &ended, &deleted] {
            other.refresh(person.refresh()).await.problem(401, "session_revoked");
            other.me(person.access()).await.problem(401, "session_revoked");
        }
        assert_eq!(Person::at(&one, &provider, &copied.phone).await.id(), copied.id());
        assert_ne!(Person::at(&one, &provider, &deleted.phone).await.id(), deleted.id());
        assert_eq!(count(&set.database_url, "SELECT count(*) FROM used_codes").await, 5);
        system.stop().await;
    }
}
