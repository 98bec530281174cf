//! How spans leave the process: a bounded queue, a thread that empties it, and OTLP over HTTP.
//!
//! The thread is the SDK's, and waits for the collector with a client that blocks: the process's own threads, of which
//! there may be one, never do. A span for which the queue has no room is dropped, and a batch that the collector does not
//! take within [`EXPORT_WITHIN`] is lost; the log says so once a minute at most.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _,
};

use crate::sampling::Sampling;

/// The most spans that wait: about 2 MB.
const MOST_WAITING: usize = 2_048;
/// The most spans of one call to the collector.
const BATCH: usize = 512;
/// How long a span waits at most before a call.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take for one batch, retries included.
const EXPORT_WITHIN: Duration = Duration::from_secs(2);
/// How long [`finish`] waits for what is queued at the end of a process.
pub const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// The log speaks of lost spans no more often.
const TOLD_EVERY: Duration = Duration::from_mins(1);

static EXPORT: OnceLock<Export> = OnceLock::new();

/// Where the spans of this process go, and which.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of the collector, without `/v1/traces`.
    pub endpoint: String,
    pub sampling: Sampling,
    /// `service.name`.
    pub service: String,
    /// `service.version`.
    pub version: &'static str,
    /// `service.instance.id`.
    pub instance: String,
}

struct Export {
    sampling: Sampling,
    processor: BatchSpanProcessor,
    counts: Arc<Counts>,
}

/// What is queued, and what was lost and not told yet.
#[derive(Default)]
struct Counts {
    waiting: AtomicUsize,
    dropped: AtomicU64,
    failed: AtomicU64,
    is_over: AtomicBool,
    told: Mutex<Option<Instant>>,
}

/// From now on the spans of sampled traces are exported. The first call of a process counts.
///
/// # Errors
/// If no client can be made.
pub fn export(settings: &Settings) -> anyhow::Result<()> {
    let mut otlp = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", settings.endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_WITHIN)
        .build()
        .context("make an exporter of traces")?;
    otlp.set_resource(
        &Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", settings.service.clone()),
                KeyValue::new("service.version", settings.version),
                KeyValue::new("service.instance.id", settings.instance.clone()),
            ])
            .build(),
    );
    let counts = Arc::new(Counts::default());
    let batches = BatchConfigBuilder::default()
        // Larger than what is let in: a batch in hand is still counted.
        .with_max_queue_size(MOST_WAITING + BATCH)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let watched = Watched { otlp, counts: Arc::clone(&counts) };
    let processor = BatchSpanProcessor::builder(watched).with_batch_config(batches).build();
    let export = Export { sampling: settings.sampling, processor, counts };
    drop(EXPORT.set(export));
    Ok(())
}

/// Whether spans are exported.
pub fn is_on() -> bool {
    EXPORT.get().is_some()
}

pub(crate) fn sampling() -> Option<Sampling> {
    EXPORT.get().map(|export| export.sampling)
}

/// Queues a span, or drops it if there is no room. Never waits.
pub(crate) fn hand(span: SpanData) {
    let Some(Export { processor, counts, .. }) = EXPORT.get() else { return };
    if counts.is_over.load(Ordering::Relaxed) {
        return;
    }
    if counts.enter() {
        processor.on_end(span);
    } else {
        counts.tell();
    }
}

/// Exports what is queued, within [`FLUSH_WITHIN`], and nothing after that. Blocks its thread.
pub fn finish() {
    let Some(Export { processor, counts, .. }) = EXPORT.get() else { return };
    counts.is_over.store(true, Ordering::Relaxed);
    if processor.shutdown_with_timeout(FLUSH_WITHIN).is_err() {
        let waiting = counts.waiting.load(Ordering::Relaxed) as u64;
        counts.dropped.fetch_add(waiting, Ordering::Relaxed);
    }
    counts.tell_now();
}

impl Counts {
    /// Makes room for one span, or counts it as dropped.
    fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    /// Says what was lost, unless the log did so within the last minute.
    fn tell(&self) {
        // Whoever holds the lock tells it.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            drop(told);
            self.tell_now();
        }
    }

    fn tell_now(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let failed = self.failed.swap(0, Ordering::Relaxed);
        if dropped + failed > 0 {
            tracing::warn!(
                setting = "OTEL_EXPORTER_OTLP_ENDPOINT",
                spans.dropped = dropped,
                spans.failed = failed,
                "the collector of traces does not take all spans"
            );
        }
    }
}

/// The exporter, and what becomes of each batch.
struct Watched {
    otlp: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let done = self.otlp.export(batch).await;
        self.counts.leave(spans);
        if done.is_err() {
            // The error may repeat what the collector answered, and is not logged.
            self.counts.failed.fetch_add(spans as u64, Ordering::Relaxed);
            self.counts.tell();
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_what_is_too_much_is_counted() {
        let counts = Counts::default();
        let entered = (0..MOST_WAITING + 7).filter(|_| counts.enter()).count();
        assert_eq!((entered, counts.dropped.load(Ordering::Relaxed)), (MOST_WAITING, 7));
        counts.leave(BATCH);
        assert!(counts.enter());
        counts.tell();
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 0, "told at once");
        counts.dropped.store(3, Ordering::Relaxed);
        counts.tell();
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 3, "and not again within a minute");
    }
}
