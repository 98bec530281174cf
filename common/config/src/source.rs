//! The sources of values: the environment, which takes precedence, files that it names for secrets, and a TOML file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::{Mistake, Warning};
use super::small_file;
use super::{Environment, table};

/// The setting that says whether this is production.
const ENVIRONMENT: &str = "LATCHKEY_ENV";

/// The given values, before validation. Contains secrets, so it does not implement `Debug`.
#[derive(Clone)]
pub(super) struct Given {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// The secrets whose files could not be read.
    unread: BTreeSet<&'static str>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Warning>,
    /// A file was named but could not be read or parsed.
    pub(super) file_failed: bool,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Environment,
    /// The settings file.
    File(PathBuf),
    /// The file that `<NAME>_FILE` names.
    SecretFile(PathBuf),
}

impl Given {
    pub(super) fn value(&self, name: &str) -> Option<(&str, &Origin)> {
        self.values.get(name).map(|(value, origin)| (value.as_str(), origin))
    }

    /// The same values in production.
    pub(super) fn in_production(mut self) -> Self {
        let production = (Environment::Production.as_str().to_owned(), Origin::Environment);
        self.values.insert(ENVIRONMENT, production);
        self
    }

    /// Reads this process's environment and the file that it names.
    pub(super) fn by_this_process() -> Self {
        let mut mistakes = Vec::new();
        let variables = environment(&mut mistakes);
        let mut given = Self::by_map(&variables);
        given.mistakes.splice(0..0, mistakes);
        given
    }

    /// Reads these variables and the file that they name.
    pub(super) fn by_map(variables: &BTreeMap<String, String>) -> Self {
        let mut given = Self {
            values: BTreeMap::new(),
            unread: BTreeSet::new(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            file_failed: false,
        };
        for (name, value) in variables {
            match table::find(name) {
                // An orchestrator cannot always omit a variable, but it can leave it empty.
                Some(setting) if !value.is_empty() => {
                    given.values.insert(setting.name, (value.clone(), Origin::Environment));
                }
                None if table::of_secret_file(name).is_none()
                    && name.starts_with(table::PREFIX) =>
                {
                    let names = table::all().map(|setting| setting.name.to_owned());
                    given.refuse(name, unknown("variable", name, names));
                }
                _ => {}
            }
        }
        for (name, path) in variables.iter().filter(|(_, path)| !path.is_empty()) {
            if let Some(setting) = table::of_secret_file(name) {
                given.read_secret(setting, name, Path::new(path));
            }
        }
        if let Some((path, _)) = given.value(table::FILE) {
            let path = PathBuf::from(path);
            given.read_file(&path);
        }
        given
    }

    /// Returns whether a value was meant to be given, whether or not it could be read.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.unread.contains(name)
    }

    /// Reads a secret from the file that `<NAME>_FILE` names, without the newline at its end (contract, ruling 54).
    fn read_secret(&mut self, setting: &'static table::Setting, variable: &str, path: &Path) {
        if self.values.contains_key(setting.name) {
            let why = format!("{} is set as well; set only one of the two", setting.name);
            return self.refuse(variable, why);
        }
        let why = match small_file::read(path) {
            Ok(file) => match file.text.strip_suffix('\n').unwrap_or(&file.text) {
                "" => format!("{} is empty", path.display()),
                secret => {
                    let origin = Origin::SecretFile(path.to_owned());
                    self.values.insert(setting.name, (secret.to_owned(), origin));
                    if file.is_open_to_all {
                        self.warn_of_open_file(setting.name, path);
                    }
                    return;
                }
            },
            Err(why) => why,
        };
        self.unread.insert(setting.name);
        self.refuse(
            variable,
            format!("{why}; it must be the path of a file with {}", setting.name),
        );
    }

    /// Adds the file's values that the environment does not set.
    fn read_file(&mut self, path: &Path) {
        let entries = small_file::read(path).and_then(|file| {
            let parsed = file.text.parse::<toml::Table>();
            let entries = parsed.map_err(|cause| not_toml(path, &file.text, &cause))?;
            Ok((entries, file.is_open_to_all))
        });
        let (entries, is_open_to_all) = match entries {
            Ok(read) => read,
            Err(why) => {
                self.file_failed = true;
                return self
                    .refuse(table::FILE, format!("{why}; it must be {}", table::FILE_ALLOWED));
            }
        };
        for (key, value) in entries {
            let in_file = format!("{key} (in {})", path.display());
            let known = table::all().find(|s| s.key() == key && s.name != table::FILE);
            let Some(setting) = known else {
                let keys = table::all().filter(|s| s.name != table::FILE).map(table::Setting::key);
                self.refuse(&in_file, unknown("setting", &key, keys));
                continue;
            };
            match as_text(&value) {
                None => self.refuse(
                    &format!("{}, {in_file}", setting.name),
                    format!("a {} is refused; it must be {}", value.type_str(), setting.allowed),
                ),
                Some(text) if !text.is_empty() => {
                    if is_open_to_all && setting.secret {
                        self.warn_of_open_file(setting.name, path);
                    }
                    let from_file = (text, Origin::File(path.to_owned()));
                    self.values.entry(setting.name).or_insert(from_file);
                }
                Some(_) => {}
            }
        }
    }

    fn warn_of_open_file(&mut self, variable: &'static str, path: &Path) {
        let text =
            format!("everybody on this machine may read {}: set its mode to 0600", path.display());
        self.warnings.push(Warning { variable, text });
    }

    fn refuse(&mut self, name: &str, text: String) {
        self.mistakes.push(Mistake { name: name.to_owned(), text });
    }
}

/// Returns the name of the person at the shell, for the audit: who called sudo, else who is logged in; `None` if the
/// environment names nobody, as in a container.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
pub fn login_name() -> Option<String> {
    let named = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"))
}

/// Returns the variables that concern Latchkey. A variable that is not UTF-8 is a mistake only if it is one of these.
#[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
fn environment(mistakes: &mut Vec<Mistake>) -> BTreeMap<String, String> {
    let ours =
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).filter(|name| {
            name.starts_with(table::PREFIX)
                || table::find(name).or_else(|| table::of_secret_file(name)).is_some()
        });
    let mut variables = BTreeMap::new();
    for name in ours {
        match std::env::var(&name) {
            Ok(value) => {
                variables.insert(name, value);
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                mistakes.push(Mistake { name, text: "it is not UTF-8".to_owned() });
            }
            // The name is not UTF-8, so its lossy form was not found.
            Err(std::env::VarError::NotPresent) => {
                variables.insert(name, "?".to_owned());
            }
        }
    }
    variables
}

/// Converts a TOML value to the text that the environment would hold; a list may be an array of strings.
fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(texts?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Says where and why a file is not valid TOML. The parser's full message is not used: it quotes the line, which may
/// hold a secret.
fn not_toml(path: &Path, text: &str, cause: &toml::de::Error) -> String {
    let before = cause.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let reason = cause.message().replace('\n', ", ");
    format!("{} is not valid TOML: line {line}: {reason}", path.display())
}

/// The error text for an unknown name.
fn unknown(what: &str, name: &str, known: impl Iterator<Item = String>) -> String {
    // Kubernetes sets such variables for every Service in the namespace. They look like Latchkey's own if the Service
    // is named latchkey.
    let by_kubernetes = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_") && name.contains("_TCP")
        || name.ends_with("_PORT");
    let nearest = known.map(|other| (strsim::levenshtein(name, &other), other)).min();
    match nearest {
        _ if by_kubernetes => format!(
            "there is no such {what}; if Kubernetes set it for a Service, set `enableServiceLinks: false`"
        ),
        Some((steps, other)) if steps * 3 <= name.len() => {
            format!("there is no such {what}; did you mean {other}?")
        }
        _ => format!("there is no such {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubernetes_service_link_is_distinguished_from_a_typo() {
        let text = unknown("variable", "LATCHKEY_GATEWAY_PORT_8080_TCP_ADDR", std::iter::empty());
        assert!(text.contains("enableServiceLinks: false"), "{text}");
    }

    #[test]
    fn the_process_environment_can_be_read_whatever_else_it_contains() {
        let given = Given::by_this_process();
        assert_eq!(given.value("PATH"), None, "only Latchkey's variables are read");
    }
}
