-- Accounts, sessions, the login fence, counts of guesses, the outbox, the audit, run-time blocks.
-- Times are milliseconds since the Unix epoch, given by the caller: one clock decides, and tests can move it.

CREATE TABLE users (
    id            BLOB PRIMARY KEY,
    -- E.164. The only whole phone number in these tables.
    phone_number  TEXT NOT NULL UNIQUE,
    first_name    TEXT NOT NULL,
    last_name     TEXT NOT NULL,
    locale        TEXT NOT NULL,
    country       TEXT NOT NULL,
    role          TEXT CHECK (role IN ('admin', 'support')),
    -- Argon2id, in PHC form.
    password_hash TEXT,
    blocked_at    INTEGER,
    blocked_by    TEXT,
    block_reason  TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL
);
CREATE INDEX users_role ON users (role) WHERE role IS NOT NULL;

CREATE TABLE sessions (
    id                  BLOB PRIMARY KEY,
    user_id             BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    method              TEXT NOT NULL CHECK (method IN ('sms', 'call', 'pwd')),
    -- The refresh token that is good now. No token, nor a hash of one, is stored.
    generation          INTEGER NOT NULL,
    rotated_at          INTEGER NOT NULL,
    device              TEXT NOT NULL,
    ip                  TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    -- Moves with each refresh, never beyond the absolute end.
    expires_at          INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    ended_at            INTEGER,
    ended_reason        TEXT
);
CREATE INDEX sessions_live ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_absolute ON sessions (absolute_expires_at);

-- The fence: a code that signed in, or changed a phone, is here until long after its life. A table of its own, for it
-- must outlive the session and the account.
CREATE TABLE used_codes (
    code_id    BLOB PRIMARY KEY,
    used_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX used_codes_expiry ON used_codes (expires_at);

CREATE TABLE guesses (
    phone_key      TEXT NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('code', 'password')),
    failures       INTEGER NOT NULL,
    last_judged_at INTEGER NOT NULL,
    PRIMARY KEY (phone_key, kind)
);
CREATE INDEX guesses_age ON guesses (last_judged_at);

CREATE TABLE code_guesses (
    code_id    BLOB PRIMARY KEY,
    failures   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE INDEX code_guesses_expiry ON code_guesses (expires_at);

-- Idempotency-Key of a login: repeats within half a minute get the same session.
CREATE TABLE login_keys (
    key_hash   TEXT PRIMARY KEY,
    body_hash  TEXT NOT NULL,
    session_id BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
);
CREATE INDEX login_keys_expiry ON login_keys (expires_at);
CREATE INDEX login_keys_session ON login_keys (session_id);

-- Events that were decided in a transaction and wait for the broker. Ids are UUIDv7: their order is that of making.
CREATE TABLE outbox (
    id            BLOB PRIMARY KEY,
    kind          TEXT NOT NULL,
    addressed     BOOLEAN NOT NULL,
    body          TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    published_at  INTEGER
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, id);

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TABLE blocks (
    id         BLOB PRIMARY KEY,
    kind       TEXT NOT NULL CHECK (kind IN ('phone', 'prefix', 'ip', 'country')),
    -- A phone's key, never its number.
    value      TEXT NOT NULL,
    display    TEXT NOT NULL,
    reason     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    until      INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (kind, value)
);
