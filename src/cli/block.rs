//! `latchkey block`: blocks code requests, or shuts a provider, at run time. Takes effect in every process within 10 s.

use accounts::{Block, BlockKind};
use anyhow::{Context as _, ensure};
use clap::Subcommand;
use config::Served;
use serde_json::json;
use service::block_target::BlockTarget;

use super::operator::{Operator, actor};
use super::terminal::{ConfirmArgs, OutputArgs, time};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Adds a block: `block add phone +989123456789 --reason "numbers for sale" --owner ops --until 2027-01-01T00:00:00Z`.
    Add {
        /// phone, prefix (the first digits of a number), ip (an address or a range), country (ISO 3166) or provider (its texts
        /// go by the next one of their route, or wait).
        kind: String,
        /// What to block, such as +989123456789, 98912, 203.0.113.0/24, IR or twilio.
        value: String,
        /// The reason, for anyone who finds the block later.
        #[arg(long)]
        reason: String,
        /// The person or team to ask about the block.
        #[arg(long)]
        owner: String,
        /// The end of the block (RFC 3339). Without it, the block stays until it is removed.
        #[arg(long)]
        until: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Lists the blocks in force.
    List(OutputArgs),
    /// Removes a block.
    Remove {
        /// phone, prefix, ip, country or provider.
        kind: String,
        /// The blocked value, as for `block add`.
        value: String,
        #[command(flatten)]
        confirm: ConfirmArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let operator = Operator::connect().await?;
    match command {
        Command::Add { kind, value, reason, owner, until, output } => {
            ensure!(
                !reason.trim().is_empty() && !owner.trim().is_empty(),
                "--reason and --owner must not be empty"
            );
            let now = operator.clock.now();
            let until = until.map(|text| time("--until", &text)).transpose()?;
            ensure!(until.is_none_or(|until| until > now), "--until is in the past");
            let BlockTarget { kind, value, display, former: _ } = target(&operator, &kind, &value)?;
            let block = Block { kind, value, display, reason, owner, until, created_at: now };
            operator.blocks.add(&block, actor()).await.context("add the block")?;
            output.say(&as_json(&block), &format!("blocked: {} {}", block.kind, block.display))
        }
        Command::List(output) => list(&operator, output).await,
        Command::Remove { kind, value, confirm, output } => {
            let BlockTarget { kind, value, display, former } = target(&operator, &kind, &value)?;
            confirm.ask(&format!("remove the block of {kind} {display}"))?;
            let now = operator.clock.now();
            let mut removed = false;
            for value in [Some(value), former].iter().flatten() {
                let one = operator.blocks.remove(kind, value, actor(), now).await;
                removed |= one.context("remove the block")?;
            }
            ensure!(removed, "there is no block of {kind} {display}");
            let removed = json!({ "removed": display, "kind": kind.as_str() });
            output.say(&removed, &format!("removed: {kind} {display}"))
        }
    }
}

async fn list(operator: &Operator, output: OutputArgs) -> anyhow::Result<()> {
    let blocks = operator.blocks.active(operator.clock.now()).await.context("read the blocks")?;
    let rows: Vec<Vec<String>> = blocks
        .iter()
        .map(|b| {
            let until = b.until.map_or_else(|| "removed".to_owned(), |until| until.to_string());
            vec![b.kind.to_string(), b.display.clone(), until, b.owner.clone(), b.reason.clone()]
        })
        .collect();
    let values = blocks.iter().map(as_json).collect();
    output.table(&values, &["KIND", "VALUE", "UNTIL", "OWNER", "REASON"], &rows)
}

fn as_json(block: &Block) -> serde_json::Value {
    json!({
        "kind": block.kind.as_str(), "value": block.display, "reason": block.reason, "owner": block.owner,
        "until": block.until, "created_at": block.created_at,
    })
}

fn target(operator: &Operator, kind: &str, value: &str) -> anyhow::Result<BlockTarget> {
    let kind: BlockKind =
        kind.parse().ok().context("KIND must be phone, prefix, ip, country or provider")?;
    let (served, now) = (Served::of(&operator.config), operator.clock.now());
    BlockTarget::of(&operator.keys, &served, kind, value, now).map_err(anyhow::Error::msg)
}
