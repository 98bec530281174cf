//! The units for systemd: what they name exists, each has its own secrets alone, and none lost a safeguard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use config::{Config, Role};

use super::secrets::{made, settings};
use super::tools::DEPLOY;
use crate::openapi::python::said;
use testkit::folder::Folder;
use testkit::process::{Binary, program};

const UNITS: [&str; 4] = ["gateway", "otp-worker", "sms-worker", "migrate"];

/// Where the page says that the secrets are.
const SECRETS: &str = "/etc/latchkey/secrets";

/// What keeps a unit from the machine that it runs on.
const SAFEGUARDS: [&str; 28] = [
    "DynamicUser=yes",
    "UMask=0077",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "IPAddressDeny=link-local multicast",
    "EnvironmentFile=/etc/latchkey/latchkey.env",
];

fn deployed(file: &str) -> String {
    let path = format!("{DEPLOY}/systemd/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn unit(name: &str) -> String {
    deployed(&format!("latchkey-{name}.service"))
}

/// The values of a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The credentials of a unit: the file of each.
fn credentials(unit: &str) -> BTreeMap<&str, &str> {
    let pairs = values(unit, "LoadCredential").into_iter();
    pairs.map(|pair| pair.split_once(':').expect("a name and a file")).collect()
}

/// What is wrong with a unit, a line each.
fn faults(name: &str, unit: &str) -> Vec<String> {
    let mut faults: Vec<String> = SAFEGUARDS
        .iter()
        .filter(|safeguard| !unit.lines().any(|line| line == **safeguard))
        .map(|safeguard| format!("{safeguard} is missing"))
        .collect();
    let mut require = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    if name != "migrate" {
        require(values(unit, "Restart") == ["on-failure"], "it is not started again");
        require(values(unit, "StartLimitIntervalSec") == ["0"], "systemd gives it up");
        let stop = values(unit, "TimeoutStopSec").first().and_then(|secs| secs.parse().ok());
        require(stop.is_some_and(|secs: u64| secs > 25), "it is killed while it drains (P12)");
        require(!values(unit, "LimitNOFILE").is_empty(), "its open files have no bound");
    }
    require(!values(unit, "MemoryMax").is_empty(), "its memory has no bound");
    let known = settings();
    let credentials = credentials(unit);
    let mut used = BTreeSet::new();
    for variable in values(unit, "Environment") {
        let (variable, value) = variable.split_once('=').expect("a variable");
        if let Some(secret) = variable.strip_suffix("_FILE") {
            require(known.get(secret) == Some(&true), &format!("there is no secret {secret}"));
            let own = value.strip_prefix("%d/") == Some(secret);
            require(own && credentials.contains_key(secret), &format!("{variable} leads nowhere"));
            used.insert(secret);
        } else if !variable.starts_with("PG") {
            require(known.get(variable) == Some(&false), &format!("{variable} is no setting"));
        }
    }
    for (credential, file) in credentials {
        let of = |service: &str| file.starts_with(&format!("{SECRETS}/latchkey-{service}/"));
        let borrowed = name == "migrate" && credential != "DATABASE_URL" && of("otp-worker");
        require(of(name) || borrowed, &format!("{file} is another's"));
        let is_used = used.contains(credential) || name == "migrate";
        require(is_used, &format!("{credential} is not used"));
    }
    faults
}

#[test]
fn f25_each_unit_has_its_own_secrets_and_every_safeguard() {
    for name in UNITS {
        let unit = unit(name);
        assert_eq!(faults(name, &unit), Vec::<String>::new(), "{name}");
        let service = ["Restart=", "StartLimit", "TimeoutStopSec=", "LimitNOFILE=", "MemoryMax="];
        let kept = unit.lines().filter(|line| {
            SAFEGUARDS.contains(line) || service.iter().any(|key| line.starts_with(key))
        });
        let mut tried = 0;
        for line in kept {
            let less = unit.replace(&format!("{line}\n"), "");
            assert!(!faults(name, &less).is_empty(), "nobody misses {line} in {name}");
            tried += 1;
        }
        assert!(tried > SAFEGUARDS.len(), "{name}: {tried}");
        let other = unit.replace("latchkey-otp-worker/LATCH", "latchkey-gateway/LATCH");
        let other = other.replace("latchkey-sms-worker/LATCH", "latchkey-gateway/LATCH");
        assert!(name == "gateway" || !faults(name, &other).is_empty(), "{name} has other keys");
    }
}

#[test]
fn what_the_units_name_exists() {
    let secrets = Folder::new("unit-secrets");
    made(secrets.path(), &[]);
    let settings = deployed("latchkey.env");
    let settings = settings.lines().filter(|line| !line.starts_with('#'));
    let settings: BTreeMap<String, String> = settings
        .map(|line| line.split_once('=').expect("a setting"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for name in UNITS {
        let unit = unit(name);
        for file in credentials(&unit).values() {
            let file =
                secrets.path().join(file.strip_prefix(SECRETS).unwrap().trim_start_matches('/'));
            assert!(file.is_file(), "{name}: the script makes no {}", file.display());
        }
        let first = values(&unit, "ExecStart")[0];
        let arguments = first.strip_prefix("/usr/local/bin/latchkey ").expect("our program");
        let output =
            Command::new(program(Binary::Latchkey.name())).args([arguments, "--help"]).output();
        assert!(output.unwrap().status.success(), "{first}");

        // The product takes what the unit gives it.
        let role = match name {
            "gateway" => Role::Gateway,
            "sms-worker" => Role::SmsWorker,
            _ => Role::OtpWorker,
        };
        let mut variables = settings.clone();
        let twilio = deployed("twilio.conf");
        let drop_in = matches!(name, "gateway" | "sms-worker").then_some(twilio.as_str());
        let token = secrets.join("TWILIO_AUTH_TOKEN");
        fs::copy(secrets.join("keep").join("LATCHKEY_INBOX_TOKEN"), &token).unwrap();
        for part in [Some(unit.as_str()), drop_in].into_iter().flatten() {
            let files = credentials(part);
            for variable in values(part, "Environment") {
                let (variable, value) = variable.split_once('=').unwrap();
                let value = value.strip_prefix("%d/").map_or(value, |credential| files[credential]);
                let value = value.replace(SECRETS, &secrets.path().display().to_string());
                variables.insert(variable.to_owned(), value);
            }
        }
        Config::from_map(role, &variables).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let migrate = unit("migrate");
    assert!(migrate.contains("-f /usr/share/latchkey/postgres/roles.sql'"));
    assert!(Path::new(&format!("{DEPLOY}/postgres/roles.sql")).is_file());
    let target = deployed("latchkey.target");
    for name in UNITS.iter().filter(|name| **name != "migrate") {
        assert!(target.contains(&format!("latchkey-{name}.service")), "{name}");
    }
}

/// Where systemd is installed, it judges the units itself.
#[test]
fn systemd_takes_the_units() {
    let analyze = Path::new("/usr/bin/systemd-analyze");
    if !analyze.exists() {
        eprintln!("systemd-analyze is not installed: the units are judged by our rules alone");
        return;
    }
    let folder = Folder::new("units");
    let own = program(Binary::Latchkey.name()).display().to_string();
    let mut units = Vec::new();
    for name in UNITS {
        let path = folder.join(&format!("latchkey-{name}.service"));
        fs::write(&path, unit(name).replace("/usr/local/bin/latchkey", &own)).unwrap();
        units.push(path);
    }
    let target = folder.join("latchkey.target");
    fs::write(&target, deployed("latchkey.target")).unwrap();
    let verified =
        Command::new(analyze).args(["verify", "--man=no"]).args(&units).arg(target).output();
    let verified = verified.expect("run systemd-analyze");
    assert!(verified.status.success() && said(&verified).trim().is_empty(), "{}", said(&verified));
    for unit in units {
        // 2.0 of 10: as little as a service that serves a network can have.
        let judged = Command::new(analyze)
            .args(["security", "--offline=true", "--threshold=20"])
            .arg(&unit)
            .output();
        let judged = judged.expect("run systemd-analyze");
        assert!(judged.status.success(), "{}", said(&judged));
    }
}
