//! `GET /v1/otp/{request_id}/events`: streams the request's status until it is final.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::ids::RequestId;
use domain::timestamp::Timestamp;
use futures::Stream;
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use http_body::Body as _;
use store::Watch;
use utoipa::ToSchema;

use crate::api::otp::{hidden_for, view};
use crate::app::App;
use crate::http::client_ip::ClientIp;
use crate::http::error::{AlreadyLogged, ApiError};
use crate::http::path_params::PathId;
use crate::http::stream_limits::StreamPermit;
use crate::openapi::params::LastEventId;
use crate::openapi::refusals::refusals;

/// A comment at this interval keeps proxies and phones from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The store's subscription wakes a stream and reports missed changes; this is a fallback for the unforeseen. Rare, so
/// that thousands of waiting streams do not each poll the store.
const READ_AGAIN: Duration = Duration::from_mins(2);
/// The delay after an expiry, so that the store has passed it too: the round trip takes a moment, and our clock may be
/// fast.
const PAST_EXPIRY_SECS: i64 = 1;

/// An event of the stream.
#[derive(ToSchema)]
#[schema(examples(json!({
    "event": "status",
    "id": "3",
    "data": "{\"request_id\":\"019c2b7e-8f00-7a31-9d2c-5b1f0e6c4a11\",\"status\":\"sent\",\
        \"updated_at\":\"2026-11-30T10:15:01.204Z\",\"expires_at\":\"2026-11-30T10:20:00.000Z\",\
        \"next_channels\":[\"voice\"]}",
})))]
#[expect(dead_code, reason = "it only describes what the stream writes")]
struct StatusEvent {
    /// Always `status`.
    event: String,
    /// The rank of the status, from 0 to 5.
    id: String,
    /// The status, as the call for one status answers it: JSON in a text.
    data: String,
}

refusals!(StreamRefused: NoBody, NotFound);

/// Streams each status once, in order of rank. A client that reconnects with `Last-Event-ID` gets only newer ones: the
/// id of an event is its rank.
///
/// A body is refused: nobody would read it, and behind an unread one the client's end is not noticed.
#[utoipa::path(
    get, path = "/v1/otp/{request_id}/events", tag = "codes", operation_id = "streamCodeRequest",
    summary = "The status as it changes",
    description = "Server-sent events (`event: status`): the present status at once, then each later one; the \
        `data` is what the status call answers, the `id` its rank. The stream ends at a final status. It takes no \
        body.",
    params(
        ("request_id" = uuid::Uuid, Path, description = "The `request_id` of the answer to a code request."),
        LastEventId,
    ),
    responses((status = 200, description = "The stream; the schema is that of one event.", body = StatusEvent,
        content_type = "text/event-stream"), StreamRefused),
)]
pub(crate) async fn stream(
    State(app): State<App>,
    PathId(request): PathId<RequestId>,
    client: ClientIp,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if !body.is_end_stream() {
        return Err(ApiError::body("not_accepted", "Send this call without a body."));
    }
    let permit = app
        .streams
        .enter(request, client)
        .ok_or_else(|| ApiError::unavailable(AlreadyLogged("too many event streams are open")))?;
    // Watch before reading, so that no change in between is missed.
    let watch = app.statuses.watch(request);
    let found = app.statuses.get(request).await?.ok_or(ApiError::NotFound)?;
    let last_rank = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse::<i8>().ok());
    let follower = Follower {
        app,
        request,
        watch,
        expires_at: found.expires_at,
        ahead_ms: 0,
        hidden_for: Duration::ZERO,
        last_rank: last_rank.unwrap_or(-1),
        ended: false,
        _permit: permit,
    };
    // `Sse` sets `no-cache`, which still lets a cache store the answer and revalidate it.
    let sse = Sse::new(follower.events()).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    Ok(([(CACHE_CONTROL, "no-store")], sse).into_response())
}

struct Follower {
    app: App,
    request: RequestId,
    watch: Watch,
    expires_at: Timestamp,
    /// How far the store's clock was ahead of ours at the last read.
    ahead_ms: i64,
    /// How long the progress was still hidden at the last read.
    hidden_for: Duration,
    /// The last rank that was sent.
    last_rank: i8,
    ended: bool,
    _permit: StreamPermit,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures::stream::unfold(self, move |mut follower| async move {
            while !follower.ended {
                if let Some(event) = follower.next_state().await {
                    return Some((Ok(event), follower));
                }
                if follower.ended || !follower.woken().await {
                    break;
                }
            }
            None
        })
    }

    /// Waits for a reason to read the status again: a change, the expiry, the end of its hiding, or a long silence.
    /// Returns `false` when the process stops: the client reconnects to another one with its `Last-Event-ID`.
    async fn woken(&mut self) -> bool {
        let expires_in = self.expires_at.plus_secs(PAST_EXPIRY_SECS);
        let now = self.app.engines.clock.now().plus_ms(self.ahead_ms);
        let expires_in = Duration::from_secs(expires_in.secs_from(now));
        // Past the expiry every status is final: only a store that is away can keep a stream open this long.
        let quiet =
            if expires_in.is_zero() { Duration::from_secs(5) } else { expires_in.min(READ_AGAIN) };
        let app = &self.app;
        let quiet = if self.hidden_for.is_zero() { quiet } else { self.hidden_for.min(quiet) };
        tokio::select! {
            () = app.stop.cancelled() => false,
            // A hidden change is no reason: it could not be told, and only a known phone's text causes some.
            () = self.watch.changed(), if self.hidden_for.is_zero() => true,
            () = tokio::time::sleep(quiet) => true,
        }
    }

    /// The status as an event, if its rank is higher than the last one sent.
    async fn next_state(&mut self) -> Option<Event> {
        self.hidden_for = hidden_for(&self.app, self.request);
        // If the store is away for a moment, the status is read again later; the stream just stays quiet.
        let Ok(found) = self.app.statuses.get(self.request).await else { return None };
        let Some(found) = found else {
            self.ended = true;
            return None;
        };
        self.ahead_ms = found.now.ms() - self.app.engines.clock.now_ms();
        let view = view(&self.app, self.request, found, self.hidden_for);
        let rank = i8::try_from(view.rank()).unwrap_or(i8::MAX);
        self.ended = view.is_last;
        if rank <= self.last_rank {
            return None;
        }
        self.last_rank = rank;
        Event::default().event("status").id(rank.to_string()).json_data(&view).ok()
    }
}
