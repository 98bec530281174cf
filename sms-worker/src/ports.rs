//! What delivery needs from other parts, as functions: the bus to publish statuses, and the code store to check whether
//! a text is still wanted and to keep it for the inbox.

use std::sync::Arc;

use bus::PublishError;
use domain::engine_error::EngineError;
use domain::event::{Envelope, SmsStatus};
use domain::ids::RequestId;
use domain::phone::Phone;
use futures::future::BoxFuture;
use service::blocklist::Blocklist;
use service::delivery::{Connections, KeptMessage};

/// Publishes the status of a text in the trace (W3C `traceparent`) that led to it; returns once the broker confirms it.
pub type Publish = Arc<
    dyn Fn(SmsStatus, Option<String>) -> BoxFuture<'static, Result<(), PublishError>> + Send + Sync,
>;
/// Whether a text is still wanted: not if its code was used or its phone was blocked while it waited (contract, ruling
/// 31).
pub type Wanted = Arc<
    dyn Fn(Option<RequestId>, String) -> BoxFuture<'static, Result<bool, EngineError>>
        + Send
        + Sync,
>;
/// Keeps a text for the inbox, one per message id.
pub type Keep =
    Arc<dyn Fn(KeptMessage) -> BoxFuture<'static, Result<(), EngineError>> + Send + Sync>;

pub(crate) fn publish_on(engines: &Connections) -> Publish {
    let (bus, clock) = (engines.bus.clone(), engines.clock.clone());
    Arc::new(move |status, trace| {
        let (bus, clock) = (bus.clone(), clock.clone());
        Box::pin(
            async move { bus.publish(&Envelope::new(&clock, "sms-worker", trace, status)).await },
        )
    })
}

pub(crate) fn wanted_by(engines: &Connections, blocks: &Blocklist) -> Wanted {
    let (store, blocks, clock) = (engines.store.clone(), blocks.clone(), engines.clock.clone());
    Arc::new(move |request, e164| {
        let (store, blocks, now) = (store.clone(), blocks.clone(), clock.now());
        Box::pin(async move {
            let phone =
                Phone::trusted(&e164).map_err(|cause| EngineError::broken("seal", cause))?;
            if blocks.covers(&phone, None, now).is_some() {
                return Ok(false);
            }
            match request {
                Some(request) => store.is_wanted(request).await,
                None => Ok(true),
            }
        })
    })
}

pub(crate) fn keep_in(engines: &Connections) -> Keep {
    let (inbox, keys) = (engines.store.inbox(), Arc::clone(&engines.keys));
    Arc::new(move |text| {
        let (inbox, keys) = (inbox.clone(), Arc::clone(&keys));
        Box::pin(async move {
            let kept = Phone::trusted(&text.phone_number)
                .and_then(|phone| text.seal(&keys, keys.phone_key(&phone)))
                .map_err(|cause| EngineError::broken("inbox", cause))?;
            inbox.keep(&kept).await
        })
    })
}
