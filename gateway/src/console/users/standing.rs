//! Why can they not sign in now, in words and links.

use domain::timestamp::Timestamp;

use crate::console::time::Moment;
use crate::staff::users::standing::{self, CodeState, ObstacleCode};

/// How a number stands.
pub(super) struct Standing {
    /// What keeps it from signing in; nothing if this is empty.
    pub obstacles: Vec<Obstacle>,
    pub code: Code,
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

/// The state of a code.
pub(super) struct Code {
    pub state: &'static str,
    pub class: &'static str,
    pub meaning: &'static str,
    pub expires: Option<Moment>,
    /// Made, and how many a code allows.
    pub attempts: Option<(u32, u32)>,
}

impl Standing {
    pub fn of(data: standing::Standing, now: Timestamp) -> Self {
        let obstacle = |it: standing::Obstacle| Obstacle {
            mend: mend(it.code),
            what: it.detail,
            until: Moment::maybe(it.until, now),
        };
        let (class, meaning) = meaning(data.code.state);
        Self {
            obstacles: data.obstacles.into_iter().map(obstacle).collect(),
            code: Code {
                state: data.code.state.as_str(),
                class,
                meaning,
                expires: Moment::maybe(data.code.expires_at, now),
                attempts: data.code.attempts_made.map(|made| (made, data.code.attempts)),
            },
            hour: (data.sends_hour, data.sends_hour_limit),
            day: (data.sends_day, data.sends_day_limit),
        }
    }
}

const fn mend(code: ObstacleCode) -> Option<&'static str> {
    match code {
        ObstacleCode::AccountBlocked => Some("unblock"),
        ObstacleCode::RequestsBlocked => Some("blocks"),
        ObstacleCode::CodeSlowed
        | ObstacleCode::CodeLocked
        | ObstacleCode::PasswordSlowed
        | ObstacleCode::PasswordLocked => Some("unlock"),
        ObstacleCode::LastTextNotDelivered => Some("texts"),
        ObstacleCode::NotServed
        | ObstacleCode::CodeExhausted
        | ObstacleCode::TooManyWithoutCode
        | ObstacleCode::Cooldown
        | ObstacleCode::PhoneHour
        | ObstacleCode::PhoneDay => None,
    }
}

const fn meaning(state: CodeState) -> (&'static str, &'static str) {
    match state {
        CodeState::None => ("", "No code was requested lately."),
        CodeState::Used => ("good", "It signed in. It opens nothing any more."),
        CodeState::Expired => ("warn", "Its life is over. A new one can be requested."),
        CodeState::Exhausted => {
            ("bad", "Too many wrong attempts. Nothing is accepted before its end.")
        }
        CodeState::Requested => ("", "It was requested, and is not made yet."),
        CodeState::Live => ("good", "It can be used."),
    }
}
