//! `latchkey block`: blocks code requests at run time. Takes effect in every process within 10 s.

use std::net::IpAddr;

use accounts::{Block, BlockKind};
use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use config::Served;
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use super::operator::{Operator, actor};
use super::terminal::{ConfirmArgs, OutputArgs, time};

/// The length of the prefix of an IPv4-mapped IPv6 address: `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Adds a block: `block add phone +989123456789 --reason "numbers for sale" --owner ops --until 2027-01-01T00:00:00Z`.
    Add {
        /// phone, prefix (the first digits of a number), ip (an address or a range) or country (ISO 3166).
        kind: String,
        /// What to block, such as +989123456789, 98912, 203.0.113.0/24 or IR.
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
        /// phone, prefix, ip or country.
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
            let Target { kind, value, display, former: _ } = target(&operator, &kind, &value)?;
            let block = Block { kind, value, display, reason, owner, until, created_at: now };
            operator.blocks.add(&block, actor()).await.context("add the block")?;
            output.say(&as_json(&block), &format!("blocked: {} {}", block.kind, block.display))
        }
        Command::List(output) => list(&operator, output).await,
        Command::Remove { kind, value, confirm, output } => {
            let Target { kind, value, display, former } = target(&operator, &kind, &value)?;
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

/// A blocked value as it is stored and as it is shown. A phone is stored only by its key.
struct Target {
    kind: BlockKind,
    value: String,
    display: String,
    /// The value that an older block may be stored under: a phone's key under the previous secret, during a rotation;
    /// an IPv4-mapped IPv6 address, which this command used to store unchanged.
    former: Option<String>,
}

fn target(operator: &Operator, kind: &str, value: &str) -> anyhow::Result<Target> {
    let kind: BlockKind = kind.parse().ok().context("KIND must be phone, prefix, ip or country")?;
    let value = value.trim();
    let same = |value: String| Target { kind, display: value.clone(), value, former: None };
    Ok(match kind {
        BlockKind::Phone => {
            let served = Served::of(&operator.config).everywhere();
            let phone = served
                .parse(value, operator.clock.now())
                .map_err(|_| anyhow::anyhow!("not a mobile number: use the form +989123456789"))?;
            Target {
                kind,
                value: operator.keys.phone_key(phone.e164()).to_string(),
                display: phone.to_string(),
                former: operator.keys.former_phone_key(phone.e164()).map(|key| key.to_string()),
            }
        }
        BlockKind::Prefix => {
            let digits = value.trim_start_matches('+');
            let fits =
                (1..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            ensure!(fits, "a prefix must have 1 to 12 digits and begin with the calling code");
            same(digits.to_owned())
        }
        BlockKind::Ip => {
            let given = net(value).context("not an address or a range such as 203.0.113.0/24")?;
            let canonical = canonical(given).to_string();
            let former = Some(given.to_string()).filter(|given| *given != canonical);
            Target { former, ..same(canonical) }
        }
        BlockKind::Country => {
            let region = value.to_ascii_uppercase();
            if region.len() != 2 || !region.bytes().all(|b| b.is_ascii_uppercase()) {
                bail!("a country must be a two-letter ISO 3166 code, such as IR");
            }
            same(region)
        }
    })
}

/// Parses an address or a range, and clears the bits beyond the range's length.
fn net(value: &str) -> Option<IpNet> {
    let net = value.parse().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).ok();
    net.map(|net| net.trunc())
}

/// Converts an IPv4-mapped IPv6 address (`::ffff:203.0.113.9`) to IPv4, as the gateway does.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= MAPPED_BITS);
    let v4 = mapped.and_then(|v4| Ipv4Net::new(v4, v6.prefix_len() - MAPPED_BITS).ok());
    v4.map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_blocked_in_its_canonical_form() {
        for (given, kept) in [
            ("203.0.113.9", "203.0.113.9/32"),
            ("203.0.113.9/24", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.9/32"),
            ("::ffff:203.0.113.9/120", "203.0.113.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:203.0.113.9/95", "::fffe:0:0/95"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/64", "2001:db8::/64"),
        ] {
            let net = net(given).map(canonical).map(|net| net.to_string());
            assert_eq!(net.as_deref(), Some(kept), "{given}");
        }
        for odd in ["", "203.0.113", "203.0.113.9/33", "::/129", "example.com"] {
            assert_eq!(net(odd), None, "{odd}");
        }
    }
}
