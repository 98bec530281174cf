//! `/console/settings`: the keys that sign tokens and how to replace one, and every setting with its value and source.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::console::markdown::{Parts, parts};
use crate::console::page::{Frame, html};
use crate::console::params::Params;
use crate::console::refused::Refused;
use crate::console::session::Staff;
use crate::console::time::{Moment, span};
use crate::staff::rights::Act;
use crate::staff::settings::{self, SettingNote, SettingView, SettingsView, SigningKey};

const PATH: &str = "/console/settings";
const SOURCES: [(&str, &str); 4] = [
    ("", "all"),
    ("environment", "set in the environment"),
    ("file", "set in a file"),
    ("default", "by default"),
];

#[derive(Template)]
#[template(path = "console/settings/list.html")]
struct SettingsPage<'a> {
    frame: Frame,
    read_as: &'static str,
    environment: &'static str,
    keys: Vec<Key>,
    steps: Vec<Step>,
    key_is_pinned: bool,
    groups: Vec<(&'static str, Vec<Row>)>,
    refused: Vec<Note<'a>>,
    warnings: Vec<Note<'a>>,
    sources: &'static [(&'static str, &'static str)],
    source: &'a str,
    started: Moment,
    as_of: Moment,
}

/// A setting, and a sentence about it in parts.
type Note<'a> = (&'a str, Parts<'a>);

struct Key {
    kid: String,
    algorithm: &'static str,
    state: &'static str,
    class: &'static str,
    meaning: &'static str,
    written: Option<Moment>,
}

/// A step of a rotation.
struct Step {
    words: String,
    command: Option<String>,
    /// Whether it is the one to take now.
    is_next: bool,
}

struct Row {
    variable: &'static str,
    value: Option<String>,
    source: String,
    is_file: bool,
    refused: Option<u64>,
    doc: Parts<'static>,
}

pub(crate) async fn show(
    State(app): State<App>,
    staff: Staff,
    params: Params,
) -> Result<Response, Refused> {
    staff.may(Act::See)?;
    let now = app.engines.clock.now();
    let view = settings::read(&app);
    let source = params.shown("source");
    html(&SettingsPage {
        frame: Frame::new(&staff, PATH, "Keys and settings"),
        read_as: view.read_as,
        environment: view.environment,
        steps: rotation(&view),
        key_is_pinned: view.key_is_pinned,
        refused: notes(&view.refused_in_production),
        warnings: notes(&view.warnings),
        groups: groups(&view.settings, source),
        sources: &SOURCES,
        source,
        started: Moment::of(view.started_at, now),
        keys: view.keys.iter().map(|key| shown(key, now)).collect(),
        as_of: Moment::of(now, now),
    })
}

fn shown(key: &SigningKey, now: domain::timestamp::Timestamp) -> Key {
    let (class, meaning) = match key.state {
        "signing" => ("good", "It signs new tokens."),
        "next" => ("", "It is published and does not sign yet."),
        "verifying" => ("", "It signs no more. Its tokens are accepted until it is retired."),
        _ => ("bad", "This gateway did not take the file: the log says why."),
    };
    Key {
        kid: key.kid.clone(),
        algorithm: key.algorithm.unwrap_or("unknown"),
        state: key.state,
        class,
        meaning,
        written: Moment::maybe(key.written_at, now),
    }
}

/// How to replace the key that signs, with the kids as they are now, and which step comes next.
fn rotation(view: &SettingsView) -> Vec<Step> {
    let kid = |state| view.keys.iter().find(|key| key.state == state).map(|key| key.kid.as_str());
    let (next, old) = (kid("next"), kid("verifying"));
    let step = |words: String, command: Option<String>, is_next| Step { words, command, is_next };
    let cache = span(view.jwks_cache_secs * 1000);
    let life = span(view.access_ttl_secs * 1000);
    vec![
        step(
            "Add a key. It is published at once, and does not sign yet.".to_owned(),
            Some("latchkey keys generate".to_owned()),
            next.is_none() && old.is_none(),
        ),
        step(
            format!("Wait {cache}: for so long others may keep the public keys that they have."),
            None,
            false,
        ),
        step(
            "Let it sign. Every gateway follows within 10 s.".to_owned(),
            Some(format!("latchkey keys activate {}", next.unwrap_or("KID"))),
            next.is_some(),
        ),
        step(format!("Wait {life}: for so long the last tokens of the old key live."), None, false),
        step(
            "Retire the old key. Its tokens are refused from then on.".to_owned(),
            Some(format!("latchkey keys retire {}", old.unwrap_or("KID"))),
            next.is_none() && old.is_some(),
        ),
    ]
}

/// The settings from this source, in their groups; all of them if it is empty.
fn groups(settings: &[SettingView], source: &str) -> Vec<(&'static str, Vec<Row>)> {
    let mut groups: Vec<(&'static str, Vec<Row>)> = Vec::new();
    for setting in settings.iter().filter(|it| source.is_empty() || it.source == source) {
        if groups.last().is_none_or(|(name, _)| *name != setting.group) {
            groups.push((setting.group, Vec::new()));
        }
        if let Some((_, rows)) = groups.last_mut() {
            rows.push(row(setting));
        }
    }
    groups
}

fn notes(notes: &[SettingNote]) -> Vec<Note<'_>> {
    notes.iter().map(|note| (note.setting.as_str(), parts(&note.text))).collect()
}

fn row(setting: &SettingView) -> Row {
    Row {
        variable: setting.variable,
        value: setting.value.clone(),
        is_file: setting.file.is_some(),
        source: setting.file.clone().unwrap_or_else(|| setting.source.to_owned()),
        refused: setting.refused,
        doc: parts(setting.doc),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(states: &[&'static str]) -> SettingsView {
        let key = |(number, state): (usize, &&'static str)| SigningKey {
            kid: format!("k{number}"),
            algorithm: Some("ES256"),
            state,
            written_at: None,
        };
        SettingsView {
            read_as: "latchkey",
            environment: "development",
            started_at: domain::timestamp::Timestamp::from_ms(0),
            keys: states.iter().enumerate().map(key).collect(),
            key_is_pinned: false,
            jwks_cache_secs: 300,
            access_ttl_secs: 600,
            settings: Vec::new(),
            refused_in_production: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_next_step_of_a_rotation_is_the_one_that_its_keys_call_for() {
        for (states, command) in [
            (vec!["signing"], "latchkey keys generate"),
            (vec!["signing", "next"], "latchkey keys activate k1"),
            (vec!["verifying", "signing"], "latchkey keys retire k0"),
            (vec!["verifying", "signing", "next"], "latchkey keys activate k2"),
            (vec!["signing", "unread"], "latchkey keys generate"),
        ] {
            let next: Vec<_> =
                rotation(&view(&states)).into_iter().filter(|step| step.is_next).collect();
            assert_eq!(next.len(), 1, "{states:?}");
            assert_eq!(next[0].command.as_deref(), Some(command), "{states:?}");
        }
    }
}
