//! `deploy/release`, in a repository of the test's own, with a program that is given instead of built.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::folder::Folder;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Files of the project that the script reads or packs.
const FILES: [&str; 7] = [
    ".gitignore",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "Cargo.toml",
    "Dockerfile",
];
const CHANGELOG: &str = "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [9.8.7] - 2026-12-01\n\n### Added\n\n- a thing\n";

/// A clean repository with the script, of version 9.8.7.
struct Repository {
    folder: Folder,
    /// What may be run: without Docker, wherever the machine has it.
    path: PathBuf,
}

impl Repository {
    fn new() -> Self {
        let folder = Folder::new("release");
        let root = folder.join("sources");
        fs::create_dir(&root).unwrap();
        for file in FILES {
            fs::copy(Path::new(ROOT).join(file), root.join(file)).unwrap();
        }
        for part in ["deploy", "docs"] {
            copy(&Path::new(ROOT).join(part), &root.join(part));
        }
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let before = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        fs::write(root.join("Cargo.toml"), manifest.replacen(&before, "version = \"9.8.7\"", 1))
            .unwrap();
        fs::write(root.join("CHANGELOG.md"), CHANGELOG).unwrap();
        let path = folder.join("bin");
        fs::create_dir(&path).unwrap();
        for program in ["git", "python3", "sha256sum", "tar", "gzip", "sh"] {
            symlink(Path::new("/usr/bin").join(program), path.join(program)).unwrap();
        }
        let repository = Self { folder, path };
        repository.git(&["init", "--quiet"]);
        repository.commit();
        repository
    }

    fn root(&self) -> PathBuf {
        self.folder.join("sources")
    }

    fn git(&self, args: &[&str]) {
        let as_somebody = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        let done = self.run("git", &[&as_somebody[..], args].concat());
        assert!(done.status.success(), "{args:?}: {done:?}");
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "a release"]);
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(self.path.join(program));
        command.args(args).current_dir(self.root()).env_clear();
        command.env("PATH", &self.path).env("HOME", self.folder.path()).env("LANG", "C.UTF-8");
        command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
    }

    /// Runs the script; returns whether it succeeded, and all that it said.
    fn release(&self, more: &[&str]) -> (bool, String) {
        let script = self.root().join("deploy/release").display().to_string();
        let done = self.run("python3", &[&[script.as_str()], more].concat());
        let said =
            [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (done.status.success(), said.concat())
    }

    /// A program that says that it is this version, and a bill of materials: the options to take them.
    fn given(&self, version: &str) -> [String; 2] {
        let programs = self.folder.join("programs");
        fs::create_dir_all(&programs).unwrap();
        let program = programs.join("latchkey");
        fs::write(&program, format!("#!/bin/sh\necho latchkey {version}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let bill = self.folder.join("bill.json");
        fs::write(&bill, "{}\n").unwrap();
        [format!("--programs={}", programs.display()), format!("--sbom={}", bill.display())]
    }

    fn out(&self) -> PathBuf {
        self.root().join("target/release-9.8.7")
    }

    /// The archive's name and bytes.
    fn archive(&self) -> (String, Vec<u8>) {
        let names = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut archives = names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| name.ends_with(".tar.gz"));
        let name = archives.next().expect("an archive");
        assert_eq!(archives.next(), None, "one archive");
        let bytes = fs::read(self.out().join(&name)).unwrap();
        (name, bytes)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[test]
fn a_release_has_what_an_operator_needs_and_the_same_bytes_each_time() {
    let repository = Repository::new();
    let [programs, bill] = repository.given("9.8.7");
    let make = ["--no-image", &programs, &bill];
    let (made, said) = repository.release(&make);
    assert!(made, "{said}");
    let (name, first) = repository.archive();
    assert!(name.starts_with("latchkey-9.8.7-"), "{name}");

    let out = repository.out();
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    for file in [&name, "NOTES.md", "latchkey-9.8.7.cdx.json"] {
        assert!(sums.contains(&format!("  {file}\n")), "{file} in {sums}");
    }
    let check = format!("cd '{}' && sha256sum --check --strict SHA256SUMS", out.display());
    assert!(repository.run("sh", &["-c", &check]).status.success(), "{sums}");
    let notes = fs::read_to_string(out.join("NOTES.md")).unwrap();
    assert!(notes.contains("- a thing") && !notes.contains("later"), "{notes}");
    let archive = out.join(&name).display().to_string();
    let listed = repository.run("tar", &["--list", "--verbose", "--file", &archive]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    for line in [
        "LICENSE",
        "README.md",
        "latchkey",
        "deploy/systemd/latchkey-gateway.service",
        "deploy/postgres/roles.sql",
        "docs/upgrading.md",
    ] {
        assert!(listed.contains(&format!(" latchkey-9.8.7/{line}\n")), "{line} in {listed}");
    }
    assert!(listed.contains("latchkey-9.8.7/gateway -> latchkey\n"), "{listed}");
    assert!(listed.lines().all(|line| line.contains("root/root")), "{listed}");

    let (again, said) = repository.release(&make);
    assert!(!again && said.contains("is there already"), "{said}");
    fs::remove_dir_all(&out).unwrap();
    assert!(repository.release(&make).0);
    assert!(repository.archive().1 == first, "the archive differs from the one before");
}

#[test]
fn a_release_that_would_not_be_what_it_says_is_refused() {
    let repository = Repository::new();
    let [programs, bill] = repository.given("9.8.7");
    let refused = |more: &[&str]| {
        let (made, said) = repository.release(more);
        assert!(!made && !repository.out().exists(), "{said}");
        said
    };
    let make = ["--no-image", &programs, &bill];
    let (fits, said) = repository.release(&["--no-image", "--dry-run"]);
    assert!(fits && said.contains("SHA256SUMS"), "{said}");
    assert!(!repository.root().join("target").exists(), "a dry run wrote something");

    let said = refused(&[&programs, &bill]);
    assert!(said.contains("Docker is not here") && said.contains("--no-image"), "{said}");
    fs::write(repository.root().join("left-over"), "x").unwrap();
    let said = refused(&make);
    assert!(said.contains("not clean") && said.contains("left-over"), "{said}");
    fs::remove_file(repository.root().join("left-over")).unwrap();

    repository.given("9.8.6");
    let said = refused(&make);
    assert!(said.contains("latchkey 9.8.6, and the release is 9.8.7"), "{said}");
    repository.given("9.8.7");

    for (changelog, why) in [
        (
            "# Changelog\n\n## [Unreleased]\n\n- a thing\n",
            "has no section for 9.8.7; it has: [Unreleased]",
        ),
        (
            "# Changelog\n\n## [9.8.7] - 2026-12-01\n\n## [9.8.6] - 2026-11-01\n\n- old\n",
            "is empty",
        ),
    ] {
        fs::write(repository.root().join("CHANGELOG.md"), changelog).unwrap();
        repository.commit();
        let said = refused(&make);
        assert!(said.contains(why), "{said}");
    }
}
