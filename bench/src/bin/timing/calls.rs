//! The calls that are measured.

use serde_json::{Value, json};

/// What a phone without an account gets: `LATCHKEY_UNKNOWN_PHONE`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    SignUp,
    Silent,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::SignUp, Self::Silent];

    pub fn setting(self) -> (&'static str, &'static str) {
        let value = match self {
            Self::SignUp => "sign_up",
            Self::Silent => "silent",
        };
        ("LATCHKEY_UNKNOWN_PHONE", value)
    }
}

/// How the accounts of the known class are created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    ByCode,
    WithPassword,
    Imported,
}

/// What is timed, from the first byte of the call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    Answer,
    /// The event stream of the request that the call made, to the event `sent`; in silent mode to the stream's end,
    /// which follows it.
    Events,
}

/// A call that both classes make.
pub struct Call {
    pub name: &'static str,
    pub mode: Mode,
    pub path: &'static str,
    /// The expected status of every response; any other would invalidate the measurement.
    pub status: u16,
    pub timed: Timed,
    pub known: Known,
    /// Whether both classes have a live code, or neither. In silent mode an unknown phone has a record that is like one.
    pub live: bool,
    pub body: fn(&str) -> Value,
}

impl Call {
    pub fn requests_code(&self) -> bool {
        self.status == 202
    }
}

pub fn code_request(phone: &str) -> Value {
    json!({ "phone_number": phone })
}

pub fn sign_up(phone: &str) -> Value {
    json!({ "phone_number": phone, "first_name": "A", "last_name": "B" })
}

fn attempt(phone: &str) -> Value {
    json!({ "phone_number": phone, "otp": "000000" })
}

fn by_password(phone: &str) -> Value {
    json!({ "phone_number": phone, "password": "not what it is at all" })
}

/// Most calls differ from this one in a few fields.
const OTP: Call = Call {
    name: "otp",
    mode: Mode::SignUp,
    path: "/v1/otp",
    status: 202,
    timed: Timed::Answer,
    known: Known::ByCode,
    live: true,
    body: code_request,
};
const LOGIN_LIVE: Call =
    Call { name: "login-live", path: "/v1/login", status: 401, body: attempt, ..OTP };
const TOKEN: Call = Call {
    name: "token",
    path: "/v1/token",
    status: 401,
    known: Known::WithPassword,
    live: false,
    body: by_password,
    ..OTP
};

pub const CALLS: [Call; 10] = [
    OTP,
    Call { name: "events", timed: Timed::Events, ..OTP },
    Call { name: "signup", path: "/v1/signup", body: sign_up, ..OTP },
    Call { name: "login", live: false, ..LOGIN_LIVE },
    LOGIN_LIVE,
    TOKEN,
    // The last of its mode, because imported accounts make every password check slower.
    Call { name: "token-imported", known: Known::Imported, ..TOKEN },
    Call { name: "silent-otp", mode: Mode::Silent, ..OTP },
    Call { name: "silent-events", mode: Mode::Silent, timed: Timed::Events, ..OTP },
    Call { name: "silent-login", mode: Mode::Silent, ..LOGIN_LIVE },
];
