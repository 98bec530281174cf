//! The process that reads the settings, and what production refuses in more than one of them.

use url::Url;

use super::parse::Parsed;
use super::reader::Reader;
use super::secret::is_sample;
use super::{Environment, Role};

/// The process that reads the settings, and the rules that apply to it.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) role: Role,
    pub(super) environment: Environment,
    /// No engine was given.
    pub(super) embedded: bool,
}

impl Case {
    pub(super) fn production(self) -> bool {
        self.environment == Environment::Production
    }
}

pub(super) fn refuse_plain_http(r: &mut Reader, case: Case, name: &str, url: &Url) {
    if case.production() && url.scheme() == "http" {
        r.refuse(name, "plain http is not allowed in production");
    }
}

pub(super) fn refuse_sample(case: Case, text: &str) -> Parsed<()> {
    if case.production() && is_sample(text) {
        return Err("it looks like a sample value".to_owned());
    }
    Ok(())
}
