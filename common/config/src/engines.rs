//! The engines that the process runs on, and the secret that its keys are derived from.

use std::path::PathBuf;

use super::case::{Case, refuse_sample};
use super::engine_url::fit_for_production;
use super::parse::{self, Parsed};
use super::reader::Reader;
use super::secret::LEAST_BYTES;
use super::{EngineSettings, Environment, Plaintext, Role, Secrets};
use domain::keys::Keys;

pub(super) const ENGINES: [&str; 3] = ["DATABASE_URL", "REDIS_URL", "AMQP_URL"];

pub(super) fn environment(r: &mut Reader, embedded: bool) -> Environment {
    r.word("LATCHKEY_ENV").unwrap_or(if embedded {
        Environment::Development
    } else {
        Environment::Production
    })
}

pub(super) fn engines(r: &mut Reader, case: Case) -> EngineSettings {
    const PLAINTEXT: &str = "LATCHKEY_PLAINTEXT_ENGINES";
    let plaintext_is_allowed = r.word(PLAINTEXT) == Some(Plaintext::Allow);
    if plaintext_is_allowed && case.production() {
        r.warn(PLAINTEXT, "engines may be reached by plain text on any network");
    }
    let check = |url: &str, schemes: &[&str]| {
        parse::engine_url(url, schemes)?;
        if case.production() { fit_for_production(url, plaintext_is_allowed) } else { Ok(()) }
    };
    let database_url = r.secret("DATABASE_URL", |url| check(url, &["postgres", "postgresql"]));
    let redis_url = r.secret("REDIS_URL", |url| {
        if !url.split(':').next().is_some_and(|scheme| scheme.ends_with("+sentinel")) {
            return check(url, &["redis", "rediss"]);
        }
        let of_sentinels = |url: &str| {
            check(url, &["redis+sentinel", "rediss+sentinel"])?;
            parse::watched_by_sentinels(url)
        };
        parse::engine_urls(url, of_sentinels)
    });
    let amqp_url =
        r.secret("AMQP_URL", |url| parse::engine_urls(url, |node| check(node, &["amqp", "amqps"])));

    if !case.embedded {
        for name in ENGINES {
            r.require(name, "the three engines must be set together");
        }
    } else if case.role != Role::AllInOne {
        for name in ENGINES {
            r.require(name, "a separate service cannot run embedded");
        }
    } else if case.production() {
        let why = "production cannot run embedded, where codes and messages exist only in memory";
        for name in ENGINES {
            r.require(name, why);
        }
    }
    // Validated with real engines too: the same variables may be used with both.
    let data_dir = r.read("LATCHKEY_DATA_DIR", parse::folder);
    if case.embedded {
        return EngineSettings::Embedded {
            data_dir: data_dir.unwrap_or_else(|| platform_folder(r)),
        };
    }
    // An empty address was refused above, so nothing ever connects to it.
    EngineSettings::Services {
        database_url: database_url.unwrap_or_default(),
        redis_url: redis_url.unwrap_or_default(),
        amqp_url: amqp_url.unwrap_or_default(),
    }
}

fn platform_folder(r: &mut Reader) -> PathBuf {
    let folder = directories::BaseDirs::new().map(|dirs| dirs.data_dir().join("latchkey"));
    folder.unwrap_or_else(|| {
        r.require("LATCHKEY_DATA_DIR", "this user has no home folder for the data");
        PathBuf::new()
    })
}

/// Checks that a text is acceptable as a master secret.
fn master(case: Case, text: &str) -> Parsed<()> {
    if text.len() < LEAST_BYTES {
        return Err(format!("it is shorter than {LEAST_BYTES} bytes"));
    }
    refuse_sample(case, text)
}

pub(super) fn secrets(r: &mut Reader, case: Case) -> Secrets {
    const MASTER: &str = "LATCHKEY_SECRET";
    const PREVIOUS: &str = "LATCHKEY_SECRET_PREVIOUS";
    const BUNDLE: &str = "LATCHKEY_SERVICE_KEYS";

    let current = r.secret(MASTER, |text| master(case, text));
    let previous = r.secret(PREVIOUS, |text| master(case, text));
    let bundle = r.secret(BUNDLE, |text| {
        let keys = Keys::from_bundle(text).map_err(|cause| cause.to_string())?;
        let Some(service) = case.role.service() else { return Ok(()) };
        keys.check_for(service).map_err(|cause| cause.to_string())
    });

    if r.is_given(PREVIOUS) && !r.is_given(MASTER) {
        let why = "LATCHKEY_SECRET is not";
        r.refuse(
            PREVIOUS,
            &format!("it is set, but {why}; a bundle already contains the previous keys"),
        );
    } else if r.is_given(PREVIOUS) && r.text(PREVIOUS) == r.text(MASTER) {
        r.refuse(PREVIOUS, "it equals LATCHKEY_SECRET");
    }
    if case.role == Role::AllInOne {
        if r.is_given(BUNDLE) {
            let why = "the all-in-one process and the operator's commands use LATCHKEY_SECRET";
            r.refuse(BUNDLE, &format!("it is for a separate service; {why}"));
        }
        if !case.embedded {
            r.require(MASTER, "a secret is generated only when embedded");
        }
    } else if r.is_given(BUNDLE) && r.is_given(MASTER) {
        let why = "LATCHKEY_SECRET is set as well; set only one of the two";
        r.refuse(BUNDLE, why);
    } else if !r.is_given(BUNDLE) {
        r.require(MASTER, "a separate service needs it or LATCHKEY_SERVICE_KEYS");
    }
    match (current, bundle) {
        (Some(current), _) => Secrets::Master { current, previous },
        (None, Some(bundle)) => Secrets::Bundle(bundle),
        (None, None) => Secrets::MadeInDataDir,
    }
}
