//! Reads a request's body and checks its media type, size and time before anything parses it.

use std::mem;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::http::body_slots::{BodySlot, BodySlots};
use crate::http::client_ip::ClientIp;
use crate::http::concurrency_limit::InHand;
use crate::http::error::{AlreadyLogged, ApiError};
use crate::http::fields::Fields;

/// Limits on a body. A request carries its own as an extension; without one the defaults apply.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Maximum size in bytes (contract, section 3).
    pub bytes: usize,
    /// How long the whole body may take to arrive (contract, ruling 19).
    pub within: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 16 * 1024, within: Duration::from_secs(10) }
    }
}

/// How much of a refused body is read and discarded, so that a client that writes before it reads gets the answer and
/// not a connection reset.
const DRAIN: BodyLimits = BodyLimits { bytes: 256 * 1024, within: Duration::from_millis(500) };

/// A JSON object whose fields are not read yet.
#[derive(Debug)]
pub struct JsonBody(pub Fields);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_is_json(request.headers())?;
        let bytes = read(request).await?;
        Ok(Self(Fields::parse(&bytes)?))
    }
}

/// A JSON object, or no body at all: as one without fields. For calls whose every field is optional.
#[derive(Debug)]
pub struct OptionalJsonBody(pub Fields);

impl<S: Sync> FromRequest<S> for OptionalJsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let media_type = check_is_json(request.headers());
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(Fields::parse(&Bytes::from_static(b"{}"))?));
        }
        media_type?;
        Ok(Self(Fields::parse(&bytes)?))
    }
}

/// Reads a body of any type within the request's [`BodyLimits`]. Encoded bodies are refused earlier.
pub async fn read(request: Request) -> Result<Bytes, ApiError> {
    let limits = request.extensions().get::<BodyLimits>().copied().unwrap_or_default();
    let (parts, body) = request.into_parts();
    read_body(parts, body, limits).await
}

/// Like [`read`], for a route with its own limits (a webhook's form).
pub async fn read_body(parts: Parts, body: Body, limits: BodyLimits) -> Result<Bytes, ApiError> {
    // A client that waits for `100 Continue` has sent nothing yet; draining would make it send the body.
    let waits = parts.headers.contains_key(EXPECT);
    let declared = declared_length(&parts.headers);
    let mut arriving = Arriving::new(&parts.extensions, body);
    // The head's strings are parts of one buffer, which this alone may keep: it is free while the body is waited for.
    drop(parts);
    if declared.is_some_and(|length| length > limits.bytes as u64) {
        if !waits {
            drain(&mut arriving).await;
        }
        return Err(ApiError::PayloadTooLarge);
    }
    if waits && !arriving.body.is_end_stream() {
        // Before the first read, which sends `100 Continue`.
        arriving.take_slot().map_err(ApiError::unavailable)?;
    }
    match timeout(limits.within, collect(&mut arriving, limits.bytes)).await {
        Ok(Ok(bytes)) => {
            arriving.in_hand.iter().try_for_each(InHand::take_up)?;
            Ok(bytes)
        }
        Ok(Err(Cut::TooLarge)) => {
            drain(&mut arriving).await;
            Err(ApiError::PayloadTooLarge)
        }
        Ok(Err(Cut::NoSlot(cause))) => Err(ApiError::unavailable(cause)),
        Ok(Err(Cut::Broken)) => {
            Err(ApiError::body("incomplete", "The body ended early; send it again in full."))
        }
        Err(_) => Err(ApiError::body(
            "too_slow",
            format!("A body must arrive within {} seconds.", limits.within.as_secs().max(1)),
        )),
    }
}

/// Reads what has arrived of a refused request's body, and waits for nothing.
pub(crate) async fn discard_arrived(request: Request) {
    let (parts, body) = request.into_parts();
    let mut arriving = Arriving::new(&parts.extensions, body);
    arriving.discard(false).await;
}

enum Cut {
    TooLarge,
    Broken,
    NoSlot(AlreadyLogged),
}

type Next = Option<Result<Frame<Bytes>, axum::Error>>;

/// A body on its way. It takes a slot when it has to be waited for, and keeps it to its end.
struct Arriving {
    body: Body,
    /// `None`: its server does not limit them.
    slots: Option<BodySlots>,
    client: ClientIp,
    slot: Option<BodySlot>,
    /// The request's place among those in hand.
    in_hand: Option<InHand>,
}

impl Arriving {
    fn new(extensions: &Extensions, body: Body) -> Self {
        let slots = extensions.get::<BodySlots>().cloned();
        let in_hand = extensions.get::<InHand>().cloned();
        Self { body, slots, client: ClientIp::of(extensions), slot: None, in_hand }
    }

    /// The next frame, if it has arrived.
    async fn arrived(&mut self) -> Option<Next> {
        let next = self.now();
        if next.is_some() {
            return next;
        }
        // The connection hands on one frame at a time, in a task that may only need its turn.
        yield_now().await;
        self.now()
    }

    fn now(&mut self) -> Option<Next> {
        if self.body.is_end_stream() { Some(None) } else { self.body.frame().now_or_never() }
    }

    /// Waits for the next frame, unless its slot goes to another body meanwhile.
    async fn wait(&mut self) -> Result<Next, Cut> {
        self.take_slot().map_err(Cut::NoSlot)?;
        tokio::select! {
            biased;
            next = self.body.frame() => Ok(next),
            () = must_end(self.slot.as_ref()) => {
                Err(Cut::NoSlot(AlreadyLogged("a body that waited long made room for another")))
            }
        }
    }

    /// Discards what arrives, as much as is drained at most: with or without waiting for it.
    async fn discard(&mut self, waits: bool) {
        let mut left = DRAIN.bytes;
        while left > 0 {
            let next = match self.arrived().await {
                Some(next) => Ok(next),
                None if waits => self.wait().await,
                None => return,
            };
            let Ok(Some(Ok(frame))) = next else { return };
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
    }

    fn take_slot(&mut self) -> Result<(), AlreadyLogged> {
        if let (Some(slots), None) = (&self.slots, &self.slot) {
            self.slot = Some(slots.enter(self.client)?);
            if let Some(in_hand) = &self.in_hand {
                in_hand.put_aside();
            }
        }
        Ok(())
    }
}

/// Completes when the body must make room; never without a slot.
async fn must_end(slot: Option<&BodySlot>) {
    match slot {
        Some(slot) => slot.must_end().await,
        None => std::future::pending().await,
    }
}

/// What has arrived of a body: one frame as it came, or a copy of several.
#[derive(Default)]
struct Arrived {
    frame: Bytes,
    copied: Vec<u8>,
}

impl Arrived {
    fn len(&self) -> usize {
        self.frame.len() + self.copied.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.frame = data;
        } else {
            self.let_go();
            self.copy(&data);
        }
    }

    /// Lets go of the frame: it is a part of a larger buffer, which would be kept for it.
    fn let_go(&mut self) {
        let frame = mem::take(&mut self.frame);
        self.copy(&frame);
    }

    /// The buffer grows with what arrives: a promised length alone reserves nothing.
    fn copy(&mut self, data: &[u8]) {
        self.copied.extend_from_slice(data);
    }

    fn whole(self) -> Bytes {
        if self.copied.is_empty() { self.frame } else { self.copied.into() }
    }
}

/// Reads to the end and buffers at most `most` bytes and one frame.
async fn collect(arriving: &mut Arriving, most: usize) -> Result<Bytes, Cut> {
    let mut arrived = Arrived::default();
    loop {
        let next = match arriving.arrived().await {
            Some(next) => next,
            None => {
                arrived.let_go();
                arriving.wait().await?
            }
        };
        let Some(frame) = next else { return Ok(arrived.whole()) };
        // Trailers are dropped: we use none.
        let Ok(data) = frame.map_err(|_| Cut::Broken)?.into_data() else { continue };
        if arrived.len() + data.len() > most {
            return Err(Cut::TooLarge);
        }
        arrived.push(data);
    }
}

/// Without a slot it ends at once: the connection discards as much again when it closes.
async fn drain(arriving: &mut Arriving) {
    // The refusal is the same whether the body ended or time ran out.
    let _ = timeout(DRAIN.within, arriving.discard(true)).await;
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `application/json`, alone or with `charset=utf-8` in any case.
pub(crate) fn check_is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if is_json(value) => Ok(()),
        _ => Err(ApiError::UnsupportedMediaType {
            detail: "Send JSON in UTF-8 with `Content-Type: application/json`.",
        }),
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(is_utf8_charset)
}

fn is_utf8_charset(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        let bare =
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        name.eq_ignore_ascii_case("charset") && bare.eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::channel::mpsc;
    use futures::{StreamExt as _, stream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::http::connection_limits::Limits;

    fn request(kind: Option<&str>, body: impl Into<Body>) -> Request {
        let mut request = Request::new(body.into());
        if let Some(kind) = kind {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        request
    }

    async fn status(request: Request) -> u16 {
        match JsonBody::from_request(request, &()).await {
            Ok(_) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn only_json_in_utf8_is_accepted() {
        for (kind, wanted) in [
            (Some("application/json"), 200),
            (Some("Application/JSON"), 200),
            (Some("application/json; charset=utf-8"), 200),
            (Some("application/json;charset=UTF-8"), 200),
            (Some("application/json; charset=\"utf-8\""), 200),
            (Some("application/json; charset=utf-16"), 415),
            (Some("application/json; charset="), 415),
            (Some("application/json; charset"), 415),
            (Some("application/json;"), 415),
            (Some("application/json; a=b"), 415),
            (Some("application/json, text/plain"), 415),
            (Some("application/problem+json"), 415),
            (Some("text/plain"), 415),
            (Some("application/x-www-form-urlencoded"), 415),
            (Some(""), 415),
            (None, 415),
        ] {
            assert_eq!(status(request(kind, "{}")).await, wanted, "{kind:?}");
        }
        let mut twice = request(Some("application/json"), "{}");
        twice.headers_mut().append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(status(twice).await, 415);
    }

    #[tokio::test]
    async fn sixteen_kibibytes_are_accepted_and_one_byte_more_is_not() {
        let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        for (length, wanted) in [(16_384, 200), (16_385, 413)] {
            let whole = request(Some("application/json"), body(length));
            assert_eq!(status(whole).await, wanted, "{length} at once");
            let chunks: Vec<_> =
                body(length).into_bytes().chunks(1000).map(<[u8]>::to_vec).collect();
            let stream =
                Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
            assert_eq!(
                status(request(Some("application/json"), stream)).await,
                wanted,
                "{length} in chunks"
            );
        }
        let mut declared = request(Some("application/json"), "{}");
        declared.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1073741824"));
        assert_eq!(status(declared).await, 413, "refused by its declared length");
    }

    #[tokio::test]
    async fn a_gibibyte_in_chunks_is_refused_early() {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = taken.clone();
        let endless = stream::repeat(vec![b' '; 8192]).take(1 << 17).map(move |chunk| {
            counter.fetch_add(chunk.len(), Ordering::SeqCst);
            Ok::<_, Infallible>(chunk)
        });
        assert_eq!(
            status(request(Some("application/json"), Body::from_stream(endless))).await,
            413
        );
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken <= 16_384 + 8192 + DRAIN.bytes + 8192, "{taken} bytes were read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripping_body_is_refused_at_its_deadline() {
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Some((Ok::<_, Infallible>(" "), ()))
        });
        let started = tokio::time::Instant::now();
        let error =
            JsonBody::from_request(request(Some("application/json"), Body::from_stream(drip)), &())
                .await
                .unwrap_err();
        assert_eq!(started.elapsed(), Duration::from_secs(10));
        assert!(matches!(error, ApiError::InvalidRequest(errors) if errors[0].code == "too_slow"));
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied_and_what_a_body_keeps_grows_with_what_arrives() {
        let whole = Bytes::from(vec![b' '; 1000]);
        let read = read(Request::new(Body::from(whole.clone()))).await.unwrap();
        assert_eq!(read.as_ptr(), whole.as_ptr());
        let mut arrived = Arrived::default();
        arrived.let_go();
        assert_eq!(arrived.copied.capacity(), 0, "nothing has arrived");
        for _ in 0..600 {
            arrived.push(whole.slice(..1));
            arrived.let_go();
        }
        assert!(arrived.copied.capacity() < 2 * 600, "{}", arrived.copied.capacity());
        assert_eq!(arrived.whole(), whole.slice(..600));
    }

    /// A body that is sent piece by piece, and what sends it.
    fn sent() -> (mpsc::UnboundedSender<Result<Bytes, Infallible>>, Body) {
        let (sender, pieces) = mpsc::unbounded();
        (sender, Body::from_stream(pieces))
    }

    /// Reads a body of this client, as far as it comes.
    fn reading(slots: &BodySlots, client: u8, body: Body) -> JoinHandle<Result<Bytes, ApiError>> {
        let mut request = Request::new(body);
        request.extensions_mut().insert(slots.clone());
        request.extensions_mut().insert(ClientIp::new([192, 0, client, 1].into()));
        tokio::spawn(read(request))
    }

    async fn until_taken(slots: &BodySlots, count: usize) {
        while slots.taken() != count {
            yield_now().await;
        }
    }

    /// Two slots, one for each address.
    fn two_slots() -> BodySlots {
        BodySlots::new(&Limits { connections: 4, connections_of_one: 1, ..Limits::default() })
    }

    #[tokio::test]
    async fn f06_a_body_takes_a_slot_only_while_it_is_waited_for() {
        let slots = two_slots();
        let ((first, body), (second, other)) = (sent(), sent());
        let (held, cut) = (reading(&slots, 1, body), reading(&slots, 2, other));
        until_taken(&slots, 2).await;
        // What is there in whole needs none, in however many pieces it came, and neither does what came to nothing.
        let pieces = stream::iter(0..9).map(|_| Ok::<_, Infallible>("x"));
        for body in [Body::from("x"), Body::empty(), Body::from_stream(pieces)] {
            reading(&slots, 1, body).await.unwrap().unwrap();
        }
        first.unbounded_send(Ok("{".into())).unwrap();
        assert_eq!(slots.taken(), 2);
        first.unbounded_send(Ok("}".into())).unwrap();
        drop(first);
        assert_eq!(held.await.unwrap().unwrap(), "{}");
        until_taken(&slots, 1).await;
        // A client that leaves breaks its body off.
        cut.abort();
        until_taken(&slots, 0).await;
        drop(second);
    }

    #[tokio::test]
    async fn f06_a_newcomer_ends_the_body_that_has_waited_longest_and_no_other() {
        let slots = two_slots();
        let (mut senders, mut readers) = (Vec::new(), Vec::new());
        for client in 1..=2 {
            let (sender, body) = sent();
            sender.unbounded_send(Ok("{".into())).unwrap();
            senders.push(sender);
            readers.push(reading(&slots, client, body));
            until_taken(&slots, client.into()).await;
        }
        let (sender, body) = sent();
        senders.push(sender);
        readers.push(reading(&slots, 3, body));
        let ended = readers.remove(0).await.unwrap().unwrap_err();
        assert_eq!((ended.status().as_u16(), ended.code()), (503, "temporarily_unavailable"));
        assert_eq!(slots.taken(), 2);
        for sender in &senders[1..] {
            sender.unbounded_send(Ok("}".into())).unwrap();
        }
        drop(senders);
        for (reader, wanted) in readers.into_iter().zip(["{}", "}"]) {
            assert_eq!(reader.await.unwrap().unwrap(), wanted);
        }
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test]
    async fn f06_a_client_with_its_share_of_slots_is_refused_and_another_is_not() {
        let slots = two_slots();
        let ((_first, body), (_second, more), (_third, other)) = (sent(), sent(), sent());
        let _held = reading(&slots, 1, body);
        until_taken(&slots, 1).await;
        assert_eq!(reading(&slots, 1, more).await.unwrap().unwrap_err().status().as_u16(), 503);
        let _other = reading(&slots, 2, other);
        until_taken(&slots, 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn f06_a_body_whose_time_is_over_gives_its_slot_back() {
        let slots = two_slots();
        let (_sender, body) = sent();
        let late = reading(&slots, 1, body);
        until_taken(&slots, 1).await;
        let refused = late.await.unwrap().unwrap_err();
        assert!(matches!(refused, ApiError::InvalidRequest(flaws) if flaws[0].code == "too_slow"));
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test]
    async fn broken_json_and_an_empty_body_are_400() {
        for text in ["", "hello", "[]", "{\"a\":", "{\"a\":1} x", "{\"a\":1,\"a\":1}", "\u{feff}{}"]
        {
            assert_eq!(status(request(Some("application/json"), text)).await, 400, "{text}");
        }
    }
}
