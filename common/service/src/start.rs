//! How every process starts and stops: configuration, telemetry, ops port, engines, signals, exit status (P12).

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::connections::{Connections, Stopped};
use crate::health::Health;
use crate::telemetry::spans;
use crate::{open_files, ops, presence, telemetry};
use config::{Config, Environment, Role};
use domain::clock::Clock;

/// A stopping process ends within this time even if a part hangs: a second before its 25 s are over.
const STOP_WITHIN: Duration = Duration::from_secs(24);

/// The time that the parts have: the export of what traces still wait comes after them.
fn stop_within() -> Duration {
    if traces::is_on() { STOP_WITHIN.saturating_sub(traces::FLUSH_WITHIN) } else { STOP_WITHIN }
}

/// The inputs of a service.
pub struct Start {
    pub config: Arc<Config>,
    pub engines: Connections,
    pub stop: CancellationToken,
}

/// Installs one cryptography library for the whole process: without it, TLS would have no provider.
pub fn install_crypto() {
    // An error means that one is already installed, which is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Runs a command on a runtime of this thread.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    block_on_threads(1, work)
}

/// Runs a future on a runtime of so many threads. One is this thread: none has to wake another.
pub fn block_on_threads<T>(
    threads: usize,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut runtime = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build().context("start the runtime")?.block_on(work)
}

/// Prints the error, if any, and returns the exit status.
pub fn exit_code(name: &str, outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a service until SIGTERM, SIGINT or the end of one of its parts.
///
/// # Errors
/// When a part ended unexpectedly or did not stop in time: the process should exit with a non-zero status.
pub async fn serve<F>(config: Config, run: impl FnOnce(Start) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let name = config.role.as_str();
    telemetry::init(config.log.as_deref());
    spans::export(&config)?;
    open_files::raise();
    if config.environment == Environment::Production {
        forbid_core_dumps()?;
    }
    let stop = stop_on_signal()?;
    let health = Health::default();
    for part in parts(config.role) {
        health.starting(part);
    }
    let ops = TcpListener::bind(config.ops_listen)
        .await
        .with_context(|| format!("LATCHKEY_OPS_LISTEN: cannot listen on {}", config.ops_listen))?;
    tracing::info!(service.name = name, ops = %ops.local_addr()?, "starting");
    for config::Warning { variable, text } in config.warnings() {
        tracing::warn!(setting = variable, "{text}");
    }
    let ops_stop = CancellationToken::new();
    let mut ops =
        tokio::spawn(ops::serve(ops, health.clone(), telemetry::metrics(), ops_stop.clone()));
    show_build(config.role);

    let run = Box::pin(run_connected(config, health, stop.clone(), run));
    let outcome = unless_it_ends(run, &mut ops, "the ops port").await;
    ops_stop.cancel();
    if !ops.is_finished() {
        // The ops port has nothing left to report, so the result of its task is ignored.
        let _ = tokio::time::timeout(Duration::from_secs(1), ops).await;
    }
    spans::finish().await;
    if outcome.is_ok() {
        tracing::info!(service.name = name, "stopped");
    }
    outcome
}

fn show_build(role: Role) {
    let (version, service) = (presence::VERSION, presence::part_of(role));
    metrics::gauge!("latchkey_build_info", "version" => version, "service" => service).set(1.0);
}

/// Keeps the process's memory, with its keys, out of core files and from debuggers of its own user (`PR_SET_DUMPABLE`).
fn forbid_core_dumps() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("forbid core dumps")
}

/// The parts that must report before the process is ready. They are registered at start, so that none is forgotten.
const fn parts(role: Role) -> &'static [&'static str] {
    match role {
        Role::AllInOne => &["gateway", "consumer.otp-worker", "consumer.sms-worker"],
        Role::Gateway => &["gateway"],
        Role::OtpWorker => &["consumer.otp-worker"],
        Role::SmsWorker => &["consumer.sms-worker"],
    }
}

async fn run_connected<F>(
    config: Config,
    health: Health,
    stop: CancellationToken,
    run: impl FnOnce(Start) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let (name, config) = (config.role.as_str(), Arc::new(config));
    let part = presence::part_of(config.role);
    let connect = Box::pin(Connections::connect(&config, name, Clock::system(), health, &stop));
    let engines = match connect.await {
        Ok(engines) => engines,
        Err(error) if error.is::<Stopped>() => return Ok(()),
        Err(error) => return Err(error),
    };
    let watch = tokio::spawn(engines.clone().watch(stop.clone()));
    let end_watch = watch.abort_handle();
    // Shown until its work is done, and not merely until the stop.
    let gone = CancellationToken::new();
    let Connections { sql, clock, presence, .. } = engines.clone();
    let shown =
        tokio::spawn(presence::run(sql, clock, presence, part, *presence::INSTANCE, gone.clone()));
    // Boxed: a service's future takes up to 95 kB, and each function that it passes through would keep copies of it on
    // the stack of the main thread, up to 7 MB in all.
    let running = Box::pin(run(Start { config, engines, stop: stop.clone() }));
    let running = async {
        // A stop also ends the watch; the service then still has time to drain.
        let watch = async {
            let ended = watch.await;
            if stop.is_cancelled() { std::future::pending().await } else { ended }
        };
        unless_it_ends(running, watch, "the engine watch").await
    };
    tokio::pin!(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        () = stop.cancelled() => match tokio::time::timeout(stop_within(), &mut running).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("did not stop within {} s", stop_within().as_secs()),
        },
    };
    if outcome.is_ok() && !stop.is_cancelled() {
        bail!("a part of {name} ended by itself");
    }
    stop.cancel();
    end_watch.abort();
    gone.cancel();
    // It waits for nothing but its row, and not for long.
    let _ = shown.await;
    match outcome {
        Err(error) if error.is::<Stopped>() => Ok(()),
        outcome => outcome,
    }
}

/// Runs the service, and fails as soon as `part` ends: it must run for as long as the service does (P12).
async fn unless_it_ends<T>(
    service: impl Future<Output = anyhow::Result<T>>,
    part: impl Future,
    named: &str,
) -> anyhow::Result<T> {
    tokio::select! {
        biased;
        outcome = service => outcome,
        _ = part => bail!("{named} ended by itself"),
    }
}

/// Returns a token that SIGTERM and SIGINT cancel. PID 1 of a container would ignore an unhandled SIGTERM.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}

/// Checks on the ops port whether a running service is ready.
///
/// # Errors
/// When it does not respond or is not ready.
pub async fn health(config: &Config) -> anyhow::Result<()> {
    let mut address = config.ops_listen;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let status = ops::get_status(address, "/readyz")
        .await
        .with_context(|| format!("no answer from {address}"))?;
    anyhow::ensure!(status == 200, "{address} is not ready: /readyz answers {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn f29_a_process_in_production_leaves_no_core_dump() {
        forbid_core_dumps().unwrap();
        let now = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }

    #[tokio::test]
    async fn p12_a_part_that_ends_takes_the_service_with_it() {
        let error = unless_it_ends(pending::<anyhow::Result<()>>(), ready(()), "a part").await;
        assert_eq!(error.unwrap_err().to_string(), "a part ended by itself");
        assert_eq!(unless_it_ends(ready(Ok(7)), pending::<()>(), "a part").await.unwrap(), 7);
    }
}
