//! The settings for people to read: the ones in effect, and the documentation page.

use std::fmt::Write as _;

use super::reader::Reader;
use super::source::Origin;
use super::table::{self, Preset, Setting};

/// Shown in place of a secret that is set.
const MASK: &str = "***";

/// One setting in effect.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The name in a settings file: `otp_length`.
    pub name: String,
    /// The name in the environment: `LATCHKEY_OTP_LENGTH`.
    pub variable: &'static str,
    /// `***` for a secret; `None` if there is neither a value nor a default.
    pub value: Option<String>,
    /// The default: a value, or a description of it.
    pub default: Option<&'static str>,
    /// Where the value was set; `None` if it is not set.
    pub origin: Option<Origin>,
    pub secret: bool,
    /// The heading that it stands under in docs/configuration.md.
    pub group: &'static str,
    /// What it does: one sentence for operators, in Markdown.
    pub doc: &'static str,
}

/// Returns every setting. `worked_out` has the values of unset settings that are derived from others.
pub(super) fn shown(reader: &Reader, worked_out: &[(&str, Option<String>)]) -> Vec<Shown> {
    let one = |(group, setting): (&'static str, &'static Setting)| {
        let followed = worked_out.iter().find(|(name, _)| *name == setting.name);
        let value = match reader.text(setting.name) {
            Some(_) if setting.secret => Some(MASK.to_owned()),
            // Some providers' hooks carry a token in the query.
            Some(text) => Some(match text.split_once('?') {
                Some((address, _)) if text.contains("://") => format!("{address}?{MASK}"),
                _ => text,
            }),
            None => followed.and_then(|(_, value)| value.clone()),
        };
        Shown {
            name: setting.key(),
            variable: setting.name,
            value,
            default: preset(setting),
            origin: reader.origin(setting.name).cloned(),
            secret: setting.secret,
            group,
            doc: setting.doc,
        }
    };
    let all = table::GROUPS.iter();
    all.flat_map(|(group, settings)| settings.iter().map(|setting| (*group, setting)))
        .map(one)
        .collect()
}

const fn preset(setting: &Setting) -> Option<&'static str> {
    match setting.preset {
        Preset::Nothing => None,
        Preset::Value(text) | Preset::Derived(text) => Some(text),
    }
}

/// Returns docs/configuration.md; `latchkey config --markdown` prints it.
pub fn markdown() -> String {
    let mut page = String::from(include_str!("introduction.md"));
    for (title, settings) in table::GROUPS {
        let _ = write!(
            page,
            "\n## {title}\n\n| Variable | Default | Allowed | Meaning |\n|---|---|---|---|\n"
        );
        for setting in *settings {
            let default = match setting.preset {
                Preset::Nothing => "\u{2013}".to_owned(),
                Preset::Value(text) => format!("`{text}`"),
                Preset::Derived(text) => text.to_owned(),
            };
            let secret = if setting.secret { " Secret: never printed." } else { "" };
            let Setting { name, allowed, doc, .. } = setting;
            let _ = writeln!(page, "| `{name}` | {default} | {allowed} | {doc}{secret} |");
        }
    }
    page
}
