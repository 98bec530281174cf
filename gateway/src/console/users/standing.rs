//! Why can they not sign in now? Everything that stands between a number and its next sign-in, and the state of its code:
//! never the code.

use accounts::{AttemptKind, Blocks, Claimant, Person, Throttle};
use domain::timestamp::Timestamp;
use ledger::Message;
use service::blocklist::stops_phone;
use store::{PhoneState, Scope};

use crate::app::App;
use crate::console::requests::meaning;
use crate::console::time::Moment;
use crate::http::error::ApiError;

/// How a number stands.
pub(super) struct Standing {
    /// What keeps it from signing in; nothing if this is empty.
    pub obstacles: Vec<Obstacle>,
    pub code: CodeView,
    /// Codes requested in the last hour and the last day, of how many; `None` of any number.
    pub hour: (u64, Option<u64>),
    pub day: (u64, Option<u64>),
}

/// One thing that stands in the way.
pub(super) struct Obstacle {
    pub what: String,
    pub until: Option<Moment>,
    /// What staff can do about it, as the name of an act of the page.
    pub mend: Option<&'static str>,
}

impl Obstacle {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), until: None, mend: None }
    }

    fn until(self, until: Timestamp, now: Timestamp) -> Self {
        Self { until: Some(Moment::of(until, now)), ..self }
    }

    fn mended_by(self, act: &'static str) -> Self {
        Self { mend: Some(act), ..self }
    }
}

/// The state of a code.
pub(super) struct CodeView {
    pub state: &'static str,
    pub class: &'static str,
    pub meaning: &'static str,
    pub expires: Option<Moment>,
    /// Made, and how many a code allows.
    pub attempts: Option<(u32, u32)>,
}

/// Computes how the person's number stands; `texts` are its latest messages, newest first.
pub(super) async fn of(
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
        obstacles.push(Obstacle::new(what).mended_by("unblock"));
    }
    if app.phone(number.expose()).is_err() {
        let what = "Numbers of this country or kind are not served: no code is sent.";
        obstacles.push(Obstacle::new(what));
    }
    for block in Blocks::new(&app.engines.sql).active(now).await? {
        if stops_phone(&block, keys, number, &person.user.country) {
            let what = format!(
                "Code requests are blocked for the {} {}: {} (ask {}).",
                block.kind, block.display, block.reason, block.owner
            );
            let obstacle = Obstacle::new(what).mended_by("blocks");
            obstacles.push(match block.until {
                Some(until) => obstacle.until(until, now),
                None => obstacle,
            });
        }
    }
    let limits = app.attempt_limits();
    for kind in AttemptKind::ALL {
        if kind == AttemptKind::Password && !person.has_password {
            continue;
        }
        if let Some(throttle) = app.attempts.throttle(claimant, kind, limits, now).await? {
            obstacles.push(throttled(throttle, kind, now));
        }
    }
    obstacles.extend(of_store(app, &state));
    obstacles.extend(texts.first().and_then(not_arrived));
    let limits = &app.config.limits;
    let most = |limit: u64| (limit > 0).then_some(limit);
    Ok(Standing {
        obstacles,
        code: code(&state, app.config.otp.attempts, now),
        hour: (state.sends_hour, most(limits.sends_per_phone_hour)),
        day: (state.sends_day, most(limits.sends_per_phone_day)),
    })
}

fn throttled(throttle: Throttle, kind: AttemptKind, now: Timestamp) -> Obstacle {
    let by = match kind {
        AttemptKind::Code => "code",
        AttemptKind::Password => "password",
    };
    let what = match throttle {
        Throttle::Delayed { .. } => {
            format!("Many wrong attempts: the next {by} is judged after a wait.")
        }
        Throttle::Locked { .. } => {
            format!("Sign-in by {by} is locked after too many wrong attempts in a row.")
        }
    };
    let obstacle = Obstacle::new(what).mended_by("unlock");
    match throttle.until() {
        Some(until) => obstacle.until(until, now),
        None => obstacle,
    }
}

/// What the store knows of the number. Its times are by its own clock.
fn of_store(app: &App, state: &PhoneState) -> Vec<Obstacle> {
    let (now, attempts) = (state.now, app.config.otp.attempts);
    let limits = &app.config.limits;
    let mut found = Vec::new();
    match (state.code, state.uncoded) {
        (Some(code), _) if code.expires_at > now && !code.used && code.attempts >= attempts => {
            let what = "The attempts at the code are exhausted: no new code before its end.";
            found.push(Obstacle::new(what).until(code.expires_at, now));
        }
        (_, Some((made, until))) if made >= attempts => {
            let what = "Too many attempts without a code. A new code can be requested now.";
            found.push(Obstacle::new(what).until(until, now));
        }
        _ => {}
    }
    if let Some(until) = state.cooldown_until {
        let what = "A code was requested a moment ago: no other is sent before.";
        found.push(Obstacle::new(what).until(until, now));
    }
    let is_full = |sent: u64, most: u64| most > 0 && sent >= most;
    if is_full(state.sends_hour, limits.sends_per_phone_hour) {
        found.push(Obstacle::new("No more codes for this number within the hour: phone_hour."));
    }
    if is_full(state.sends_day, limits.sends_per_phone_day) {
        found.push(Obstacle::new("No more codes for this number within the day: phone_day."));
    }
    found
}

fn not_arrived(text: &Message) -> Option<Obstacle> {
    use domain::vocabulary::Status;
    matches!(text.status, Status::Failed | Status::Undelivered).then(|| {
        let why = text.reason.map_or("for an unknown reason", meaning::of_reason);
        Obstacle::new(format!("The last text did not arrive: {why}.")).mended_by("texts")
    })
}

fn code(state: &PhoneState, most: u32, now: Timestamp) -> CodeView {
    let none = CodeView {
        state: "none",
        class: "",
        meaning: "No code was requested lately.",
        expires: None,
        attempts: None,
    };
    let Some(code) = state.code else { return none };
    let (word, class, meaning) = if code.used {
        ("used", "good", "It signed in. It opens nothing any more.")
    } else if code.expires_at <= state.now {
        ("expired", "warn", "Its life is over. A new one can be requested.")
    } else if code.attempts >= most {
        ("exhausted", "bad", "Too many wrong attempts. Nothing is accepted before its end.")
    } else if !code.issued {
        ("requested", "", "It was requested, and is not made yet.")
    } else {
        ("live", "good", "It can be used.")
    };
    CodeView {
        state: word,
        class,
        meaning,
        expires: Some(Moment::of(code.expires_at, now)),
        attempts: Some((code.attempts.min(most), most)),
    }
}

#[cfg(test)]
mod tests {
    use domain::clock::Clock;
    use domain::ids::CodeId;
    use store::CodeState;

    use super::*;

    #[test]
    fn each_state_of_a_code_has_its_word() {
        let clock = Clock::manual();
        let now = clock.now();
        let fresh = CodeState {
            id: CodeId::new(&clock),
            expires_at: now.plus_secs(300),
            attempts: 2,
            used: false,
            issued: true,
        };
        let word = |code: Option<CodeState>| {
            let state = PhoneState {
                now,
                code,
                uncoded: None,
                cooldown_until: None,
                sends_hour: 0,
                sends_day: 0,
            };
            super::code(&state, 5, now).state
        };
        assert_eq!(word(None), "none");
        assert_eq!(word(Some(fresh)), "live");
        assert_eq!(word(Some(CodeState { issued: false, ..fresh })), "requested");
        assert_eq!(word(Some(CodeState { attempts: 5, ..fresh })), "exhausted");
        assert_eq!(word(Some(CodeState { expires_at: now, ..fresh })), "expired");
        assert_eq!(word(Some(CodeState { used: true, issued: false, ..fresh })), "used");
    }
}
