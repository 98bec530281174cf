//! Work that no event triggers: queries missing final states, redacts finished texts in the provider's records, queries
//! their price, and removes old rows from the ledger.

use std::sync::Arc;
use std::time::Duration;

use bus::consumer::Failure;
use domain::clock::Clock;
use futures::StreamExt as _;
use ledger::{Applied, FollowUp, Ledger, MOST_QUESTIONS, Receipt};
use service::delivery::Connections;
use tokio_util::sync::CancellationToken;

use crate::announce::{Announcer, counted};
use crate::providers::{LookUp, Provider};
use crate::routing::routes::Routes;

/// The first wait before a query is repeated; it doubles.
const AGAIN_AFTER_MS: i64 = 120_000;
/// A provider may know the price only hours after the final state.
const PRICE_AFTER_MS: i64 = 3 * 60 * 60 * 1000;
const AT_ONCE: u32 = 20;
/// Queries that run concurrently: sequential queries could not keep up with more than a few texts a second.
const SIDE_BY_SIDE: usize = 8;
const EVERY: Duration = Duration::from_secs(5);
const SWEEP_EVERY_MS: i64 = 60 * 60 * 1000;
/// See [`Ledger::sweep`].
const SWEPT_AT_ONCE: u64 = 5_000;

/// Queries, redacts and sweeps.
pub struct FollowUps {
    ledger: Ledger,
    routes: Arc<Routes>,
    announcer: Announcer,
    clock: Clock,
}

impl FollowUps {
    pub fn new(engines: &Connections, announcer: Announcer, routes: Arc<Routes>) -> Self {
        Self { ledger: Ledger::new(&engines.sql), routes, announcer, clock: engines.clock.clone() }
    }

    /// Runs until it is stopped. Nothing here is urgent: a failure is retried later.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.query_the_due(&stop), stop.run_until_cancelled(self.forget_the_old()));
    }

    async fn query_the_due(&self, stop: &CancellationToken) {
        loop {
            if let Err(failure) = self.all_due(stop).await {
                tracing::debug!(?failure, "follow-ups paused");
            }
            if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }

    /// Runs beside the queries, not after them: under load the queries may never end.
    async fn forget_the_old(&self) {
        let mut swept_at_ms = None;
        loop {
            let now_ms = self.clock.now_ms();
            if swept_at_ms.is_none_or(|at| now_ms - at >= SWEEP_EVERY_MS) {
                match self.sweep().await {
                    Ok(()) => swept_at_ms = Some(now_ms),
                    Err(failure) => tracing::debug!(?failure, "sweep paused"),
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Handles everything that is due now.
    pub async fn all_due(&self, stop: &CancellationToken) -> Result<(), Failure> {
        while !stop.is_cancelled() {
            let due = self.ledger.due_follow_ups(self.clock.now(), AGAIN_AFTER_MS, AT_ONCE).await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut queries = futures::stream::iter(due)
                .map(async |due| self.follow_up(&due, stop).await)
                .buffer_unordered(SIDE_BY_SIDE);
            // A failure does not cut the others short.
            let mut all = Ok(());
            while let Some(done) = queries.next().await {
                all = all.and(done);
            }
            all?;
        }
        Ok(())
    }

    async fn follow_up(&self, due: &FollowUp, stop: &CancellationToken) -> Result<(), Failure> {
        let Some(provider) = self.routes.provider(&due.provider) else {
            // The provider is no longer configured, so it cannot be queried.
            return Ok(self.ledger.followed_up(due, None, None).await?);
        };
        // A stop does not wait for a provider (P12): the claim becomes due again. It does wait while an answer is
        // processed; otherwise a change already in the ledger would never be published.
        let (provider, id) = (&provider.provider, &due.provider_message_id);
        let is_over = due.final_state.is_some();
        let query = async {
            if is_over && provider.forgets(due.channel) {
                provider.forget(id).await
            } else {
                provider.look_up(id, due.channel).await
            }
        };
        let Some(answer) = stop.run_until_cancelled(query).await else { return Ok(()) };
        match answer {
            Ok(found) if is_over => self.note_price(due, found).await,
            Ok(Some(found)) => self.apply(due, provider, found).await,
            Ok(None) => Ok(self.ledger.followed_up(due, None, None).await?),
            Err(cause) => {
                let (provider, error) = (provider.name(), format!("{cause:#}"));
                if is_over {
                    tracing::warn!(provider, error, "redaction failed");
                } else {
                    tracing::warn!(provider, error, "cannot query the final status of a text");
                }
                Ok(())
            }
        }
    }

    /// The text has its final state: what remains is its price.
    async fn note_price(&self, due: &FollowUp, found: Option<LookUp>) -> Result<(), Failure> {
        let is_known = found.is_some();
        let price = found.and_then(|found| found.price);
        let again = price.is_none() && is_known && due.number < MOST_QUESTIONS;
        let again_at = again.then(|| self.clock.now().plus_ms(PRICE_AFTER_MS));
        Ok(self.ledger.followed_up(due, price.as_deref(), again_at).await?)
    }

    /// Applies what the provider knows like a receipt.
    async fn apply(
        &self,
        due: &FollowUp,
        provider: &Provider,
        found: LookUp,
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        let receipt = Receipt {
            attempt_id: due.attempt_id,
            status: found.status,
            reason: found.reason,
            provider_message_id: Some(due.provider_message_id.clone()),
            provider_code: found.provider_code,
            // What remains after the final status: redact the text, query the price.
            follow_up_at: match (found.status.is_end(), provider.forgets(due.channel), &found.price)
            {
                (true, true, _) => Some(now),
                (true, false, None) => Some(now.plus_ms(PRICE_AFTER_MS)),
                _ => None,
            },
            price: found.price,
        };
        if let Applied::Known { moved, .. } = self.ledger.apply_receipt(&receipt, now).await? {
            counted(&moved);
            if moved.changed {
                self.announcer.announce(&moved.message_state, None).await?;
            }
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<(), Failure> {
        while self.ledger.sweep(self.clock.now()).await?.messages >= SWEPT_AT_ONCE {}
        Ok(())
    }
}
