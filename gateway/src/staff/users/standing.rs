//! Why can they not sign in now? Everything that stands between a number and its next sign-in, and the state of its code:
//! never the code.

use accounts::{AttemptKind, Blocks, Claimant, Person, Throttle};
use domain::string_enum;
use domain::timestamp::Timestamp;
use ledger::Message;
use serde::Serialize;
use service::blocklist::stops_phone;
use store::{PhoneState, Scope};
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;
use crate::openapi::words;
use crate::staff::requests::meaning;

/// How a number stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Standing {
    /// What keeps it from signing in; nothing if this is empty.
    pub obstacles: Vec<Obstacle>,
    pub code: CodeView,
    /// Codes requested in the last hour.
    pub sends_hour: u64,
    /// How many are allowed; null: any number.
    #[schema(required = true)]
    pub sends_hour_limit: Option<u64>,
    /// Codes requested in the last day.
    pub sends_day: u64,
    /// How many are allowed; null: any number.
    #[schema(required = true)]
    pub sends_day_limit: Option<u64>,
}

string_enum! {
    /// What stands in the way.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum ObstacleCode {
        AccountBlocked = "account_blocked",
        NotServed = "not_served",
        RequestsBlocked = "requests_blocked",
        CodeSlowed = "code_slowed",
        CodeLocked = "code_locked",
        PasswordSlowed = "password_slowed",
        PasswordLocked = "password_locked",
        CodeExhausted = "code_exhausted",
        TooManyWithoutCode = "too_many_without_code",
        Cooldown = "cooldown",
        PhoneHour = "phone_hour",
        PhoneDay = "phone_day",
        LastTextNotDelivered = "last_text_not_delivered",
    }
}

/// One thing that stands in the way.
#[derive(Serialize, ToSchema)]
pub(crate) struct Obstacle {
    #[schema(value_type = words::ObstacleCode)]
    pub code: ObstacleCode,
    /// The same in words, with what belongs to it: a reason, whom to ask.
    pub detail: String,
    /// When it ends by itself, if that is known.
    #[schema(value_type = Option<words::Time>, required = true)]
    pub until: Option<Timestamp>,
}

impl Obstacle {
    fn new(code: ObstacleCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), until: None }
    }

    fn until(self, until: Timestamp) -> Self {
        Self { until: Some(until), ..self }
    }
}

string_enum! {
    /// The state of a code.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub(crate) enum CodeState {
        /// None was requested lately.
        None = "none",
        Requested = "requested",
        Live = "live",
        Exhausted = "exhausted",
        Used = "used",
        Expired = "expired",
    }
}

/// The state of a code: never the code.
#[derive(Serialize, ToSchema)]
#[schema(as = CodeView)]
pub(crate) struct CodeView {
    #[schema(value_type = words::CodeState)]
    pub state: CodeState,
    #[schema(value_type = Option<words::Time>, required = true)]
    pub expires_at: Option<Timestamp>,
    /// Attempts made; null without a code.
    #[schema(required = true)]
    pub attempts_made: Option<u32>,
    /// How many attempts a code allows.
    pub attempts: u32,
}

/// Computes how the person's number stands; `texts` are its latest messages, newest first.
pub(crate) async fn of(
    app: &App,
    person: &Person,
    texts: &[Message],
    now: Timestamp,
) -> Result<Standing, ApiError> {
    let number = &person.user.phone_number;
    let keys = &app.engines.keys;
    let (key, former) = (keys.phone_key(number), keys.former_phone_key(number));
    let claimant = Claimant {
        phone_number: number,
        phone_key: &key,
        former_key: former.as_ref(),
        known_device: None,
    };
    let state = app.codes.phone_state(&key, Scope::Login).await?;
    let mut obstacles = Vec::new();
    if let Some(block) = &person.block {
        let what = format!("The account is blocked: {} (by {}).", block.reason, block.by);
        obstacles.push(Obstacle::new(ObstacleCode::AccountBlocked, what));
    }
    if app.phone(number.expose()).is_err() {
        let what = "Numbers of this country or kind are not served: no code is sent.";
        obstacles.push(Obstacle::new(ObstacleCode::NotServed, what));
    }
    for block in Blocks::new(&app.engines.sql).active(now).await? {
        if stops_phone(&block, keys, number, &person.user.country) {
            let what = format!(
                "Code requests are blocked for the {} {}: {} (ask {}).",
                block.kind, block.display, block.reason, block.owner
            );
            let obstacle = Obstacle::new(ObstacleCode::RequestsBlocked, what);
            obstacles.push(Obstacle { until: block.until, ..obstacle });
        }
    }
    let limits = app.attempt_limits();
    for kind in AttemptKind::ALL {
        if kind == AttemptKind::Password && !person.has_password {
            continue;
        }
        if let Some(throttle) = app.attempts.throttle(claimant, kind, limits, now).await? {
            obstacles.push(throttled(throttle, kind));
        }
    }
    obstacles.extend(of_store(app, &state));
    obstacles.extend(texts.first().and_then(not_arrived));
    let limits = &app.config.limits;
    let most = |limit: u64| (limit > 0).then_some(limit);
    Ok(Standing {
        obstacles,
        code: code(&state, app.config.otp.attempts),
        sends_hour: state.sends_hour,
        sends_hour_limit: most(limits.sends_per_phone_hour),
        sends_day: state.sends_day,
        sends_day_limit: most(limits.sends_per_phone_day),
    })
}

fn throttled(throttle: Throttle, kind: AttemptKind) -> Obstacle {
    let by = kind.as_str();
    let code = match (kind, throttle) {
        (AttemptKind::Code, Throttle::Delayed { .. }) => ObstacleCode::CodeSlowed,
        (AttemptKind::Code, Throttle::Locked { .. }) => ObstacleCode::CodeLocked,
        (AttemptKind::Password, Throttle::Delayed { .. }) => ObstacleCode::PasswordSlowed,
        (AttemptKind::Password, Throttle::Locked { .. }) => ObstacleCode::PasswordLocked,
    };
    let detail = match throttle {
        Throttle::Delayed { .. } => {
            format!("Many wrong attempts: the next {by} is judged after a wait.")
        }
        Throttle::Locked { .. } => {
            format!("Sign-in by {by} is locked after too many wrong attempts in a row.")
        }
    };
    Obstacle { until: throttle.until(), ..Obstacle::new(code, detail) }
}

/// What the store knows of the number. Its times are by its own clock.
fn of_store(app: &App, state: &PhoneState) -> Vec<Obstacle> {
    let (now, attempts) = (state.now, app.config.otp.attempts);
    let limits = &app.config.limits;
    let mut found = Vec::new();
    match (state.code, state.uncoded) {
        (Some(code), _) if code.expires_at > now && !code.used && code.attempts >= attempts => {
            let what = "The attempts at the code are exhausted: no new code before its end.";
            found.push(Obstacle::new(ObstacleCode::CodeExhausted, what).until(code.expires_at));
        }
        (_, Some((made, until))) if made >= attempts => {
            let what = "Too many attempts without a code. A new code can be requested now.";
            found.push(Obstacle::new(ObstacleCode::TooManyWithoutCode, what).until(until));
        }
        _ => {}
    }
    if let Some(until) = state.cooldown_until {
        let what = "A code was requested a moment ago: no other is sent before.";
        found.push(Obstacle::new(ObstacleCode::Cooldown, what).until(until));
    }
    let is_full = |sent: u64, most: u64| most > 0 && sent >= most;
    if is_full(state.sends_hour, limits.sends_per_phone_hour) {
        let what = "No more codes for this number within the hour: phone_hour.";
        found.push(Obstacle::new(ObstacleCode::PhoneHour, what));
    }
    if is_full(state.sends_day, limits.sends_per_phone_day) {
        let what = "No more codes for this number within the day: phone_day.";
        found.push(Obstacle::new(ObstacleCode::PhoneDay, what));
    }
    found
}

fn not_arrived(text: &Message) -> Option<Obstacle> {
    use domain::vocabulary::Status;
    matches!(text.status, Status::Failed | Status::Undelivered).then(|| {
        let why = text.reason.map_or("for an unknown reason", meaning::of_reason);
        let detail = format!("The last text did not arrive: {why}.");
        Obstacle::new(ObstacleCode::LastTextNotDelivered, detail)
    })
}

fn code(state: &PhoneState, attempts: u32) -> CodeView {
    let Some(code) = state.code else {
        let state = CodeState::None;
        return CodeView { state, expires_at: None, attempts_made: None, attempts };
    };
    let word = if code.used {
        CodeState::Used
    } else if code.expires_at <= state.now {
        CodeState::Expired
    } else if code.attempts >= attempts {
        CodeState::Exhausted
    } else if !code.issued {
        CodeState::Requested
    } else {
        CodeState::Live
    };
    CodeView {
        state: word,
        expires_at: Some(code.expires_at),
        attempts_made: Some(code.attempts.min(attempts)),
        attempts,
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;
    use domain::ids::CodeId;
    use store::CodeState as Stored;

    use super::*;

    #[test]
    fn each_state_of_a_code_has_its_word() {
        let clock = Clock::manual();
        let now = clock.now();
        let fresh = Stored {
            id: CodeId::new(&clock),
            expires_at: now.plus_secs(300),
            attempts: 2,
            used: false,
            issued: true,
        };
        let word = |code: Option<Stored>| {
            let state = PhoneState {
                now,
                code,
                uncoded: None,
                cooldown_until: None,
                sends_hour: 0,
                sends_day: 0,
            };
            super::code(&state, 5).state.as_str()
        };
        assert_eq!(word(None), "none");
        assert_eq!(word(Some(fresh)), "live");
        assert_eq!(word(Some(Stored { issued: false, ..fresh })), "requested");
        assert_eq!(word(Some(Stored { attempts: 5, ..fresh })), "exhausted");
        assert_eq!(word(Some(Stored { expires_at: now, ..fresh })), "expired");
        assert_eq!(word(Some(Stored { used: true, issued: false, ..fresh })), "used");
    }
}
