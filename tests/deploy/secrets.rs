//! The variables and Secrets of the manifests: each variable exists, no secret is anything but a file, each service has
//! only the secrets that it needs (rulings 29 and 54), and the product takes what it is given.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use config::{Config, Role};
use serde_json::Value;

use super::manifests::{OVERLAYS, rendered};
use super::rules::{containers, list, name, of, text, workloads};
use super::tools::{DEPLOY, printed};
use testkit::folder::Folder;
use testkit::process::{Binary, program};

/// The secrets that each pod may have. The engines' URLs hold its own logins, and the keys are its own bundle.
const ALLOWED: [(&str, &[&str]); 4] = [
    ("gateway", &["TWILIO_AUTH_TOKEN", "LATCHKEY_TEST_NUMBERS", "LATCHKEY_INBOX_TOKEN"]),
    ("otp-worker", &["LATCHKEY_TEST_NUMBERS"]),
    ("sms-worker", &["TWILIO_AUTH_TOKEN", "TWILIO_API_SECRET", "LATCHKEY_HTTP_PROVIDER_SECRET"]),
    ("migrate", &[]),
];
const OF_ALL: [&str; 4] = ["DATABASE_URL", "REDIS_URL", "AMQP_URL", "LATCHKEY_SERVICE_KEYS"];

/// Makes the Secrets' files by the script that the page names; `more` are its variables.
pub(super) fn made(folder: &Path, more: &[(&str, &str)]) {
    let mut script = Command::new(format!("{DEPLOY}/make-secrets"));
    script.arg(folder).env("PROGRAM", program(Binary::Latchkey.name()));
    printed(script.envs(more.iter().copied()));
}

/// Where the product's settings are kept: each variable, and whether it is a secret.
pub(super) fn settings() -> BTreeMap<&'static str, bool> {
    let embedded = Config::from_map(Role::AllInOne, &BTreeMap::new()).expect("the default works");
    embedded.shown().into_iter().map(|setting| (setting.variable, setting.secret)).collect()
}

/// The Secret that a path of a container lies in, by its mounts.
pub(super) fn secret_of<'a>(workload: &'a Value, container: &Value, path: &str) -> &'a str {
    let mount = list(container, "/volumeMounts").find(|mount| {
        path.strip_prefix(text(mount, "/mountPath")).is_some_and(|rest| rest.starts_with('/'))
    });
    let volume = list(workload, "/spec/template/spec/volumes")
        .find(|volume| mount.is_some_and(|mount| mount["name"] == volume["name"]));
    volume.map_or("", |volume| text(volume, "/secret/secretName"))
}

fn component(workload: &Value) -> &str {
    text(workload, "/metadata/labels/app.kubernetes.io~1component")
}

/// What is wrong with the variables and the Secrets of an overlay.
pub(super) fn secrets(objects: &[Value]) -> Vec<String> {
    let known = settings();
    let mut faults = Vec::new();
    for map in of(objects, "ConfigMap").filter(|map| name(map).starts_with("latchkey-settings")) {
        for variable in map["data"].as_object().into_iter().flatten().map(|(name, _)| name) {
            if known.get(variable.as_str()) != Some(&false) {
                faults.push(format!("{variable} is no setting, or a secret in the open"));
            }
        }
    }
    for workload in workloads(objects) {
        let component = component(workload);
        let allowed = ALLOWED.iter().find(|(of, _)| *of == component).map_or(&[][..], |a| a.1);
        for container in containers(workload) {
            for variable in list(container, "/env") {
                let (variable, path) = (text(variable, "/name"), text(variable, "/value"));
                let Some(secret) = variable.strip_suffix("_FILE") else {
                    if known.contains_key(variable) || variable.starts_with("LATCHKEY_") {
                        faults.push(format!("{component}: {variable} is not a file"));
                    }
                    continue;
                };
                if !known.contains_key(secret) {
                    // The connection of psql.
                    if variable != "PGSERVICEFILE" {
                        faults.push(format!("{component}: there is no setting {secret}"));
                    }
                    continue;
                }
                if !allowed.contains(&secret) && !OF_ALL.contains(&secret) {
                    faults.push(format!("{component} does not need {secret}"));
                }
                if !path.ends_with(&format!("/{secret}")) {
                    faults.push(format!("{component}: {path} is not a file named {secret}"));
                }
                let from = secret_of(workload, container, path);
                let own = from == format!("latchkey-{component}");
                // The migration borrows what it does not use: the command wants all settings.
                let borrowed = component == "migrate"
                    && secret != "DATABASE_URL"
                    && from == "latchkey-otp-worker";
                if !own && !borrowed {
                    faults.push(format!("{component} has {secret} of `{from}`"));
                }
            }
        }
        for volume in list(workload, "/spec/template/spec/volumes") {
            let secret = text(volume, "/secret/secretName");
            let own = secret.is_empty()
                || secret == format!("latchkey-{component}")
                || (component, secret) == ("gateway", "latchkey-signing-keys")
                || (component, secret) == ("migrate", "latchkey-otp-worker");
            if !own {
                faults.push(format!("{component} mounts {secret}"));
            }
            if !secret.is_empty() && volume["secret"]["defaultMode"] != 0o440 {
                faults.push(format!("{component}: everybody in the pod may read {secret}"));
            }
        }
    }
    faults
}

#[test]
fn f25_no_secret_is_in_the_open_and_no_service_has_one_of_another() {
    for overlay in OVERLAYS {
        assert_eq!(secrets(rendered(overlay)), Vec::<String>::new(), "{overlay}");
    }
}

/// The environment of a container, with the files of the Secrets in `folder`, in place of the mounts.
pub(super) fn environment(
    objects: &[Value],
    workload: &Value,
    container: &Value,
    folder: &Path,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for source in list(container, "/envFrom") {
        let map = of(objects, "ConfigMap")
            .find(|map| name(map) == text(source, "/configMapRef/name"))
            .expect("a ConfigMap of that name");
        for (name, value) in map["data"].as_object().into_iter().flatten() {
            variables.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
        }
    }
    for variable in list(container, "/env") {
        variables.insert(text(variable, "/name").to_owned(), text(variable, "/value").to_owned());
    }
    for value in variables.values_mut() {
        *value = mounted(value, workload, container, folder);
    }
    variables
}

/// A text in which the paths of the container's mounts are those of the Secrets' folders.
pub(super) fn mounted(text_: &str, workload: &Value, container: &Value, folder: &Path) -> String {
    let mut text_ = text_.to_owned();
    for mount in list(container, "/volumeMounts") {
        let path = text(mount, "/mountPath");
        let secret = secret_of(workload, container, &format!("{path}/file"));
        if !secret.is_empty() {
            text_ = text_.replace(path, &folder.join(secret).display().to_string());
        }
    }
    text_
}

#[test]
fn each_service_takes_the_environment_of_its_manifest() {
    let folder = Folder::new("secrets");
    made(folder.path(), &[]);
    // As the page says: a copy of the inbox's token for a trial, and the token of Twilio, of 32 hexadecimal digits as well.
    let token = folder.join("keep").join("LATCHKEY_INBOX_TOKEN");
    for (secret, file) in [
        ("gateway", "TWILIO_AUTH_TOKEN"),
        ("sms-worker", "TWILIO_AUTH_TOKEN"),
        ("gateway", "LATCHKEY_INBOX_TOKEN"),
    ] {
        fs::copy(&token, folder.join(&format!("latchkey-{secret}")).join(file)).unwrap();
    }
    for overlay in OVERLAYS {
        let objects = rendered(overlay);
        let mut taken = BTreeSet::new();
        for workload in workloads(objects) {
            for container in containers(workload) {
                let role = match text(container, "/name") {
                    "gateway" => Role::Gateway,
                    "otp-worker" | "migrate" => Role::OtpWorker,
                    "sms-worker" => Role::SmsWorker,
                    _ => continue,
                };
                let variables = environment(objects, workload, container, folder.path());
                let config = Config::from_map(role, &variables)
                    .unwrap_or_else(|error| panic!("{overlay}, {}: {error}", name(workload)));
                let wanted = if overlay.ends_with("dev") { "development" } else { "production" };
                assert_eq!(config.environment.as_str(), wanted);
                let open: Vec<_> =
                    config.warnings().iter().filter(|w| w.text.contains("everybody")).collect();
                assert!(open.is_empty(), "{open:?}");
                taken.insert(text(container, "/name").to_owned());
            }
        }
        assert_eq!(taken.len(), 4, "{overlay}: {taken:?}");
    }
}

#[test]
fn the_script_of_the_secrets_keeps_what_is_there() {
    let folder = Folder::new("kept-secrets");
    made(folder.path(), &[]);
    let added = folder.join("latchkey-gateway").join("TWILIO_AUTH_TOKEN");
    fs::write(&added, "a token").unwrap();
    let contents = || {
        let mut all = BTreeMap::new();
        for secret in fs::read_dir(folder.path()).unwrap() {
            for file in fs::read_dir(secret.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                all.insert(path.clone(), fs::read(path).unwrap());
            }
        }
        all
    };
    let before = contents();
    assert!(before.len() > 30, "{}", before.len());
    made(folder.path(), &[]);
    assert!(contents() == before, "a second run changed a secret");
    // The master secret is in no Secret.
    let master = fs::read_to_string(folder.join("keep").join("LATCHKEY_SECRET")).unwrap();
    for (path, content) in
        before.iter().filter(|(path, _)| !path.to_string_lossy().contains("/keep/"))
    {
        let content = String::from_utf8_lossy(content);
        assert!(!content.contains(&master), "{} holds the master secret", path.display());
    }
}
