//! Logs to standard error: readable on a terminal, otherwise one JSON object per line.
//!
//! `RUST_LOG` sets the level of *our* crates, down to `trace`. Third-party crates stay at `warn` whatever it says: at
//! `debug` and `trace` they print the data that passes through them (broker frames, statements, headers, URLs), and
//! with it codes, phones and tokens (P10). No setting overrides this. Records of the older `log` crate are not
//! collected at all, for the same reason. Two targets are silent at every level: lapin logs a message that was returned
//! as unroutable with its whole body, at `warn`, and a channel that was refused something, at `error`.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::panics;

/// The filter when `RUST_LOG` is not set.
const DEFAULT_FILTER: &str = "info";

/// Our crates, whose log lines follow the rule that they hold no secret.
#[rustfmt::skip]
const OURS: [&str; 18] = [
    "accounts", "bus", "config", "domain", "guard", "ledger", "passwords", "service", "sql", "store", "testkit", "texts",
    "traces", "gateway", "otp_worker", "sms_worker", "latchkey", "bench",
];

/// The first logs message bodies at a level that is allowed for third-party crates. The second logs as an error what a
/// service with a login of its own expects at each start: it may not declare another's queue. Whoever published or used
/// the channel gets the error, and that is logged.
const SILENT: [&str; 2] = ["lapin::returned_messages", "lapin::channel"];

#[derive(Clone, Copy)]
enum Form {
    Readable,
    Json,
}

/// Starts the logging of events and panics. `filter` is the value of `RUST_LOG`. Only the first call of a process has
/// an effect, so tests may call it repeatedly.
pub fn init(filter: Option<&str>) {
    let form = if std::io::stderr().is_terminal() { Form::Readable } else { Form::Json };
    let (parsed, refused) = match parse(filter) {
        Ok(parsed) => (parsed, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    // Not `try_init`: that would collect the records of the `log` crate too.
    if tracing::subscriber::set_global_default(subscriber(parsed, form, std::io::stderr)).is_err() {
        return;
    }
    panics::log_them();
    if let Some(error) = refused {
        tracing::warn!(error = format!("{error:#}"), "RUST_LOG is invalid and ignored");
    }
}

fn parse(filter: Option<&str>) -> anyhow::Result<EnvFilter> {
    let text = filter.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FILTER);
    EnvFilter::builder().parse(text).context("parse the log filter RUST_LOG")
}

fn subscriber<W>(filter: EnvFilter, form: Form, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match form {
        Form::Readable => lines.boxed(),
        Form::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Registry::default().with(lines.with_filter(filter.and(filter_fn(may_be_logged))))
}

fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    !SILENT.contains(&metadata.target())
        && (*metadata.level() <= Level::WARN || is_ours(metadata.target()))
}

fn is_ours(target: &str) -> bool {
    OURS.contains(&target.split("::").next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: Option<&str>, form: Form, act: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(parse(filter).unwrap(), form, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    fn everybody_talks() {
        tracing::trace!(target: "lapin::channel", "SECRET frame");
        tracing::debug!(target: "sqlx::query", "SECRET statement");
        tracing::info!(target: "reqwest::connect", "SECRET url");
        tracing::debug!(target: "service_mesh::not_ours", "SECRET of another");
        tracing::info_span!(target: "hyper::proto", "SECRET span").in_scope(|| {
            tracing::trace!(target: "gateway::login", "own trace");
        });
        tracing::warn!(target: "redis::client", "their warning");
        tracing::warn!(target: "lapin::returned_messages", "SECRET body");
        tracing::error!(target: "lapin::returned_messages", "SECRET body");
    }

    #[test]
    fn p10_no_filter_lets_third_party_crates_log_more_than_warnings() {
        for filter in [
            "trace",
            "trace,lapin=trace,sqlx=trace,hyper=trace",
            "info,reqwest=trace,gateway=trace",
            "trace,lapin::returned_messages=trace",
        ] {
            for form in [Form::Json, Form::Readable] {
                let text = logged(Some(filter), form, everybody_talks);
                assert!(!text.contains("SECRET"), "{filter}: {text}");
                assert!(text.contains("own trace"), "{filter}: {text}");
                assert!(text.contains("their warning"), "{filter}: {text}");
            }
        }
    }

    #[test]
    fn without_a_filter_info_is_logged_and_debug_is_not() {
        for filter in [None, Some(""), Some("  ")] {
            let text = logged(filter, Form::Json, || {
                tracing::info!(target: "service", part = 3, "shown");
                tracing::debug!(target: "service", "hidden");
            });
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (line["message"].as_str(), line["part"].as_i64()),
                (Some("shown"), Some(3)),
                "{text}"
            );
        }
    }

    #[test]
    fn no_crate_of_ours_is_taken_for_another() {
        let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        for of_common in crates {
            let name = of_common.unwrap().file_name().into_string().unwrap();
            assert!(is_ours(&format!("{name}::module")), "{name} is not among OURS");
        }
    }

    #[test]
    fn a_filter_can_silence_third_party_crates_too() {
        assert_eq!(logged(Some("off"), Form::Json, everybody_talks), "");
        assert!(parse(Some("info,gateway=debug")).is_ok());
        assert!(parse(Some("gateway=loud")).is_err());
    }
}
