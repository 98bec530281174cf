//! Checks a code: the attempt is counted in Redis before the comparison and in the database before the answer (P4).

use accounts::{AttemptKind, AttemptOutcome, Claimant, Throttle};
use domain::code::Code;
use domain::engine_error::EngineError;
use domain::event::Profile;
use domain::ids::{CodeId, RequestId, UserId};
use domain::keys::PhoneKey;
use domain::phone::Phone;
use domain::timestamp::Timestamp;
use domain::vocabulary::{Channel, Limit};
use guard::Destination;
use store::{CheckOutcome, Closing, Refund, RequestNote, Scope, Verify};

use crate::app::App;
use crate::codes::request::{Caller, limited};
use crate::http::error::ApiError;

/// A code submitted by a client.
pub(crate) struct CodeCheck<'a> {
    pub phone: &'a Phone,
    pub phone_key: &'a PhoneKey,
    /// As in [`Claimant`].
    pub former_key: Option<&'a PhoneKey>,
    pub scope: Scope,
    pub code: &'a Code,
    pub request_id: Option<RequestId>,
    pub known_device: Option<UserId>,
}

/// A code that was right in Redis. The database has the last word: its fence, its counts, its waits.
pub(crate) struct MatchedCode {
    pub code_id: CodeId,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    pub attempts_left: u32,
    /// The requests for this code, oldest first.
    pub code_requests: Vec<(RequestId, RequestNote)>,
    /// The channel of the last message.
    pub channel: Channel,
}

impl CodeCheck<'_> {
    pub fn claimant(&self) -> Claimant<'_> {
        Claimant {
            phone_number: self.phone.e164(),
            phone_key: self.phone_key,
            former_key: self.former_key,
            known_device: self.known_device,
        }
    }

    /// Checks the code.
    ///
    /// # Errors
    /// 401 for a wrong code, 429 while no code is checked, 503 while an engine is away.
    pub async fn judge(&self, app: &App, caller: &Caller) -> Result<MatchedCode, ApiError> {
        let digest =
            app.engines.keys.code_digest(&self.scope.to_string(), self.phone, self.code)?;
        let per_ip = app.config.limits.logins_per_ip_minute;
        let ip_key = app.ip_key(caller.ip, per_ip);
        let verify = Verify {
            phone: self.phone_key,
            scope: self.scope,
            digest: &digest,
            request_id: self.request_id,
            attempts: app.config.otp.attempts,
            ttl_ms: app.config.otp.ttl_secs * 1000,
            ip_key: &ip_key,
            logins_per_ip_minute: per_ip,
        };
        match app.codes.verify(&verify).await? {
            CheckOutcome::Matched {
                code_id,
                now,
                expires_at,
                attempts_left,
                code_requests,
                channel,
            } => {
                Ok(MatchedCode { code_id, now, expires_at, attempts_left, code_requests, channel })
            }
            CheckOutcome::Wrong { code: Some((code_id, expires_at)), now, attempts_left } => {
                Err(self.wrong(app, code_id, expires_at, now, attempts_left).await)
            }
            CheckOutcome::Wrong { code: None, now, attempts_left } => {
                Err(match self.gate(app, now).await {
                    Ok(None) => wrong(attempts_left),
                    Ok(Some(throttle)) => self.unjudged(app, Refund::NoCode, throttle, now).await,
                    Err(error) => self.unanswered(app, Refund::NoCode, error).await,
                })
            }
            CheckOutcome::Exhausted { now, until, .. } => {
                Err(self.exhausted(app, now, until).await)
            }
            CheckOutcome::Limited { retry_after } => {
                Err(limited(Limit::LoginsIp, retry_after.max(1)))
            }
        }
    }

    /// Answers a failed attempt at a live code, after counting it in the database, where no flush of Redis can reset it
    /// (contract, ruling 28).
    async fn wrong(
        &self,
        app: &App,
        code_id: CodeId,
        expires_at: Timestamp,
        now: Timestamp,
        attempts_left: u32,
    ) -> ApiError {
        let limits = app.attempt_limits();
        let (code, refund) = (Some((code_id, expires_at)), Refund::CodeCheck(code_id));
        match app
            .attempts
            .record_failure(self.claimant(), AttemptKind::Code, code, limits, now)
            .await
        {
            // More failures than Redis counted: it was restored or flushed, which does not lower this count.
            Ok(AttemptOutcome::Counted { code_failures, .. })
                if code_failures > limits.attempts =>
            {
                self.spent(app, code_id, expires_at, now).await
            }
            Ok(AttemptOutcome::Counted { code_failures, .. }) => {
                let left = limits.attempts.saturating_sub(code_failures);
                if left == 0 && attempts_left > 0 {
                    // This was the last attempt; Redis would go on joining requests to a code that is refused.
                    self.mark_exhausted(app, code_id).await;
                }
                wrong(attempts_left.min(left))
            }
            Ok(AttemptOutcome::Wait { until }) => {
                self.unjudged(app, refund, Throttle::Wait { until }, now).await
            }
            Ok(AttemptOutcome::Locked { until }) => {
                self.unjudged(app, refund, Throttle::Locked { until }, now).await
            }
            Err(error) => self.unanswered(app, refund, error).await,
        }
    }

    /// Answers a code that was right in Redis but not accepted by the database. If it was used before, by a concurrent
    /// login or one that Redis forgot, it is as wrong as any other. If its attempts are exhausted, the answer is the
    /// same as for every attempt at it.
    pub async fn refused(&self, app: &App, right: &MatchedCode) -> ApiError {
        let code = right.code_id;
        match app.attempts.code_is_exhausted(code, app.attempt_limits()).await {
            Ok(true) => self.spent(app, code, right.expires_at, right.now).await,
            Ok(false) => {
                self.close(app, code, Closing::Refused).await;
                count("used");
                ApiError::OtpIncorrect { attempts_left: right.attempts_left }
            }
            Err(error) => self.unanswered(app, Refund::CodeCheck(code), error).await,
        }
    }

    /// The database knows that the code's attempts are exhausted; Redis, restored from an older state, did not.
    async fn spent(
        &self,
        app: &App,
        code: CodeId,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> ApiError {
        self.mark_exhausted(app, code).await;
        self.exhausted(app, now, expires_at).await
    }

    /// Marks the code as exhausted in Redis, so that code requests also wait for its expiry (contract, rulings 3 and
    /// 28).
    async fn mark_exhausted(&self, app: &App, code: CodeId) {
        let attempts = app.config.otp.attempts;
        let told = app.codes.mark_exhausted(self.phone_key, self.scope, code, attempts).await;
        if let Err(error) = told {
            // The next attempt finds the same count in the database.
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot mark a code as exhausted in Redis"
            );
        }
    }

    async fn gate(&self, app: &App, now: Timestamp) -> Result<Option<Throttle>, EngineError> {
        app.attempts.throttle(self.claimant(), AttemptKind::Code, app.attempt_limits(), now).await
    }

    /// If an exhausted code and a wait coincide, the one that ends later decides the answer (contract, ruling 3).
    async fn exhausted(&self, app: &App, now: Timestamp, until: Timestamp) -> ApiError {
        match self.gate(app, now).await {
            Ok(Some(throttle)) if throttled_until(throttle).is_none_or(|opens| opens > until) => {
                not_yet(throttle, now)
            }
            Ok(_) => exhausted(until.secs_from(now)),
            Err(error) => error.into(),
        }
    }

    /// Answers an attempt that was not judged because a wait is in force. It costs none of the code's attempts, and the
    /// answer does not reveal whether the code was right.
    pub async fn unjudged(
        &self,
        app: &App,
        refund: Refund,
        throttle: Throttle,
        now: Timestamp,
    ) -> ApiError {
        self.refund(app, refund).await;
        not_yet(throttle, now)
    }

    /// The database did not answer: nothing is accepted, and no attempt is charged.
    pub async fn unanswered(&self, app: &App, refund: Refund, error: EngineError) -> ApiError {
        self.refund(app, refund).await;
        error.into()
    }

    async fn refund(&self, app: &App, refund: Refund) {
        if let Err(error) = app.codes.refund(self.phone_key, self.scope, refund).await {
            // The attempt stays counted, which is the safe side.
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot refund an attempt, it stays counted"
            );
        }
    }

    /// Closes the code in Redis. The fence in the database already decides; this saves later attempts the query.
    pub async fn close(&self, app: &App, code: CodeId, closing: Closing) {
        let destination = Destination {
            country: self.phone.region(),
            operator_prefix: self.phone.operator_prefix(),
        };
        if let Err(error) =
            app.codes.close(self.phone_key, self.scope, code, closing, destination).await
        {
            tracing::warn!(error = format!("{error:#}"), "cannot close a used code in Redis");
        }
    }
}

impl MatchedCode {
    /// The request that this sign-in answers: the one it names, or the newest (contract, ruling 21). A call that
    /// followed a text automatically does not count as a request.
    pub fn answered(&self, named: Option<RequestId>) -> Option<RequestId> {
        let followed_a_text = |(request, note): &(RequestId, RequestNote)| {
            let texted = |(other, _): &(RequestId, RequestNote)| other.of_its_call() == *request;
            note.channel == Channel::Voice && self.code_requests.iter().any(texted)
        };
        let newest =
            || self.code_requests.iter().rev().find(|code_request| !followed_a_text(code_request));
        named.or_else(|| newest().map(|(request, _)| *request))
    }

    /// The profile for a new account: the named request's, or, if none is named, the one that all sign-ups of this code
    /// agree on. So an attacker cannot plant a name on another person's number (contract, ruling 1).
    pub fn profile(&self, app: &App, named: Option<RequestId>) -> Option<Profile> {
        let mut profiles = self
            .code_requests
            .iter()
            .filter(|(request, _)| named.is_none_or(|named| named == *request))
            .filter_map(|(request, note)| {
                let bound = ["profile", &self.code_id.to_string(), &request.to_string()];
                app.engines.keys.event.open(note.profile.as_ref()?, &bound).ok()
            });
        let first = profiles.next()?;
        profiles.all(|other| other == first).then_some(first)
    }

    /// The request's locale, or English (contract, ruling 22).
    pub fn locale(&self, named: Option<RequestId>) -> String {
        let asked = |(request, note): &(RequestId, RequestNote)| {
            named.is_none_or(|named| named == *request).then(|| note.locale.clone()).flatten()
        };
        self.code_requests.iter().rev().find_map(asked).unwrap_or_else(|| "en".to_owned())
    }
}

pub(crate) fn wrong(attempts_left: u32) -> ApiError {
    count("wrong");
    ApiError::OtpIncorrect { attempts_left }
}

fn exhausted(retry_after: u64) -> ApiError {
    count("exhausted");
    ApiError::OtpAttemptsExhausted { retry_after: retry_after.max(1) }
}

fn throttled_until(throttle: Throttle) -> Option<Timestamp> {
    match throttle {
        Throttle::Wait { until } => Some(until),
        Throttle::Locked { until } => until,
    }
}

pub(crate) fn not_yet(throttle: Throttle, now: Timestamp) -> ApiError {
    count("waiting");
    metrics::counter!("latchkey_limited_total", "limit" => Limit::Attempts.as_str()).increment(1);
    let retry_after = throttled_until(throttle).map(|until| until.secs_from(now).max(1));
    ApiError::TooManyRequests { limit: Limit::Attempts, retry_after }
}

pub(crate) fn count(outcome: &'static str) {
    metrics::counter!("latchkey_otp_verifications_total", "outcome" => outcome).increment(1);
}
