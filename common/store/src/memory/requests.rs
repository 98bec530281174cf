//! Requests: their status, what is kept for a while beside them, and the removal of old data.

use std::collections::BTreeMap;

use super::passes::{Passed, is_recent};
use super::{DAY, MINUTE, Memory, Request, State};
use crate::STATUS_KEPT_MS;
use crate::counts::STARTS_KEPT_MS;
use crate::inbox::{KeptText, TEXT_KEPT_MS};
use crate::statuses::{Raise, RequestStatus, Sweep, Swept};
use crate::types::{NotedChange, digest_of};
use domain::ids::{RequestId, SessionId, UserId};
use domain::keys::PhoneKey;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Reason, Status};
use guard::Rule;

impl Memory {
    pub fn raise_many(&self, raises: &[Raise]) -> Vec<bool> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        raises.iter().map(|raise| self.raise(&mut state, *raise, now)).collect()
    }

    /// Applies what an event says of a request; creates the record if it was lost.
    pub(super) fn raise(&self, state: &mut State, raise: Raise, now: i64) -> bool {
        let Raise { request_id, status, reason, expires_at } = raise;
        let mut made = false;
        state.requests.entry(request_id).or_insert_with(|| {
            made = true;
            Request {
                status,
                reason,
                updated: now,
                expires: expires_at.ms(),
                channel: Channel::Sms,
                closed: false,
                guard: None,
                asker: String::new(),
                passed: Passed::default(),
            }
        });
        let changed = made || state.advance_status(request_id, status, reason, now);
        if changed {
            self.watchers.wake(request_id);
        }
        changed
    }

    pub fn status(&self, request: RequestId) -> Option<RequestStatus> {
        let now = self.clock.now_ms();
        let state = self.lock();
        let found =
            state.requests.get(&request).filter(|found| found.expires + STATUS_KEPT_MS > now)?;
        Some(RequestStatus {
            status: found.status,
            reason: found.reason,
            updated_at: Timestamp::from_ms(found.updated),
            expires_at: Timestamp::from_ms(found.expires),
            channel: found.channel,
            now: Timestamp::from_ms(now),
        })
    }

    pub fn is_wanted(&self, request: RequestId) -> bool {
        self.lock().requests.get(&request).is_none_or(|request| !request.closed)
    }

    pub fn sweep(&self, most: u32, rule: &Rule) -> Sweep {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let over: Vec<RequestId> = state
            .requests
            .iter()
            .filter(|(_, request)| request.expires <= now && !request.status.is_end())
            .map(|(id, _)| *id)
            .take(most as usize)
            .collect();
        let looked_at = over.len();
        let closed = over
            .into_iter()
            .map(|request_id| {
                let was = state
                    .requests
                    .get(&request_id)
                    .map_or(Status::Accepted, |request| request.status);
                state.advance_status(request_id, Status::Expired, None, now);
                self.watchers.wake(request_id);
                Swept { request_id, was }
            })
            .collect();
        state.drop_old(now, rule);
        Sweep { looked_at, closed }
    }

    pub fn keep_text(&self, text: &KeptText) {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let of_phone = state.texts.entry(text.phone.clone()).or_default();
        of_phone.entry(text.message_id).or_insert_with(|| (now, text.sealed.clone()));
    }

    pub fn kept_texts(&self, phone: &PhoneKey) -> Vec<String> {
        let state = self.lock();
        state
            .texts
            .get(phone)
            .map(|texts| texts.values().map(|(_, text)| text.clone()).collect())
            .unwrap_or_default()
    }

    pub fn all_kept_texts(&self) -> Vec<(PhoneKey, String)> {
        let state = self.lock();
        let of_phone = |(phone, texts): (&PhoneKey, &BTreeMap<_, (i64, String)>)| {
            texts.values().map(|(_, text)| (phone.clone(), text.clone())).collect::<Vec<_>>()
        };
        state.texts.iter().flat_map(of_phone).collect()
    }

    pub fn note_change(&self, user: UserId, session: SessionId, sealed: &str, ttl_ms: i64) {
        let until = self.clock.now_ms() + ttl_ms;
        let requester = Some(digest_of(session.uuid()));
        let noted = NotedChange { sealed: sealed.to_owned(), requester };
        self.lock().changes.insert(user, (until, noted));
    }

    pub fn noted_change(&self, user: UserId) -> Option<NotedChange> {
        let now = self.clock.now_ms();
        self.lock()
            .changes
            .get(&user)
            .filter(|(until, _)| *until > now)
            .map(|(_, noted)| noted.clone())
    }
}

impl State {
    pub(super) fn advance_status(
        &mut self,
        id: RequestId,
        status: Status,
        reason: Option<Reason>,
        now: i64,
    ) -> bool {
        let Some(request) =
            self.requests.get_mut(&id).filter(|request| request.status.order() < status.order())
        else {
            return false;
        };
        request.status = status;
        request.reason = reason;
        request.updated = now;
        true
    }

    /// Does what Redis does by its own expiry.
    fn drop_old(&mut self, now: i64, rule: &Rule) {
        self.prefixes.retain(|_, net| !net.is_over(rule, now));
        self.countries.retain(|_, net| !net.is_over(rule, now));
        self.codes.retain(|_, code| code.expires + MINUTE > now);
        self.uncoded.retain(|_, uncoded| uncoded.until > now);
        self.cools.retain(|_, cool| cool.at + DAY > now);
        self.forgiven.retain(|_, (_, since)| *since + DAY > now);
        self.device_asked.retain(|_, at| *at + DAY > now);
        self.proven.retain(|_, epoch| is_recent(*epoch, now));
        self.idempotency.retain(|_, first| first.until > now);
        self.requests.retain(|_, request| request.expires + STATUS_KEPT_MS > now);
        self.changes.retain(|_, (until, _)| *until > now);
        self.distinct.retain(|_, (until, _)| *until > now);
        self.once.retain(|_, until| *until > now);
        self.starts.retain(|_, (at, _)| *at + STARTS_KEPT_MS > now);
        self.sends.retain(|_, sends| !sends.is_over(DAY, now));
        self.windows.retain(|_, window| window.start + DAY > now);
        self.logins.retain(|_, logins| !logins.is_over(MINUTE, now));
        self.writes.retain(|_, writes| !writes.is_over(MINUTE, now));
        self.failures.retain(|_, failed| failed.is_kept(now));
        for texts in self.texts.values_mut() {
            texts.retain(|_, (at, _)| *at + TEXT_KEPT_MS > now);
        }
        self.texts.retain(|_, texts| !texts.is_empty());
    }
}
