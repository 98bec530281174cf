//! What each block of each page is expected to do. A new block fails until it stands here.

pub(super) enum Judged {
    /// It starts the server, or starts it anew.
    Starts,
    /// It runs to its end and prints these.
    Prints(&'static [&'static str]),
    /// It is not run here, because of this.
    Elsewhere(&'static str),
}

use Judged::{Elsewhere, Prints, Starts};

/// A block, by its first line.
type Blocks = &'static [(&'static str, Judged)];

pub(super) const PAGES: [(&str, Blocks); 4] = [
    (
        "README.md",
        &[
            ("cargo run", Starts),
            (
                "curl -s http://127.0.0.1:8080/v1/signup -H 'content-type: application/json' \\",
                Prints(&[
                    "\"request_id\":",
                    "\"access\":",
                    "\"refresh\":",
                    "\"first_name\":\"Ada\"",
                ]),
            ),
            (
                "tests/run          # everything; installs RabbitMQ, Redis, PostgreSQL and Chromium from Debian if they are missing",
                Elsewhere("it runs this test"),
            ),
            (
                "deploy/compose/make-env           # random secrets in .env, once",
                Elsewhere("tests/compose runs it"),
            ),
        ],
    ),
    (
        "docs/first-hour.md",
        &[
            ("cargo run", Starts),
            ("API=http://127.0.0.1:8080", Prints(&[])),
            (
                "ANSWER=$(post /v1/signup '{\"phone_number\":\"+14155550123\",\"first_name\":\"Ada\",\"last_name\":\"Lovelace\"}')",
                Prints(&["\"resend_in\":", "\"status\":"]),
            ),
            ("code() {", Prints(&["the code is "])),
            (
                "LOGIN=$(post /v1/login \"{\\\"phone_number\\\":\\\"+14155550123\\\",\\\"otp\\\":\\\"$CODE\\\",\\\"request_id\\\":\\\"$REQUEST\\\"}\")",
                Prints(&["\"first_name\":\"Ada\"", "\"phone_number\":\"+14155550123\""]),
            ),
            (
                "post /v1/token/refresh \"{\\\"refresh\\\":\\\"$REFRESH\\\"}\"",
                Prints(&["\"access\":", "\"refresh\":"]),
            ),
            ("curl -s \"$API/.well-known/jwks.json\"", Prints(&["\"keys\":", "\"ES256\""])),
            (
                "post /v1/otp '{\"phone_number\":\"+14155550125\"}'",
                Prints(&[
                    "\"request_id\":",
                    "urn:latchkey:problem:resend_too_soon",
                    "\"retry_after\":",
                ]),
            ),
            ("latchkey limits", Prints(&["cooldown", "LATCHKEY_RESEND_COOLDOWN_SECS"])),
            (
                "latchkey users create +14155550124 --first-name Grace --last-name Hopper",
                Prints(&["support"]),
            ),
            ("mkdir -p texts", Prints(&["en"])),
            ("LATCHKEY_TEXTS_DIR=texts LATCHKEY_APP_NAME=Acme cargo run", Starts),
            (
                "REQUEST=$(post /v1/otp '{\"phone_number\":\"+14155550126\"}' | member request_id)",
                Prints(&["Your Acme code is ", " It is good for "]),
            ),
            ("latchkey routes check +14155550123", Prints(&["inbox"])),
            ("latchkey config", Prints(&["LATCHKEY_OTP_TTL_SECS"])),
        ],
    ),
    (
        "docs/admin-api.md",
        &[
            ("LATCHKEY_ADMIN_LISTEN=127.0.0.1:8082 cargo run", Starts),
            (
                "latchkey users create +14155550123 --first-name Ada --last-name Lovelace",
                Prints(&[]),
            ),
            ("ADMIN=http://127.0.0.1:8082", Prints(&["\"items\":[{", "+1415***23", "Lovelace"])),
            (
                "USER_ID=$(admin users/find -d '{\"phone_number\":\"+1 415 555 0123\"}' | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')",
                Prints(&["\"standing\":{\"obstacles\":[]"]),
            ),
            (
                "admin \"users/$USER_ID/block\" -d '{\"reason\":\"sold on a market, ticket 4711\"}'",
                Prints(&["\"changed\":true", "admin-key:helpdesk"]),
            ),
            (
                "admin users/bulk -d \"{\\\"act\\\":\\\"unblock\\\",\\\"user_ids\\\":[\\\"$USER_ID\\\"]}\"",
                Prints(&["\"result\":\"done\""]),
            ),
            (
                "latchkey admin-keys revoke helpdesk --yes",
                Prints(&["is revoked", "urn:latchkey:problem:token_not_valid"]),
            ),
        ],
    ),
    ("docs/postman/README.md", &[("LATCHKEY_OTP_TTL_SECS=60 cargo run", Starts)]),
];
