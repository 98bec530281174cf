//! Folders and ports that belong to one server or process of a test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::{collections::BTreeSet, fs};

use crate::guard;

/// A temporary folder, removed on drop, or by the watchdog if the run is killed.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // In a container a process id may recur and collide with an old folder: hence the salt.
        let salt = domain::rng::spread_below(u64::MAX);
        let path = std::env::temp_dir()
            .join(format!("latchkey-test-{}-{salt:x}-{number}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("make a temporary folder");
        guard::watch_folder(&path);
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: the watchdog tries again.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a free port from 10000 to 32000 that this run has not used yet. The ephemeral range lies above; there, an
/// outgoing connection could take the port before the server starts.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);
    for _ in 0..10_000 {
        let port = 10_000 + u16::try_from(domain::rng::spread_below(22_000)).expect("below 22,000");
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free && GIVEN.lock().expect("no panic while held").insert(port) {
            return port;
        }
    }
    panic!("no free port between 10000 and 32000");
}

#[test]
fn a_port_is_given_out_once() {
    let ports: BTreeSet<u16> = (0..200).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 200);
    assert!(ports.iter().all(|port| (10_000..32_000).contains(port)));
}

#[test]
fn a_folder_is_removed_with_its_owner() {
    let folder = Folder::new("gone");
    let path = folder.path().to_owned();
    fs::write(folder.join("file"), "x").unwrap();
    drop(folder);
    assert!(!path.exists());
}
