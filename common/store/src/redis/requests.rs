//! Requests: their status, and what is kept for a while beside them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use deadpool_redis::redis::{self, AsyncCommands as _, Script};
use serde::Serialize;

use super::answer::{Answer, parse};
use super::keys::{
    INBOX_KEYS, OPEN, REQUEST, change_key, inbox_key, phone_of_inbox, request_key, requester_key,
};
use super::{Redis, Time};
use crate::STATUS_KEPT_MS;
use crate::inbox::{KeptText, TEXT_KEPT_MS};
use crate::statuses::{Raise, RequestStatus, Sweep, Swept};
use crate::types::{NotedChange, as_ms, digest_of};
use domain::engine_error::EngineError;
use domain::ids::{RequestId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Reason, Status};

static RAISE: LazyLock<Script> = script!("time", "raise", "status");
static SWEEP: LazyLock<Script> = script!("time", "raise", "sweep");
static KEEP_TEXT: LazyLock<Script> = script!("keep_text");

/// How much of a large Redis is searched for texts, so that no reader of the inbox keeps it busy: this many steps, of
/// about this many keys each.
const SCANS: usize = 100;
const KEYS_A_SCAN: usize = 1000;

/// What `status.lua` reads.
#[derive(Serialize)]
struct StatusCall {
    raises: Vec<RaiseCall>,
    status_kept_ms: i64,
}

/// What `raise.lua` reads of an event.
#[derive(Serialize)]
pub(super) struct RaiseCall {
    request_id: RequestId,
    status: Status,
    rank: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(rename = "expires_at_ms", serialize_with = "as_ms")]
    expires_at: Timestamp,
}

impl RaiseCall {
    pub(super) fn of(raise: Raise) -> Self {
        let Raise { request_id, status, reason, expires_at } = raise;
        let (rank, within) = status.order();
        Self { request_id, status, rank: format!("{rank}.{within}"), reason, expires_at }
    }
}

impl Redis {
    pub async fn raise_many(&self, raises: &[Raise]) -> Result<Vec<bool>, EngineError> {
        if raises.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = RAISE.key(OPEN);
        for raise in raises {
            call.key(request_key(raise.request_id));
        }
        let raises = raises.iter().copied().map(RaiseCall::of).collect();
        let document = StatusCall { raises, status_kept_ms: STATUS_KEPT_MS };
        let changed: Vec<i64> = self.script_with(call, &document).await?;
        Ok(changed.into_iter().map(|changed| changed == 1).collect())
    }

    pub async fn status(&self, request: RequestId) -> Result<Option<RequestStatus>, EngineError> {
        const FIELDS: [&str; 5] = ["status", "reason", "updated", "expires", "channel"];
        let key = request_key(request);
        let (fields, time): ([Option<String>; 5], Time) = self
            .run(async |mut lane| {
                let mut both = redis::pipe();
                both.cmd("HMGET").arg(&key).arg(&FIELDS).cmd("TIME");
                both.query_async(&mut lane).await
            })
            .await?;
        let [status, reason, updated, expires, channel] = fields;
        let (Some(status), Some(updated), Some(expires)) = (status, updated, expires) else {
            return Ok(None);
        };
        Ok(Some(RequestStatus {
            status: parse(&status)?,
            reason: reason.as_deref().map(parse).transpose()?,
            updated_at: Timestamp::from_ms(parse(&updated)?),
            expires_at: Timestamp::from_ms(parse(&expires)?),
            channel: channel.as_deref().map_or(Ok(domain::vocabulary::Channel::Sms), parse)?,
            now: self.time(time),
        }))
    }

    pub async fn is_wanted(&self, request: RequestId) -> Result<bool, EngineError> {
        let key = request_key(request);
        let closed: bool = self.run(async |mut lane| lane.hexists(&key, "closed").await).await?;
        Ok(!closed)
    }

    pub async fn sweep(&self, most: u32) -> Result<Sweep, EngineError> {
        let mut call = SWEEP.key(OPEN);
        call.arg(self.clock.ahead_ms()).arg(most).arg(REQUEST);
        let answer = Answer(self.script(call).await?);
        let closed = (1..answer.0.len())
            .step_by(2)
            .map(|i| Ok(Swept { request_id: answer.parse(i)?, was: answer.parse(i + 1)? }));
        Ok(Sweep {
            looked_at: answer.parse(0)?,
            closed: closed.collect::<Result<_, EngineError>>()?,
        })
    }

    pub async fn keep_text(&self, text: &KeptText) -> Result<(), EngineError> {
        let mut call = KEEP_TEXT.key(inbox_key(&text.phone));
        call.arg(text.message_id.to_string()).arg(&text.sealed).arg(TEXT_KEPT_MS);
        self.script::<i64>(call).await.map(drop)
    }

    pub async fn kept_texts(&self, phone: &PhoneKey) -> Result<Vec<String>, EngineError> {
        let key = inbox_key(phone);
        self.run(async |mut lane| lane.hvals(&key).await).await
    }

    pub async fn all_kept_texts(&self) -> Result<Vec<(PhoneKey, String)>, EngineError> {
        let phones = self.phones_with_texts().await?;
        if phones.is_empty() {
            return Ok(Vec::new());
        }
        let mut each = redis::pipe();
        for phone in &phones {
            each.hvals(inbox_key(phone));
        }
        let texts: Vec<Vec<String>> =
            self.run(async |mut lane| each.query_async(&mut lane).await).await?;
        let of_phone = |(phone, texts): (PhoneKey, Vec<String>)| {
            texts.into_iter().map(move |text| (phone.clone(), text))
        };
        Ok(phones.into_iter().zip(texts).flat_map(of_phone).collect())
    }

    /// Looks for the keys of the inbox: a list of them would be one more key for the workers' logins to open.
    async fn phones_with_texts(&self) -> Result<BTreeSet<PhoneKey>, EngineError> {
        let mut phones = BTreeSet::new();
        let mut cursor = 0_u64;
        for _ in 0..SCANS {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(INBOX_KEYS).arg("COUNT").arg(KEYS_A_SCAN);
            let (next, keys): (u64, Vec<String>) =
                self.run(async |mut lane| scan.query_async(&mut lane).await).await?;
            phones.extend(keys.iter().filter_map(|key| phone_of_inbox(key)));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(phones)
    }

    pub async fn note_change(
        &self,
        user: UserId,
        session: SessionId,
        sealed: &str,
        ttl_ms: i64,
    ) -> Result<(), EngineError> {
        let ttl_ms = u64::try_from(ttl_ms).unwrap_or_default();
        let requester = requester(session, sealed);
        let mut both = redis::pipe();
        both.atomic()
            .pset_ex(change_key(user), sealed, ttl_ms)
            .ignore()
            .pset_ex(requester_key(user), requester, ttl_ms)
            .ignore();
        self.run(async |mut lane| both.query_async(&mut lane).await).await
    }

    pub async fn noted_change(&self, user: UserId) -> Result<Option<NotedChange>, EngineError> {
        let keys = [change_key(user), requester_key(user)];
        let (sealed, requester): (Option<String>, Option<String>) =
            self.run(async |mut lane| lane.mget(&keys).await).await?;
        Ok(sealed.map(|sealed| {
            let requester = requester.as_deref().and_then(|text| text.strip_suffix(&sealed));
            let requester = requester.map(|digest| digest.trim_end().to_owned());
            NotedChange { sealed, requester }
        }))
    }
}

/// The session that requested a change, with the note that it belongs to: a gateway of the former version, which replaces
/// the note alone, leaves a requester of another note.
fn requester(session: SessionId, sealed: &str) -> String {
    format!("{} {sealed}", digest_of(session.uuid()))
}
