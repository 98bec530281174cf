//! The settings as people read them: those in effect, and the page about all of them.

use std::fmt::Write as _;

use super::reader::Reader;
use super::source::Origin;
use super::table::{self, Preset, Setting};

/// Stands for a secret that is set.
const MASK: &str = "***";

/// One setting in effect.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As in a file of settings: `otp_length`.
    pub name: String,
    /// As in the environment: `LATCHKEY_OTP_LENGTH`.
    pub variable: &'static str,
    /// `***` for a secret; `None` when it is not set and nothing stands for it.
    pub value: Option<String>,
    /// What stands when nobody sets it: a value, or words about it.
    pub default: Option<&'static str>,
    /// Who set it; `None` when nobody did.
    pub origin: Option<Origin>,
    pub secret: bool,
}

/// Every setting. `worked_out` are the values of those that were not set and follow from others.
pub(super) fn shown(reader: &Reader, worked_out: &[(&str, Option<String>)]) -> Vec<Shown> {
    let one = |setting: &'static Setting| {
        let followed = worked_out.iter().find(|(name, _)| *name == setting.name);
        let value = match reader.text(setting.name) {
            Some(_) if setting.secret => Some(MASK.to_owned()),
            // Some senders' hooks carry a token there.
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
        }
    };
    table::all().map(one).collect()
}

const fn preset(setting: &Setting) -> Option<&'static str> {
    match setting.preset {
        Preset::Nothing => None,
        Preset::Value(text) | Preset::Told(text) => Some(text),
    }
}

/// docs/configuration.md, whole; `latchkey config --markdown` prints it.
pub fn markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for (title, settings) in table::GROUPS {
        let _ =
            write!(page, "\n## {title}\n\n| Variable | Default | May be | |\n|---|---|---|---|\n");
        for setting in *settings {
            let default = match setting.preset {
                Preset::Nothing => "\u{2013}".to_owned(),
                Preset::Value(text) => format!("`{text}`"),
                Preset::Told(text) => text.to_owned(),
            };
            let secret = if setting.secret { " Secret: never printed." } else { "" };
            let Setting { name, allowed, doc, .. } = setting;
            let _ = writeln!(page, "| `{name}` | {default} | {allowed} | {doc}{secret} |");
        }
    }
    page
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `latchkey config --markdown` from the table that the settings are read by. A test compares the two. -->

Nothing needs to be set to try Latchkey: without the three engines it runs embedded, in one process, for development.

Settings come from environment variables and from an optional TOML file, which `LATCHKEY_CONFIG` names. In the file they
have the same names in lower case without the prefix `LATCHKEY_`, and lists may be arrays:

```toml
database_url = \"postgres://latchkey@db.internal/latchkey\"
otp_length = 8
countries = [\"US\", \"IR\"]
twilio_from = \"+15005550006\"
```

- The environment wins over the file. An empty variable counts as unset.
- Everything is judged at start, before any engine is asked. All mistakes are told at once, each with the name of its
  variable and what it may be; the value of a secret is never repeated.
- A name that does not exist stops the start, in the environment (`LATCHKEY_*`) as in the file: a typo must not silently
  loosen a limit. Kubernetes sets variables of its own for a Service called `latchkey`: say `enableServiceLinks: false`.
- All services may be given one set of variables; each uses what is its own.
- `latchkey config` prints the settings in effect, secrets masked, and `latchkey limits` the limits by the names that
  refusals carry. Both take `--json`. Where `LATCHKEY_SERVICE_KEYS` is set they read the settings as the service does
  that those keys were cut for, so they can be run beside any service.
- Durations are whole seconds.

Production (`LATCHKEY_ENV=production`, and the default on the engines) refuses what is only good for trying: the embedded
default, plain-http addresses of the gateway and of providers, the providers `console` and `inbox`, test numbers without
an end, and secrets that look like samples (a telling word such as `changeme`, fewer than eight different bytes, eight
bytes in ascending order). It requires `LATCHKEY_COUNTRIES`; `LATCHKEY_ISSUER` or `LATCHKEY_PUBLIC_URL`; and
`LATCHKEY_PUBLIC_URL` where a route names `twilio`, whose receipts come there.

On the engines a process needs `LATCHKEY_SECRET`, or, when it is one of the three services, `LATCHKEY_SERVICE_KEYS`: what
`latchkey keys derive gateway`, `otp-worker` or `sms-worker` printed for it, and no more. A new secret has 32 random bytes:
`openssl rand -hex 32`.

To rotate the secret set the new one as `LATCHKEY_SECRET` and the old one as `LATCHKEY_SECRET_PREVIOUS`, derive the bundles
of services apart from both, and restart all services together: until the last one runs with the new secret, some cannot
read what others seal for them. Sessions, device tokens, blocks of phones, counts of wrong guesses and numbers that can
still be put back are taken over. Codes that are out must be asked for again, sends are counted anew, and an
`Idempotency-Key` of before is forgotten. Take `LATCHKEY_SECRET_PREVIOUS` away once refresh tokens of before have ended
(`LATCHKEY_REFRESH_IDLE_SECS`, 30 days): from then on device tokens of before are as none, blocks of phones that were set
before no longer hold (set those without an end anew, under the new secret), and with `LATCHKEY_FAILURE_RESET_SECS=0` the
counts of phones that nobody guessed at meanwhile are forgotten.
";
