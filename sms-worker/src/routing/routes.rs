//! Which providers carry a text, and in which order.

use anyhow::Context as _;
use config::ProviderName;
use domain::clock::Clock;
use domain::phone::E164;

use crate::providers::Provider;
use crate::routing::breaker::Breaker;
use crate::routing::concurrency::Limiter;

/// A provider with its breaker and limiter.
pub struct RoutedProvider {
    pub(crate) provider: Provider,
    pub(crate) breaker: Breaker,
    pub limiter: Limiter,
}

impl RoutedProvider {
    pub fn new(provider: Provider, clock: &Clock) -> Self {
        Self {
            breaker: Breaker::new(provider.name(), clock.clone()),
            limiter: Limiter::new(clock.clone()),
            provider,
        }
    }

    pub const fn name(&self) -> &'static str {
        self.provider.name()
    }
}

/// The providers of the configured routes. A later provider in a route is used when the earlier ones are unavailable.
pub struct Routes {
    providers: Vec<RoutedProvider>,
    named: config::Routes,
}

impl Routes {
    /// # Errors
    /// Fails if a route names a provider that is missing from `providers`.
    pub fn new(providers: Vec<RoutedProvider>, named: config::Routes) -> anyhow::Result<Self> {
        let routes = Self { providers, named };
        for name in ProviderName::ALL.into_iter().filter(|name| routes.named.names(*name)) {
            routes
                .provider(name.as_str())
                .with_context(|| format!("the provider {name} is not configured"))?;
        }
        Ok(routes)
    }

    /// Returns the providers for a number. [`config::Routes::of`] decides, as in `latchkey routes check`.
    pub(crate) fn to(&self, number: &E164) -> impl Iterator<Item = &RoutedProvider> + Clone {
        let names = self.named.of(number.digits());
        names.iter().filter_map(|name| self.provider(name.as_str()))
    }

    /// Whether every provider is away or said that there are too many calls: more workers would send no more texts.
    pub(crate) fn hold_back(&self) -> bool {
        self.providers.iter().all(|provider| {
            provider.breaker.state_now().word != "closed"
                || provider.limiter.load().paused_until.is_some()
        })
    }

    /// Finds a provider by name.
    pub fn provider(&self, name: &str) -> Option<&RoutedProvider> {
        self.providers.iter().find(|provider| provider.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::client;
    use crate::providers::console::Console;
    use crate::providers::http::Http;

    #[test]
    fn configured_routes_are_used_in_their_order() -> anyhow::Result<()> {
        let clock = Clock::system();
        let providers = || {
            let client = client::client(client::LIMIT)?;
            let (url, secret) = ("http://sms.example.test/".parse()?, "shared".into());
            let http = Provider::Http(Http::new(url, &secret, client, clock.clone()));
            let console = Provider::Console(Console);
            anyhow::Ok(vec![
                RoutedProvider::new(console, &clock),
                RoutedProvider::new(http, &clock),
            ])
        };
        let (console, http) = (ProviderName::Console, ProviderName::Http);
        let named = config::Routes {
            default: vec![http, console],
            by_prefix: vec![("98912".to_owned(), vec![http]), ("98".to_owned(), vec![console])],
        };
        let routes = Routes::new(providers()?, named)?;
        let names = |number: &str| {
            let number: E164 = number.parse().unwrap();
            routes.to(&number).map(RoutedProvider::name).collect::<Vec<_>>()
        };
        assert_eq!(names("+14155550100"), ["http", "console"]);
        assert_eq!(names("+989350000000"), ["console"]);
        assert_eq!(names("+989120000000"), ["http"]);
        let by_prefix = vec![("1".to_owned(), vec![ProviderName::Twilio])];
        let named = config::Routes { default: vec![http], by_prefix };
        assert!(!routes.hold_back());
        for name in ["http", "console"] {
            assert!(!routes.hold_back(), "another provider takes texts");
            routes.provider(name).context("no provider")?.limiter.refused(None, None);
        }
        assert!(routes.hold_back());
        let unknown = Routes::new(providers()?, named).err().context("no error")?;
        assert!(unknown.to_string().contains("twilio"), "{unknown}");
        Ok(())
    }
}
