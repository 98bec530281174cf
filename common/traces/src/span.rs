//! A span while it runs, and the one that the running task is in.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use domain::clock::host_time;
use domain::trace_context::TraceContext;
use futures::future::Either;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::exporter;

/// The most links of a span: an event of statuses has twelve.
const MOST_LINKS: usize = 16;

tokio::task_local! {
    static CURRENT: Arc<Open>;
}

/// A span. It ends when it is dropped, and is then queued for export. One that is not recorded does nothing.
#[must_use = "a span ends when it is dropped"]
#[derive(Debug)]
pub struct Span(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    context: TraceContext,
    parent: Option<TraceContext>,
    is_parent_remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: SystemTime,
    began: Instant,
    /// `None` once it has ended.
    said: Mutex<Option<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    attributes: Vec<KeyValue>,
    links: Vec<TraceContext>,
    has_failed: bool,
}

/// Where a span stands in its trace.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub context: TraceContext,
    pub parent: Option<TraceContext>,
    /// Whether another process made the parent.
    pub is_parent_remote: bool,
}

impl Place {
    /// The next step after `parent`.
    pub fn after(parent: TraceContext, is_parent_remote: bool) -> Self {
        Self { context: parent.child(), parent: Some(parent), is_parent_remote }
    }
}

impl Span {
    /// A span that records nothing.
    pub const fn unrecorded() -> Self {
        Self(None)
    }

    pub(crate) fn start(
        kind: SpanKind,
        place: Place,
        name: impl Into<Cow<'static, str>>,
        attributes: Vec<KeyValue>,
    ) -> Self {
        if !exporter::is_on() || !place.context.is_sampled() {
            return Self(None);
        }
        let Place { context, parent, is_parent_remote } = place;
        Self(Some(Arc::new(Open {
            context,
            parent,
            is_parent_remote,
            kind,
            name: name.into(),
            start: host_time(),
            began: Instant::now(),
            said: Mutex::new(Some(Said { attributes, ..Said::default() })),
        })))
    }

    /// The place of this span in its trace, for what it leads to. `None`: it is not recorded.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|open| open.context)
    }

    /// Adds an attribute. The value must be one that a log line may hold.
    pub fn note(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = &self.0 {
            open.change(|said| said.attributes.push(KeyValue::new(name, value)));
        }
    }

    /// Links a step of another trace that this span belongs to.
    pub fn link(&self, to: &TraceContext) {
        if let Some(open) = &self.0 {
            open.link(to);
        }
    }

    /// Marks the span as failed; `error` is one of a few words, or a status.
    pub fn fail(&self, error: impl Into<Value>) {
        if let Some(open) = &self.0 {
            open.change(|said| {
                said.has_failed = true;
                said.attributes.push(KeyValue::new("error.type", error));
            });
        }
    }

    /// Runs `work` inside this span: what it does becomes part of it.
    pub fn around<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            None => Either::Left(work),
            Some(open) => Either::Right(CURRENT.scope(Arc::clone(open), work)),
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(data) = self.0.take().and_then(|open| open.end()) {
            exporter::hand(data);
        }
    }
}

impl Open {
    fn change(&self, change: impl FnOnce(&mut Said)) {
        if let Some(said) = &mut *self.said.lock().unwrap_or_else(PoisonError::into_inner) {
            change(said);
        }
    }

    fn link(&self, to: &TraceContext) {
        self.change(|said| {
            if said.links.len() < MOST_LINKS && !said.links.contains(to) {
                said.links.push(*to);
            }
        });
    }

    /// What is exported. Work that outlives the span adds nothing to it.
    fn end(&self) -> Option<SpanData> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut links = SpanLinks::default();
        links.links = said.links.iter().map(|to| Link::with_context(remote(to))).collect();
        Some(SpanData {
            span_context: of(&self.context, false),
            parent_span_id: self
                .parent
                .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.ids().1)),
            parent_span_is_remote: self.is_parent_remote,
            span_kind: self.kind.clone(),
            name: self.name.clone(),
            start_time: self.start,
            end_time: self.start + self.began.elapsed(),
            attributes: said.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: if said.has_failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: InstrumentationScope::builder("latchkey").build(),
        })
    }
}

fn of(context: &TraceContext, is_remote: bool) -> SpanContext {
    let (trace, span) = context.ids();
    let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
    SpanContext::new(trace, span, flags, is_remote, TraceState::default())
}

fn remote(context: &TraceContext) -> SpanContext {
    of(context, true)
}

fn with_current<T>(read: impl FnOnce(&Open) -> T) -> Option<T> {
    if !exporter::is_on() {
        return None;
    }
    CURRENT.try_with(|open| read(open)).ok()
}

/// The place of the span that this task is in, if one is recorded.
pub fn current() -> Option<TraceContext> {
    with_current(|open| open.context)
}

/// Adds an attribute to the span that this task is in, as [`Span::note`] does.
pub fn note(name: &'static str, value: impl Into<Value>) {
    with_current(|open| open.change(|said| said.attributes.push(KeyValue::new(name, value))));
}

/// Links another trace to the span that this task is in, unless it is the span's own.
pub fn link(to: &TraceContext) {
    with_current(|open| {
        if !open.context.is_of_trace(to) {
            open.link(to);
        }
    });
}

/// Runs `work` inside the span that the caller is in: for a task of its own, which would be in none.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let current = if exporter::is_on() { CURRENT.try_with(Arc::clone).ok() } else { None };
    match current {
        None => Either::Left(work),
        Some(open) => Either::Right(CURRENT.scope(open, work)),
    }
}

/// The step that a call to somebody else is part of: the span that this task is in, if it is of the same trace, and
/// otherwise a step that nobody records.
pub fn next_step(trace: &TraceContext) -> TraceContext {
    current().filter(|current| current.is_of_trace(trace)).unwrap_or_else(|| trace.child())
}

/// The `traceparent` of what follows from an event with this one: the span that this task is in, if it is of the same
/// trace. A trace that is none is left out: whoever may write to the broker chooses it, and its length.
pub fn of_event(traceparent: Option<&str>) -> Option<String> {
    let given = traceparent.filter(|given| given.len() <= 64);
    let parsed = given.and_then(TraceContext::from_header)?;
    let current = current().filter(|current| current.is_of_trace(&parsed));
    current.map(|current| current.to_header()).or_else(|| given.map(str::to_owned))
}
