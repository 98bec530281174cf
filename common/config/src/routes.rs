//! The routes: which providers send to which phone numbers.

use domain::string_enum;

use super::parse::Parsed;

string_enum! {
    /// A provider that a route may name.
    #[derive(PartialOrd, Ord)]
    pub enum ProviderName {
        Twilio = "twilio",
        Http = "http",
        /// Prints messages; development only.
        Console = "console",
        /// Stores and shows messages; development only.
        Inbox = "inbox",
    }
}

/// The providers of each country prefix, first choice first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// For numbers that match no prefix. Empty only in a service that sends nothing and was given no routes.
    pub default: Vec<ProviderName>,
    /// Digits without `+`, longest prefix first: the first match decides.
    pub by_prefix: Vec<(String, Vec<ProviderName>)>,
}

impl Routes {
    /// Parses `default=twilio,http;98=http`.
    pub(super) fn parse(text: &str) -> Parsed<Self> {
        let mut default = None;
        let mut by_prefix: Vec<(String, Vec<ProviderName>)> = Vec::new();
        for entry in text.split(';') {
            let (prefix, names) =
                entry.split_once('=').ok_or_else(|| format!("{entry:?} has no `=`"))?;
            let (prefix, providers) = (prefix.trim(), providers(names)?);
            let taken = if prefix == "default" {
                default.replace(providers).is_some()
            } else if is_prefix(prefix) {
                let taken = by_prefix.iter().any(|(other, _)| other == prefix);
                by_prefix.push((prefix.to_owned(), providers));
                taken
            } else {
                return Err(format!("{prefix:?} is not a prefix"));
            };
            if taken {
                return Err(format!("{prefix:?} is listed twice"));
            }
        }
        by_prefix.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let default = default.ok_or("`default` is missing")?;
        Ok(Self { default, by_prefix })
    }

    /// Returns whether any route names this provider.
    pub fn names(&self, provider: ProviderName) -> bool {
        self.default.contains(&provider)
            || self.by_prefix.iter().any(|(_, providers)| providers.contains(&provider))
    }

    /// Returns the providers for a number (E.164 digits without `+`), first choice first.
    pub fn of(&self, digits: &str) -> &[ProviderName] {
        let fits = |(prefix, _): &&(String, _)| digits.starts_with(prefix.as_str());
        self.by_prefix.iter().find(fits).map_or(&self.default, |(_, providers)| providers)
    }
}

/// Returns whether an E.164 number can begin with these digits.
fn is_prefix(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0')
}

fn providers(names: &str) -> Parsed<Vec<ProviderName>> {
    let mut providers = Vec::new();
    for name in names.split(',').map(str::trim) {
        let provider = name.parse().map_err(|_| format!("{name:?} is not a provider"))?;
        if providers.contains(&provider) {
            return Err(format!("{name:?} is listed twice in one route"));
        }
        providers.push(provider);
    }
    Ok(providers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProviderName::{Http, Inbox, Twilio};

    #[test]
    fn the_longest_prefix_decides() {
        let routes = Routes::parse("default=twilio,http; 98=http;9891=inbox").unwrap();
        assert_eq!(routes.of("14155550100"), [Twilio, Http]);
        assert_eq!(routes.of("989351234567"), [Http]);
        assert_eq!(routes.of("989121234567"), [Inbox]);
        assert!(routes.names(Inbox) && !routes.names(ProviderName::Console));
    }

    #[test]
    fn the_error_says_what_is_wrong_with_a_route() {
        for (wrong, why) in [
            ("default=pigeon", "\"pigeon\" is not a provider"),
            ("98=http", "`default` is missing"),
            ("default=http;98=http;98=twilio", "\"98\" is listed twice"),
            ("default=http;default=http", "\"default\" is listed twice"),
            ("default=http,http", "\"http\" is listed twice in one route"),
            ("default=http;+98=http", "\"+98\" is not a prefix"),
            ("default=http;0098=http", "\"0098\" is not a prefix"),
            ("default=", "\"\" is not a provider"),
            ("default=http;", "\"\" has no `=`"),
            ("twilio", "\"twilio\" has no `=`"),
        ] {
            assert_eq!(Routes::parse(wrong), Err(why.to_owned()), "{wrong}");
        }
    }
}
