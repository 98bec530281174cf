//! Folders and ports that belong to one server or one process of a test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::{collections::BTreeSet, fs};

use super::guard;

/// An own temporary folder, removed on drop, or by the watchdog when the run is killed.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // In a container a process id may come again and meet its predecessor's folder: hence the salt.
        let salt = domain::rng::below(u64::MAX);
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
        // Best effort: the watchdog removes it a second time.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port of 10000 to 32000 that nobody listens on and that this run has not given out yet. Above lies the ephemeral
/// range, where an outgoing connection may take it between this look and the server's start.
pub fn free_port() -> u16 {
    static GIVEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);
    for _ in 0..10_000 {
        let port = 10_000 + u16::try_from(domain::rng::below(22_000)).expect("below 22,000");
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
fn a_folder_goes_with_its_owner() {
    let folder = Folder::new("gone");
    let path = folder.path().to_owned();
    fs::write(folder.join("file"), "x").unwrap();
    drop(folder);
    assert!(!path.exists());
}
