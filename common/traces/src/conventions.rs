//! What each kind of span says, by the semantic conventions of OpenTelemetry 1.37 (HTTP, messaging, database).
//!
//! These are all the names and attributes that a span can have. Their values are words of the code, numbers, ids that we
//! made, and the host of a provider that the operator configured.

use std::future::Future;

use domain::engine_error::EngineError;
use domain::trace_context::TraceContext;
use futures::future::Either;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;

use crate::exporter;
use crate::span::{Place, Span, current};

/// A request of a client: the step that everything which follows belongs to, and its span. `route` is the template;
/// `None` if no route matches. `trusts`: whether the peer that sent `parent` is a proxy of ours.
pub fn serving(
    method: &'static str,
    route: Option<&str>,
    scheme: &'static str,
    parent: Option<TraceContext>,
    trusts: bool,
) -> (TraceContext, Span) {
    let context = parent.map_or_else(TraceContext::new_root, |parent| parent.child());
    let Some(sampling) = exporter::sampling() else { return (context, Span::unrecorded()) };
    let context = context.with_sampled(sampling.samples(parent.as_ref(), trusts));
    if !context.is_sampled() {
        return (context, Span::unrecorded());
    }
    let mut attributes =
        vec![KeyValue::new("http.request.method", method), KeyValue::new("url.scheme", scheme)];
    let name = match route {
        Some(route) => {
            attributes.push(KeyValue::new("http.route", route.to_owned()));
            format!("{method} {route}").into()
        }
        None => std::borrow::Cow::Borrowed(method),
    };
    let place = Place { context, parent, is_parent_remote: parent.is_some() };
    (context, Span::start(SpanKind::Server, place, name, attributes))
}

/// An event on its way to the broker. Its parent is the span that this task is in, if it is of the event's trace.
pub fn publishing(system: &'static str, kind: &str, id: &str, event: Option<TraceContext>) -> Span {
    let Some(event) = event.filter(|event| exporter::is_on() && event.is_sampled()) else {
        return Span::unrecorded();
    };
    let own = current().filter(|current| current.is_of_trace(&event));
    let place = Place::after(own.unwrap_or(event), false);
    let destination = format!("latchkey:{kind}");
    let attributes = vec![
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.destination.name", destination.clone()),
        KeyValue::new("messaging.rabbitmq.destination.routing_key", kind.to_owned()),
        KeyValue::new("messaging.message.id", id.to_owned()),
    ];
    Span::start(SpanKind::Producer, place, format!("publish {destination}"), attributes)
}

/// The work on an event that a worker took from `queue`. `kind` and `id` are words that a log line may hold.
pub fn processing(
    system: &'static str,
    queue: &'static str,
    kind: &str,
    id: Option<&str>,
    event: Option<TraceContext>,
) -> Span {
    let Some(event) = event.filter(|event| exporter::is_on() && event.is_sampled()) else {
        return Span::unrecorded();
    };
    let destination = format!("latchkey:{kind}:{queue}");
    let mut attributes = vec![
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.destination.name", destination.clone()),
        KeyValue::new("messaging.rabbitmq.destination.routing_key", kind.to_owned()),
    ];
    attributes.extend(id.map(|id| KeyValue::new("messaging.message.id", id.to_owned())));
    let name = format!("process {destination}");
    Span::start(SpanKind::Consumer, Place::after(event, true), name, attributes)
}

/// A request to a provider, as part of the span that this task is in. Host and scheme are those that the operator
/// configured; the path may name an account and is left out.
pub fn calling(method: &'static str, scheme: &str, host: &str) -> Span {
    let Some(parent) = current() else { return Span::unrecorded() };
    let attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("server.address", host.to_owned()),
        KeyValue::new("url.scheme", scheme.to_owned()),
    ];
    Span::start(SpanKind::Client, Place::after(parent, false), method, attributes)
}

/// An operation of an engine, as part of the span that this task is in. `operation` is our own name for it, and never a
/// statement.
pub fn engine<T, F>(
    system: &'static str,
    operation: &'static str,
    work: F,
) -> impl Future<Output = Result<T, EngineError>>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let Some(parent) = current() else { return Either::Left(work) };
    let attributes = vec![
        KeyValue::new("db.system.name", system),
        KeyValue::new("db.operation.name", operation),
    ];
    let span = Span::start(SpanKind::Client, Place::after(parent, false), operation, attributes);
    Either::Right(async move {
        let done = work.await;
        if let Err(error) = &done {
            span.fail(if error.is_away() { "away" } else { "broken" });
        }
        done
    })
}
