//! The time limit on every answer, for all routes (P1, P12: 503 within 2.5 s).

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument as _;

use crate::http::error::ApiError;
use crate::http::load_shedding::Answering;
use crate::http::watched_body::{WatchedBody, Watcher};

/// The time from a request's head to its answer's head, without the time to read the body. Leaves 200 ms of the
/// promised time for the network.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(2300);

/// Answers 503 when the handler is not done in time. The handler still runs to its end in its own task: engines have
/// their own time limits, and the handler must finish or undo what it began. If it were dropped midway, an attempt that
/// the database did not judge would stay counted, and a request that was never published would keep its slot. For the
/// same reason, a client that disconnects interrupts nothing.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    let (began, when_began) = oneshot::channel();
    let (ended, when_ended) = oneshot::channel();
    let timing = Timing { began: Some(began), _ended: ended };
    let (answering, arrived) = (Answering::of(&request), arrived_at(&request));
    let request = request.map(|body| Body::new(WatchedBody::new(body, timing)));
    let work = async {
        let response = next.run(request).await;
        answering.done(response.status());
        response
    };
    let mut work = tokio::spawn(traces::carried(work).in_current_span());
    let late = async {
        let mut all = pin!(sleep_until(arrived + ANSWER_WITHIN));
        // A body has its own time limit (contract, ruling 19). Work before it is read, such as authentication, counts.
        tokio::select! {
            biased;
            Ok(()) = when_began => {}
            () = &mut all => return,
        }
        let left = all.deadline().saturating_duration_since(Instant::now());
        let _: Result<(), _> = when_ended.await;
        sleep(left).await;
    };
    tokio::select! {
        biased;
        done = &mut work => done.unwrap_or_else(|error| {
            ApiError::Internal(anyhow::Error::from(error).context("run a handler")).into_response()
        }),
        () = late => ApiError::unavailable(anyhow::anyhow!("the engines did not answer in time"))
            .into_response(),
    }
}

/// When the head of a request arrived that had to wait before it was worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

fn arrived_at(request: &Request) -> Instant {
    request.extensions().get::<Arrived>().map_or_else(Instant::now, |arrived| arrived.0)
}

/// Signals a body's first read. It goes with the body at its end, which drops `_ended` and signals that.
struct Timing {
    began: Option<oneshot::Sender<()>>,
    _ended: oneshot::Sender<()>,
}

impl Watcher for Timing {
    fn on_read(&mut self) {
        if let Some(began) = self.began.take() {
            // The receiver is gone if the answer is already late.
            let _: Result<(), ()> = began.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::Router;
    use axum::extract::FromRequestParts;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use bytes::Bytes;
    use futures::StreamExt as _;
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    fn slow(takes: Duration, done: Arc<AtomicBool>) -> Router {
        let handler = move |body: Bytes| async move {
            sleep(takes).await;
            done.store(true, Ordering::SeqCst);
            body
        };
        Router::new().route("/", post(handler)).layer(from_fn(in_time))
    }

    fn request(body: Body) -> Request {
        Request::builder().method("POST").uri("/").body(body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn p12_a_late_answer_is_503_and_the_work_still_completes() {
        let done = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let router = slow(Duration::from_secs(4), done.clone());
        let answer = router.oneshot(request(Body::from("x"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        assert!(started.elapsed() < Duration::from_millis(2500));
        assert!(!done.load(Ordering::SeqCst));
        sleep(Duration::from_secs(2)).await;
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_disconnects_interrupts_nothing() {
        let done = Arc::new(AtomicBool::new(false));
        let answer = slow(Duration::from_secs(1), done.clone()).oneshot(request(Body::from("x")));
        tokio::time::timeout(Duration::from_millis(10), answer).await.unwrap_err();
        sleep(Duration::from_secs(2)).await;
        assert!(done.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_does_not_count_against_the_answers_time() {
        let pieces = futures::stream::iter(0..4).then(async |_| {
            sleep(Duration::from_secs(2)).await;
            Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
        });
        let router = slow(Duration::from_secs(1), Arc::default());
        let answer = router.oneshot(request(Body::from_stream(pieces))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    /// An extractor that takes a while, like authentication.
    struct Known;

    impl<S: Sync> FromRequestParts<S> for Known {
        type Rejection = std::convert::Infallible;

        async fn from_request_parts(
            _: &mut http::request::Parts,
            _: &S,
        ) -> Result<Self, Self::Rejection> {
            sleep(Duration::from_millis(1_500)).await;
            Ok(Self)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p12_work_before_the_body_is_read_counts() {
        let handler = async |_: Known, _: Bytes| sleep(Duration::from_secs(1)).await;
        for body in [Body::from("x"), Body::empty()] {
            let router = Router::new().route("/", post(handler)).layer(from_fn(in_time));
            let started = Instant::now();
            let answer = router.oneshot(request(body)).await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
        }
    }
}
