//! What this process says of its providers and routes (contract, ruling 66).

use std::sync::Arc;

use config::{Config, ProviderName};
use serde_json::{Value, json};
use service::presence::Presence;

use crate::routing::routes::Routes;

/// From now on the process's report has the state of each provider, and the routes in the order in which they are matched.
pub(crate) fn tell(presence: &Presence, config: &Config, routes: &Arc<Routes>) {
    let rows = rows_of(config);
    presence.tell("delivery", "routes", move || rows.clone());
    for name in ProviderName::ALL {
        let routes = Arc::clone(routes);
        if routes.provider(name.as_str()).is_some() {
            presence.tell("providers", name.as_str(), move || {
                let provider = routes.provider(name.as_str());
                provider.map_or(Value::Null, |provider| {
                    let (circuit, calls) = (provider.breaker.state_now(), provider.limiter.load());
                    json!({
                        "circuit": circuit.word, "since": circuit.since, "until": circuit.until,
                        "running": calls.running, "limit": calls.limit, "paused_until": calls.paused_until,
                    })
                })
            });
        }
    }
}

fn rows_of(config: &Config) -> Value {
    let routes = &config.sms.routes;
    let row = |prefix: Option<&str>, providers: &[ProviderName]| {
        let names: Vec<_> = providers.iter().map(|name| name.as_str()).collect();
        json!({ "prefix": prefix, "providers": names, "voice": config.sms.can_call(providers) })
    };
    let by_prefix = routes.by_prefix.iter().map(|(prefix, names)| row(Some(prefix), names));
    by_prefix.chain([row(None, &routes.default)]).collect()
}
