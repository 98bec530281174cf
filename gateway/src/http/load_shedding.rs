//! Which requests are refused first when there are more than can be answered in time (contract, ruling 76).

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};

use crate::http::accept_queue::AcceptQueue;
use crate::http::body::discard_arrived;
use crate::http::code_request_rate::{CodeRequestRate, Strain};
use crate::http::concurrency_limit::{ConcurrencyLimit, InHand, Kind, Priority, Shed, count_shed};
use crate::http::error::{AlreadyLogged, ApiError};

/// What decides how much this process takes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shedding {
    pub limit: ConcurrencyLimit,
    pub rate: CodeRequestRate,
    pub port: AcceptQueue,
}

impl Shedding {
    /// The strain since the last call.
    pub(crate) fn strain(&self) -> Strain {
        let behind = if self.port.is_behind() { Strain::Some } else { Strain::None };
        self.limit.take_strain().max(behind)
    }

    /// Whether this is a code request that could not be texted in time. It is for a request that nothing was done for yet,
    /// when most are refused: what a refusal costs is taken from those who sign in.
    pub(crate) fn refuses(&self, request: &Request) -> bool {
        let refuses = is_code_request(request) && self.rate.enter().is_err();
        if refuses {
            count_shed(Priority::Low);
        }
        refuses
    }
}

/// Refuses a request with 503 if too many are in hand. Others carry their [`InHand`], which whoever works on them holds to
/// the end of that work.
pub(crate) async fn shed(limit: ConcurrencyLimit, mut request: Request, next: Next) -> Response {
    if let Some(priority) = priority(&request) {
        match limit.enter(priority) {
            Ok(in_hand) => _ = request.extensions_mut().insert(in_hand),
            Err(shed) => return refusal(shed, request).await,
        }
    }
    next.run(request).await
}

/// The answer to a request that is refused.
pub(crate) async fn refusal(shed: Shed, request: Request) -> Response {
    // A connection whose request was read can serve the next one.
    discard_arrived(request).await;
    ApiError::from(shed).into_response()
}

impl From<Shed> for ApiError {
    fn from(_: Shed) -> Self {
        Self::unavailable(AlreadyLogged("more requests than can be answered in time"))
    }
}

/// `None`: never refused, as it costs no more than a refusal.
fn priority(request: &Request) -> Option<Priority> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    Some(match path.unwrap_or_default() {
        "/.well-known/jwks.json" => return None,
        path if is_of_code(path) => Priority::Low,
        path if path.starts_with("/v1/otp/") || path.starts_with("/console") => Priority::Normal,
        path if path.starts_with("/v1/") || path.starts_with("/webhooks/") => Priority::High,
        _ => Priority::Low,
    })
}

/// Whether a code is texted if all is well.
fn is_code_request(request: &Request) -> bool {
    request.method() == Method::POST && is_of_code(request.uri().path())
}

fn is_of_code(path: &str) -> bool {
    matches!(path, "/v1/otp" | "/v1/signup" | "/v1/me/phone")
}

/// Of the routes whose times tell how loaded this process and its engines are. Hashes of passwords have a queue and a
/// limit of their own.
fn kind(request: &Request) -> Option<Kind> {
    let path = request.extensions().get::<MatchedPath>()?;
    match path.as_str() {
        "/v1/otp" | "/v1/signup" => Some(Kind::CodeRequest),
        "/v1/login" => Some(Kind::SignIn),
        "/v1/token/refresh" => Some(Kind::Refresh),
        _ => None,
    }
}

/// Tells a request's answer to the limit.
#[derive(Debug)]
pub(crate) struct Answering {
    in_hand: Option<InHand>,
    kind: Option<Kind>,
}

impl Answering {
    /// Of a request that is about to be worked on.
    pub(crate) fn of(request: &Request) -> Self {
        Self { in_hand: request.extensions().get().cloned(), kind: kind(request) }
    }

    /// The work is over. What a client did wrong says nothing: such an answer may have been quick for want of work, or slow
    /// on purpose. Nor does an engine that is away, unless it was waited for.
    pub(crate) fn done(self, status: StatusCode) {
        let (Some(in_hand), Some(kind)) = (self.in_hand, self.kind) else { return };
        if status.is_success() || (status.is_server_error() && in_hand.is_late()) {
            in_hand.answered(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::routing::{get, post};
    use domain::clock::Clock;
    use futures::future::join_all;
    use tokio::time::{Instant, sleep};
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::body;
    use crate::http::body_slots::BodySlots;
    use crate::http::connection_limits::Limits;
    use crate::http::layers::{self, Public, Settings};
    use crate::http::request_timeout::ANSWER_WITHIN;

    /// A gateway whose engines do not answer.
    fn stuck(shedding: &Shedding) -> Public {
        let never = async |request: Request| {
            let _: Result<Bytes, ApiError> = body::read(request).await;
            sleep(ANSWER_WITHIN * 2).await;
        };
        let routes = Router::new()
            .route("/v1/otp", post(never))
            .route("/v1/otp/{request_id}", get(never))
            .route("/v1/login", post(never))
            .route("/.well-known/jwks.json", get(async || "keys"));
        let shedding = Some(shedding.clone());
        let settings = Settings { shedding, ..Settings::plain(Clock::manual()) };
        layers::finish(routes, settings).unwrap()
    }

    async fn send(service: &Public, method: Method, path: &str, body: Body) -> Response {
        let request = Request::builder().method(method).uri(path).body(body).unwrap();
        service.clone().oneshot(request).await.unwrap()
    }

    /// Sends so many of these at once; returns how many are refused before the engines could have answered.
    async fn refused(service: &Public, method: &Method, path: &str, count: usize) -> usize {
        let begun = Instant::now();
        let one = async |_| {
            let answer = send(service, method.clone(), path, Body::empty()).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers().contains_key("retry-after"), "it says when to come back");
            assert!(answer.headers().contains_key("x-request-id"));
            begun.elapsed() < ANSWER_WITHIN
        };
        join_all((0..count).map(one)).await.into_iter().filter(|at_once| *at_once).count()
    }

    #[tokio::test(start_paused = true)]
    async fn p12_code_requests_are_refused_first_and_sign_ins_last() {
        let shedding = Shedding::default();
        let (limit, service) = (&shedding.limit, stuck(&shedding));
        let (codes, statuses, logins, keys) = tokio::join!(
            refused(&service, &Method::POST, "/v1/otp", 700),
            refused(&service, &Method::GET, "/v1/otp/1", 300),
            refused(&service, &Method::POST, "/v1/login", 1100),
            send(&service, Method::GET, "/.well-known/jwks.json", Body::empty()),
        );
        assert_eq!([codes, statuses, logins], [700 - 615, 300 - 205, 1100 - 1024]);
        assert_eq!(keys.status(), StatusCode::OK);
        // What was answered late is in hand until its work is over.
        assert_eq!(limit.figures().1, 615 + 205 + 1024);
        sleep(ANSWER_WITHIN * 2).await;
        assert_eq!(limit.figures().1, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn p12_a_code_request_that_could_not_be_texted_in_time_is_refused_before_anything_else() {
        let shedding = Shedding::default();
        let settings = Settings {
            cors_origins: vec!["https://app.example".to_owned()],
            shedding: Some(shedding.clone()),
            ..Settings::plain(Clock::manual())
        };
        let routes = Router::new()
            .route("/v1/otp", post(async || "accepted").get(async || "another"))
            .route("/v1/login", post(async || "signed in"));
        let service = layers::finish(routes, settings).unwrap();
        let accepted = send(&service, Method::POST, "/v1/otp", Body::empty()).await;
        assert_eq!(accepted.status(), StatusCode::OK);
        for _ in 0..100 {
            shedding.rate.count(Duration::from_millis(500));
        }
        shedding.rate.feel(Strain::Some);
        while shedding.rate.enter().is_ok() {}
        for path in ["/v1/otp", "/v1/otp/", "/v1/signup", "/v1/me/phone"] {
            let request = Request::post(path).header("origin", "https://app.example");
            let request = request.header("x-request-id", "mine").body(Body::from("{}")).unwrap();
            let answer = service.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            for (name, value) in [
                ("x-request-id", "mine"),
                ("cache-control", "no-store"),
                ("access-control-allow-origin", "https://app.example"),
                ("content-type", "application/problem+json"),
            ] {
                assert_eq!(answer.headers()[name], value, "{path}");
            }
            assert!(answer.headers().contains_key("retry-after"), "{path}");
        }
        for (method, path) in [(Method::GET, "/v1/otp"), (Method::POST, "/v1/login")] {
            let answer = send(&service, method, path, Body::empty()).await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
        assert_eq!(shedding.limit.figures().1, 0, "none of them was in hand");
    }

    #[tokio::test(start_paused = true)]
    async fn f06_bodies_that_are_waited_for_are_not_in_hand() {
        let shedding = Shedding::default();
        let (limit, service) = (&shedding.limit, stuck(&shedding));
        let slots = BodySlots::new(&Limits::default());
        let waits = async |_| {
            let body = Body::from_stream(futures::stream::pending::<Result<Bytes, axum::Error>>());
            let mut request = Request::builder().method("POST").uri("/v1/otp").body(body).unwrap();
            request.extensions_mut().insert(slots.clone());
            service.clone().oneshot(request).await
        };
        let waiting = join_all((0..20).map(waits));
        let looks = async {
            sleep(ANSWER_WITHIN / 2).await;
            limit.figures().1
        };
        tokio::select! {
            _ = waiting => panic!("a body has 10 s"),
            in_hand = looks => assert_eq!(in_hand, 0),
        }
    }
}
