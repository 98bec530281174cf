//! What a gateway answers before it is ready: it listens from its first moment on, so that a taken port stops the start at
//! once, and connects to its engines meanwhile, which takes a while when they are slow.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use tokio::sync::SetOnce;
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

use crate::http::error::{AlreadyLogged, ApiError};
use crate::http::layers::{self, Public, Settings};
use crate::http::request_timeout::{ANSWER_WITHIN, Arrived};

/// The service of a gateway that starts. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Starting(Arc<SetOnce<Public>>);

impl Starting {
    /// From now on, this service answers. Only the first call counts.
    pub(crate) fn ready(&self, service: Public) {
        // A second one could only be a second start.
        let _ = self.0.set(service);
    }

    /// The service for the listener: a request waits until the gateway is ready, and is answered 503 in time if that takes
    /// too long.
    ///
    /// # Errors
    /// See [`layers::finish`].
    pub(crate) fn service(&self, settings: Settings) -> anyhow::Result<Public> {
        let refuse = async || -> Result<(), ApiError> {
            Err(ApiError::unavailable(AlreadyLogged("the gateway is starting")))
        };
        let routes = Router::new().route("/", any(refuse)).route("/{*path}", any(refuse));
        let (ready, closed) = (self.0.clone(), layers::finish(routes, settings)?);
        Ok(BoxCloneSyncService::new(service_fn(move |mut request: Request| {
            let (ready, closed) = (ready.clone(), closed.clone());
            async move {
                if ready.get().is_none() {
                    request.extensions_mut().insert(Arrived(Instant::now()));
                    // Whether it came in time is read below.
                    let _ = timeout(ANSWER_WITHIN, ready.wait()).await;
                }
                ready.get().cloned().unwrap_or(closed).oneshot(request).await
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::get;
    use domain::clock::Clock;
    use http::StatusCode;
    use tokio::time::sleep;

    use super::*;

    fn settings() -> Settings {
        Settings::plain(Clock::manual())
    }

    /// The answer to a request, and how long it took, of a gateway that is ready after this time.
    async fn answer(ready_after: Duration, path: &str) -> (Response, Duration) {
        let routes = Router::new().route("/quick", get(async || "quick")).route(
            "/slow",
            get(async || {
                sleep(Duration::from_secs(2)).await;
                "slow"
            }),
        );
        let (starting, begun) = (Starting::default(), Instant::now());
        let service = starting.service(settings()).unwrap();
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let ready = async {
            sleep(ready_after).await;
            starting.ready(layers::finish(routes, settings()).unwrap());
        };
        let answered = async { (service.oneshot(request).await.unwrap(), begun.elapsed()) };
        tokio::join!(answered, ready).0
    }

    #[tokio::test(start_paused = true)]
    async fn p12_a_request_waits_for_a_gateway_that_starts_and_not_for_longer_than_an_answer_may_take()
     {
        let (quick, took) = answer(Duration::from_secs(1), "/quick").await;
        assert_eq!((quick.status(), took.as_secs()), (StatusCode::OK, 1));
        for (ready_after, path) in
            [(Duration::from_mins(1), "/quick"), (Duration::from_secs(1), "/slow")]
        {
            let (late, took) = answer(ready_after, path).await;
            assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(late.headers().contains_key("retry-after"), "{path}");
            assert!(late.headers().contains_key("x-request-id"), "{path}");
            assert!(took < Duration::from_millis(2500), "{path}: {took:?}");
        }
    }
}
