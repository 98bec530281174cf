//! Checks a code and redeems it: the attempt is counted in Redis before the comparison and in the database before the
//! answer (P4).

use accounts::{AttemptKind, Counted, Denied, Throttle};
use domain::code::Code;
use domain::engine_error::EngineError;
use domain::ids::{CodeId, RequestId};
use domain::timestamp::Timestamp;
use domain::vocabulary::Limit;
use guard::Destination;
use store::{Answered, CheckOutcome, Closing, Matched, Refund, Scope, Verify};

use crate::app::App;
use crate::codes::caller::Caller;
use crate::codes::claimed_phone::ClaimedPhone;
use crate::codes::failed_attempts::note_failure;
use crate::codes::funnel;
use crate::codes::lock_notice::tell_of_lock;
use crate::codes::matched_code::MatchedCode;
use crate::codes::refusals::{count_check, limited, throttled};
use crate::http::error::ApiError;

/// A code submitted by a client.
pub(crate) struct CodeCheck<'a> {
    pub app: &'a App,
    pub claimed: &'a ClaimedPhone,
    pub scope: Scope,
    pub code: &'a Code,
    pub request_id: Option<RequestId>,
    /// The known device that the attempt is counted for, while it has a budget left (contract, ruling 39).
    pub device: Option<&'a str>,
}

/// What a code was exchanged for.
pub(crate) struct Redeemed<T> {
    pub outcome: T,
    /// The code request that is verified now.
    pub verified: Option<RequestId>,
}

impl CodeCheck<'_> {
    /// Checks the code. If it is right, `exchange` redeems it in the database, all or nothing; then the code is closed.
    ///
    /// # Errors
    /// 401 for a wrong code and one that was used before, 429 while no code is checked, 503 while an engine is away.
    pub async fn redeem<T>(
        &self,
        caller: &Caller,
        exchange: impl AsyncFnOnce(&MatchedCode) -> Result<Result<Redeemed<T>, Denied>, ApiError>,
    ) -> Result<T, ApiError> {
        let matched = self.verify(caller).await?;
        if let Some(trace) = matched.trace() {
            traces::link(&trace);
        }
        let code = matched.code.code_id;
        match exchange(&matched).await {
            Ok(Ok(Redeemed { outcome, verified })) => {
                if verified.is_some() {
                    let Matched { expires_at, now, .. } = matched.code;
                    funnel::verified(self.app, &self.claimed.phone, expires_at, now);
                }
                let askers = self.askers(caller);
                // The requests of a change of phone are its user's own.
                let named = self.request_id.is_some() || self.scope != Scope::Login;
                let answered = verified.map(|request| Answered { request, named, askers: &askers });
                let closing = match self.device {
                    Some(device) => Closing::UsedByDevice(device, answered),
                    None => Closing::Used(answered),
                };
                self.close(code, closing).await;
                Ok(outcome)
            }
            Ok(Err(Denied::Throttled(throttle))) => {
                self.refund(Refund::Unused(code)).await;
                Err(throttled(throttle, matched.code.now))
            }
            Ok(Err(Denied::CodeUsed)) => Err(self.used_before(&matched).await),
            Ok(Err(Denied::SessionEnded)) => Err(ApiError::SessionRevoked),
            Err(error) => {
                // It may have been committed anyway.
                self.refund(Refund::CodeCheck(code)).await;
                Err(error)
            }
        }
    }

    /// The caller, by the names under which it may have asked for the code.
    fn askers(&self, caller: &Caller) -> Vec<String> {
        let device = self.claimed.known_user().map(Some);
        device.into_iter().chain([None]).map(|known| caller.asker(self.app, known)).collect()
    }

    /// Counts the attempt in Redis and compares the code.
    async fn verify(&self, caller: &Caller) -> Result<MatchedCode, ApiError> {
        let (config, engines) = (&self.app.config, &self.app.engines);
        let verify = Verify {
            phone: &self.claimed.key,
            scope: self.scope,
            digest: &engines.keys.code_digest(
                &self.scope.to_string(),
                self.claimed.phone.e164(),
                self.code,
            )?,
            request_id: self.request_id,
            attempts: config.otp.attempts,
            device: self.device,
            ttl_ms: config.otp.ttl_secs * 1000,
            addresses: &self.app.login_addresses(caller.ip, self.claimed.known_user().is_some()),
        };
        match self.app.codes.verify(&verify).await? {
            CheckOutcome::Matched(code) => Ok(MatchedCode { code, named: self.request_id }),
            CheckOutcome::Wrong { code, now, attempts_left } => {
                let refused = self.wrong(code, attempts_left, now).await;
                // A guess at a phone without a live code could never be right, and costs an attacker no text.
                if code.is_some() {
                    note_failure(self.app, caller, &self.claimed.key, &refused).await;
                }
                Err(refused)
            }
            CheckOutcome::Foreign { attempts_left, .. } => {
                count_check("foreign");
                Err(ApiError::OtpIncorrect { attempts_left })
            }
            CheckOutcome::Exhausted { now, until, .. } => Err(self.exhausted(until, now).await),
            CheckOutcome::Limited { retry_after } => {
                Err(limited(Limit::LoginsIp, retry_after.max(1)))
            }
        }
    }

    /// Answers a wrong code. `live` is the code that it was compared with, and its expiry.
    async fn wrong(
        &self,
        live: Option<(CodeId, Timestamp)>,
        mut attempts_left: u32,
        now: Timestamp,
    ) -> ApiError {
        let Counted { code_failures: failures, by_device, locked, .. } =
            match self.count_failure(live, now).await {
                Ok(counted) => counted,
                Err(unjudged) => {
                    self.refund(live.map_or(Refund::NoCode, |(code, _)| Refund::CodeCheck(code)))
                        .await;
                    return unjudged;
                }
            };
        if locked {
            tell_of_lock(self.app, self.claimed.claimant());
        }
        if let Some((code, expires_at)) = live {
            let attempts = self.app.config.otp.attempts;
            // Its budget may have run out since it was read: then the database counted it among everybody else's.
            let device = self.device.filter(|_| by_device);
            if failures > attempts {
                // Redis counted fewer failures: it was restored or flushed, which does not lower this count.
                self.mark_exhausted(code, device).await;
                return self.exhausted(expires_at, now).await;
            }
            let left = attempts - failures;
            if left == 0 && attempts_left > 0 {
                // This was the last attempt; Redis would go on joining requests to a code that is refused.
                self.mark_exhausted(code, device).await;
            }
            attempts_left = attempts_left.min(left);
        }
        count_check("wrong");
        ApiError::OtpIncorrect { attempts_left }
    }

    /// Counts a failed attempt in the database, where no flush of Redis can reset it (contract, ruling 28). Without a
    /// live code nothing is counted.
    ///
    /// # Errors
    /// 429 if the attempt is not judged because of a wait. 503 while the database is away.
    async fn count_failure(
        &self,
        live: Option<(CodeId, Timestamp)>,
        now: Timestamp,
    ) -> Result<Counted, ApiError> {
        let counted = match live {
            Some(_) => {
                let (claimant, limits) = (self.claimed.claimant(), self.app.attempt_limits());
                let attempts = &self.app.attempts;
                attempts.record_failure(claimant, AttemptKind::Code, live, limits, now).await?
            }
            None => match self.throttle(now).await? {
                Some(throttle) => Err(throttle),
                None => Ok(Counted::default()),
            },
        };
        counted.map_err(|throttle| throttled(throttle, now))
    }

    /// Answers a code that was right in Redis but not accepted by the database. If it was used before, by a concurrent
    /// login or one that Redis forgot, it is as wrong as any other. If its attempts are exhausted, the answer is the
    /// same as for every attempt at it.
    async fn used_before(&self, matched: &MatchedCode) -> ApiError {
        let Matched { code_id: code, now, .. } = matched.code;
        let (claimed, attempts) = (self.claimed, &self.app.attempts);
        let exhausted = async {
            // The budget of a known device may have run out since it was read: then everybody's count decides.
            let device = match self.device {
                Some(_) => {
                    claimed.counted_device(self.app, AttemptKind::Code, Some(code), now).await?
                }
                None => None,
            };
            let limits = self.app.attempt_limits();
            Ok((attempts.code_is_exhausted(code, limits, device).await?, device))
        };
        match exhausted.await {
            Ok((true, device)) => {
                self.mark_exhausted(code, device).await;
                self.exhausted(matched.code.expires_at, now).await
            }
            Ok((false, _)) => {
                self.close(code, Closing::Refused).await;
                count_check("used");
                ApiError::OtpIncorrect { attempts_left: matched.code.attempts_left }
            }
            Err(error) => {
                self.refund(Refund::CodeCheck(code)).await;
                EngineError::into(error)
            }
        }
    }

    /// If an exhausted code and a wait coincide, the one that ends later decides the answer (contract, ruling 3).
    async fn exhausted(&self, until: Timestamp, now: Timestamp) -> ApiError {
        match self.throttle(now).await {
            Ok(Some(throttle)) if throttle.until().is_none_or(|opens| opens > until) => {
                throttled(throttle, now)
            }
            Ok(_) => {
                count_check("exhausted");
                ApiError::OtpAttemptsExhausted { retry_after: until.secs_from(now).max(1) }
            }
            Err(error) => error.into(),
        }
    }

    async fn throttle(&self, now: Timestamp) -> Result<Option<Throttle>, EngineError> {
        let (claimant, limits) = (self.claimed.claimant(), self.app.attempt_limits());
        self.app.attempts.throttle(claimant, AttemptKind::Code, limits, now).await
    }

    /// Marks the code as exhausted in Redis, so that code requests also wait for its expiry (contract, rulings 3 and
    /// 28). If this fails, the next attempt finds the same count in the database.
    async fn mark_exhausted(&self, code: CodeId, device: Option<&str>) {
        let attempts = self.app.config.otp.attempts;
        let codes = &self.app.codes;
        let marked =
            codes.mark_exhausted(&self.claimed.key, self.scope, code, attempts, device).await;
        or_warn(marked, "cannot mark a code as exhausted in Redis");
    }

    /// Refunds an attempt that the database did not judge: it costs none of the code's attempts. If this fails, the
    /// attempt stays counted, which is the safe side.
    async fn refund(&self, refund: Refund) {
        let codes = &self.app.codes;
        let refunded = codes.refund(&self.claimed.key, self.scope, refund, self.device).await;
        or_warn(refunded, "cannot refund an attempt, it stays counted");
    }

    /// Closes the code in Redis. The fence in the database already decides; this saves later attempts the query.
    async fn close(&self, code: CodeId, closing: Closing<'_>) {
        let ClaimedPhone { phone, key, .. } = self.claimed;
        let destination = Destination {
            country: phone.region(),
            operator_prefix: phone.e164().operator_prefix(),
        };
        let codes = &self.app.codes;
        let closed = codes.close(key, self.scope, code, closing, destination).await;
        or_warn(closed, "cannot close a used code in Redis");
    }
}

/// The database has decided already: a failure to tell Redis changes no answer.
fn or_warn(written: Result<(), EngineError>, message: &str) {
    if let Err(error) = written {
        tracing::warn!(error = format!("{error:#}"), "{message}");
    }
}
