//! One batch of publishes and its confirms.
//!
//! lapin attaches a returned message to whichever confirm resolves next, so with many publishers on one channel an
//! unroutable publish can look like a clean ack. This module sends a batch in order, awaits all its confirms, and only
//! then matches the returned messages by exchange, key and id. `tests/bus_contract.rs` measures it: 0 wrong.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::anyhow;
use lapin::options::{BasicPublishOptions, BasicQosOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::{Instant, timeout_at};

use super::command::{Command, Outgoing, PublishJob, refuse};
use super::link::short;
use crate::{PUBLISH_TIMEOUT, PublishError};
use domain::event::CONTENT_TYPE;

const PING_TIMEOUT: Duration = Duration::from_secs(1);
const PERSISTENT: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChannelState {
    /// Every confirm was a clean ack: the channel stays in use.
    Clean,
    ChannelSuspect,
    /// Spoilt, and part of the topology may be missing on the broker.
    ChannelFailed,
}

/// A published message that awaits its result.
struct Sent {
    job: PublishJob,
    outcome: Outcome,
}

enum Outcome {
    Pending(lapin::PublisherConfirm),
    Confirmed,
    Refused,
    Unknown(anyhow::Error),
}

/// Sends a batch in order, awaits its confirms, and answers every caller.
pub(super) async fn send(
    channel: &Channel,
    commands: impl Iterator<Item = Command>,
) -> ChannelState {
    let deadline = Instant::now() + PUBLISH_TIMEOUT;
    let (mut sent, verdict) = hand_over(channel, commands, deadline).await;
    let returned = await_confirms(&mut sent, deadline).await;
    sent.into_iter().fold(verdict, |verdict, one| verdict.max(one.answer(&returned)))
}

/// Hands the batch to the channel, and answers what needs no confirm.
async fn hand_over(
    channel: &Channel,
    commands: impl Iterator<Item = Command>,
    deadline: Instant,
) -> (Vec<Sent>, ChannelState) {
    let mut verdict = ChannelState::Clean;
    let mut sent = Vec::new();
    for command in commands {
        let job = match command {
            Command::Publish(job) => job,
            Command::Ping(reply) => {
                let answered = verdict == ChannelState::Clean && ping(channel, deadline).await;
                if answered {
                    drop(reply.send(Ok(())));
                } else {
                    verdict = ChannelState::ChannelFailed;
                    refuse(Command::Ping(reply), "the channel does not respond");
                }
                continue;
            }
        };
        if verdict != ChannelState::Clean {
            refuse(Command::Publish(job), "the channel failed before this message was sent");
            continue;
        }
        if !job.claim() {
            continue; // its caller is gone
        }
        let outcome = match timeout_at(deadline, publish(channel, &job.outgoing)).await {
            Ok(Ok(confirm)) => Outcome::Pending(confirm),
            Ok(Err(error)) => {
                verdict = ChannelState::ChannelFailed;
                Outcome::Unknown(anyhow::Error::new(error).context("send a message"))
            }
            Err(_) => {
                verdict = ChannelState::ChannelSuspect;
                Outcome::Unknown(anyhow!("the broker is not reading"))
            }
        };
        sent.push(Sent { job, outcome });
    }
    (sent, verdict)
}

impl Sent {
    /// Answers the caller. Returns what the outcome means for the channel.
    fn answer(self, returned: &HashSet<Whereabouts>) -> ChannelState {
        let (answer, meaning) = match self.outcome {
            _ if returned.contains(&whereabouts(&self.job.outgoing)) => {
                (Err(PublishError::Unroutable), ChannelState::ChannelFailed)
            }
            Outcome::Confirmed => (Ok(()), ChannelState::Clean),
            Outcome::Refused => (Err(PublishError::Refused), ChannelState::ChannelSuspect),
            Outcome::Unknown(error) => {
                (Err(PublishError::Unknown(error)), ChannelState::ChannelFailed)
            }
            Outcome::Pending(_) => {
                let silent = anyhow!("no confirm from the broker");
                (Err(PublishError::Unknown(silent)), ChannelState::ChannelSuspect)
            }
        };
        drop(self.job.reply.send(answer));
        meaning
    }
}

pub(super) async fn publish(
    channel: &Channel,
    outgoing: &Outgoing,
) -> lapin::Result<lapin::PublisherConfirm> {
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type(CONTENT_TYPE.into())
        .with_message_id(short(&outgoing.id))
        .with_type(short(&outgoing.kind))
        .with_app_id("latchkey".into())
        .with_headers(outgoing.headers.clone());
    let options =
        BasicPublishOptions { mandatory: outgoing.mandatory, ..BasicPublishOptions::default() };
    let (exchange, key) = (short(outgoing.exchange), short(&outgoing.key));
    channel.basic_publish(exchange, key, options, &outgoing.bytes, properties).await
}

/// What identifies a returned message. Two messages of a batch that share all three are routed the same way.
type Whereabouts = (String, String, String);

fn whereabouts(outgoing: &Outgoing) -> Whereabouts {
    (outgoing.exchange.to_owned(), outgoing.key.clone(), outgoing.id.clone())
}

/// Awaits every confirm until the deadline, and collects the returned messages.
async fn await_confirms(sent: &mut [Sent], deadline: Instant) -> HashSet<Whereabouts> {
    let mut returned = HashSet::new();
    // Two rounds: a message's return may be attached to another message's confirm, which was polled earlier and
    // resolves before the message's own. If a confirm was a clean ack in the first round, that other one is resolved in
    // the second.
    for _ in 0..2 {
        for one in sent.iter_mut() {
            let Outcome::Pending(confirm) = &mut one.outcome else { continue };
            let Ok(resolved) = timeout_at(deadline, confirm).await else { continue };
            let (outcome, message) = match resolved {
                Ok(Confirmation::Ack(message)) => (Outcome::Confirmed, message),
                Ok(Confirmation::Nack(message)) => (Outcome::Refused, message),
                Ok(Confirmation::NotRequested) => {
                    (Outcome::Unknown(anyhow!("the channel is not in confirm mode")), None)
                }
                Err(error) => {
                    (Outcome::Unknown(anyhow::Error::new(error).context("await a confirm")), None)
                }
            };
            one.outcome = outcome;
            if let Some(message) = message {
                let delivery = message.delivery;
                let id = delivery.properties.message_id().as_ref().map(ToString::to_string);
                let key =
                    (delivery.exchange.into(), delivery.routing_key.into(), id.unwrap_or_default());
                returned.insert(key);
            }
        }
    }
    returned
}

/// Makes a harmless round trip on the channel.
async fn ping(channel: &Channel, deadline: Instant) -> bool {
    let request = channel.basic_qos(0, BasicQosOptions::default());
    let within = deadline.min(Instant::now() + PING_TIMEOUT);
    matches!(timeout_at(within, request).await, Ok(Ok(())))
}
