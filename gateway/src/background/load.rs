//! Exchanges with the other processes what each has to do, and sets the rate of code requests by it and by this gateway's
//! own strain (contract, ruling 79).

use service::load_report::EVERY;
use service::presence::INSTANCE;
use store::{Load, Loads};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::code_request_rate::Strain;
use crate::http::load_shedding::Shedding;

/// In so many parts of the time between two exchanges a strain is felt: a surge brings more in half a second than can be
/// done in two.
const PARTS: u32 = 5;

/// Looks until `stop`. While the store is away, this gateway's own strain sets the rate.
pub(crate) async fn run(loads: Loads, shedding: Shedding, stop: CancellationToken) {
    show(None);
    let mut ticks = interval(EVERY / PARTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looked_at, mut strain) = (Instant::now(), Strain::None);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = shedding.strain();
        shedding.rate.feel(now);
        strain = strain.max(now);
        if looked_at.elapsed() < EVERY {
            continue;
        }
        let requested = shedding.rate.count(looked_at.elapsed());
        looked_at = Instant::now();
        let told = exchange(&loads, Load::Gateway { requested }).await;
        shedding.rate.look(&told, std::mem::replace(&mut strain, Strain::None));
        show(shedding.rate.limit());
    }
}

fn show(limit: Option<f64>) {
    metrics::gauge!("latchkey_code_requests_limit").set(limit.unwrap_or(0.0));
}

/// Tells this gateway's load; returns those of all processes, none if the store does not answer.
async fn exchange(loads: &Loads, own: Load) -> Vec<Load> {
    let exchange = async {
        loads.tell(*INSTANCE, own).await?;
        loads.read().await
    };
    match timeout(EVERY, exchange).await {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            tracing::debug!(error = format!("{error:#}"), "cannot exchange the load");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
