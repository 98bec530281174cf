//! `latchkey dead`: messages that were dead-lettered after five attempts, or at once if a retry could not help.

use std::ops::ControlFlow;

use anyhow::{Context as _, bail, ensure};
use bus::{Bus, Queue, Selection};
use clap::{Args, Subcommand};
use config::{Config, EngineSettings};
use serde_json::json;

use super::operator::Audit;
use super::progress::Progress;
use super::terminal::{ConfirmArgs, OutputArgs, print_json};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Lists the messages in the dead-letter queues and why they are there.
    List {
        /// otp-worker or sms-worker; both if omitted.
        queue: Option<String>,
        /// The maximum number of messages per queue.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Shows a message: its headers and its envelope, without the sealed part.
    Show {
        /// otp-worker or sms-worker.
        queue: String,
        /// The ID of the message, from `dead list`.
        id: String,
        #[arg(long, help = "Print JSON (the output is always JSON)")]
        json: bool,
    },
    /// Puts messages back into their queue with the attempts reset. Use it after a fix or an upgrade.
    Replay(Picked),
    /// Deletes messages.
    Drop(Picked),
}

#[derive(Args)]
pub(crate) struct Picked {
    /// otp-worker or sms-worker.
    queue: String,
    /// The ID of the message, from `dead list`.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    #[arg(long, help = "All messages that are in the dead-letter queue now")]
    all: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Picked {
    fn pick(&self) -> Selection {
        self.id.clone().map_or(Selection::All, Selection::One)
    }

    fn detail(&self, count: u64) -> serde_json::Value {
        json!({ "message": self.id, "count": count })
    }
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let config = Config::load_as_found()?;
    let EngineSettings::Services { amqp_url, .. } = &config.engines else {
        bail!(
            "embedded messages exist only in the running process: set AMQP_URL, DATABASE_URL and REDIS_URL to use a broker"
        );
    };
    let bus = Bus::connect_rabbit(amqp_url, "operator").await.context("connect to RabbitMQ")?;
    bus.ready().await.context("reach RabbitMQ")?;
    match command {
        Command::List { queue, limit, output } => {
            list(&bus, queue.as_deref(), usize::from(limit), output).await
        }
        Command::Show { queue, id, json: _ } => {
            let found =
                bus.dead_show(queue_of(&queue)?, &id).await?.context("there is no such message")?;
            // The message is nested, so it is only readable as JSON.
            print_json(&serde_json::to_value(&found)?)
        }
        Command::Replay(picked) => {
            let queue = queue_of(&picked.queue)?;
            picked.confirm.ask(&format!("replay dead letters of {queue}"))?;
            let audit = Audit::open(&config.engines).await?;
            let progress = Progress::counting("replayed");
            let count = bus.dead_replay(queue, &picked.pick(), &|_| progressed(&progress)).await?;
            drop(progress);
            audit.note("dead_letters_replayed", queue.as_str(), &picked.detail(count)).await?;
            print_count(&picked, "replayed", count)
        }
        Command::Drop(picked) => {
            let queue = queue_of(&picked.queue)?;
            picked.confirm.ask(&format!("delete dead letters of {queue}"))?;
            let audit = Audit::open(&config.engines).await?;
            let progress = Progress::counting("dropped");
            let count = bus.dead_drop(queue, &picked.pick(), &|_| progressed(&progress)).await?;
            drop(progress);
            audit.note("dead_letters_dropped", queue.as_str(), &picked.detail(count)).await?;
            print_count(&picked, "dropped", count)
        }
    }
}

fn progressed(progress: &Progress) -> ControlFlow<()> {
    progress.add(1);
    ControlFlow::Continue(())
}

async fn list(
    bus: &Bus,
    queue: Option<&str>,
    limit: usize,
    output: OutputArgs,
) -> anyhow::Result<()> {
    let queues = match queue {
        Some(name) => vec![queue_of(name)?],
        None => Queue::ALL.to_vec(),
    };
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for queue in queues {
        for letter in bus.dead_list(queue, limit).await? {
            let first_at = letter.first_at.map(|at| at.to_string()).unwrap_or_default();
            let (id, kind, reason) =
                (letter.id.clone(), letter.kind.clone(), letter.reason.clone());
            rows.push(vec![
                queue.to_string(),
                id,
                kind,
                reason,
                letter.attempts.to_string(),
                first_at,
            ]);
            values.push(json!({ "queue": queue.to_string(), "letter": letter }));
        }
    }
    output.table(
        &values.into(),
        &["QUEUE", "ID", "TYPE", "REASON", "ATTEMPTS", "FIRST SEEN"],
        &rows,
    )
}

fn print_count(picked: &Picked, what: &str, count: u64) -> anyhow::Result<()> {
    ensure!(picked.all || count > 0, "there is no such message");
    picked.output.say(&json!({ what: count }), &format!("{what}: {count}"))
}

fn queue_of(name: &str) -> anyhow::Result<Queue> {
    name.parse().ok().context("QUEUE must be otp-worker or sms-worker")
}
