-- The console: its sessions, the four roles of staff, and what its searches go by.

-- The roles as the console knows them (contract, ruling 65). `admin` is the former name of `owner`: a command of the version
-- before may still grant it. Rows that are here satisfy the new condition, so none is read again under the lock.
ALTER TABLE users DROP CONSTRAINT users_role_check;
UPDATE users SET role = 'owner' WHERE role = 'admin';
ALTER TABLE users ADD CONSTRAINT users_role_check
    CHECK (role IN ('viewer', 'support', 'operator', 'owner', 'admin')) NOT VALID;

-- Sessions of staff at the console. Whoever holds the table cannot take one over: it has a digest of the cookie only.
CREATE TABLE console_sessions (
    id_hash         TEXT PRIMARY KEY,
    user_id         UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- At the sign-in. What a session may do goes by the account's role of the moment.
    role            TEXT NOT NULL,
    -- The code was right, and the account's password is still to come.
    awaits_password BOOLEAN NOT NULL,
    device          TEXT NOT NULL,
    ip              TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    last_seen_at    BIGINT NOT NULL,
    -- It ends then, however often it is used.
    expires_at      BIGINT NOT NULL
);
CREATE INDEX console_sessions_user ON console_sessions (user_id);
CREATE INDEX console_sessions_expiry ON console_sessions (expires_at);

-- What staff search accounts by. None of these holds a column that a sign-in changes.
CREATE INDEX users_last_digits ON users ((right(phone_number, 4)), id);
CREATE INDEX users_first_name ON users ((lower(first_name)) text_pattern_ops, id) WHERE first_name <> '';
CREATE INDEX users_last_name ON users ((lower(last_name)) text_pattern_ops, id) WHERE last_name <> '';

-- The audit by who did it, newest first, and by what was done: of acts that are rare. Those of every day are found from the
-- newest entry on, and cost no index.
CREATE INDEX audit_actor_id ON audit (actor, id);
DROP INDEX audit_actor;
CREATE INDEX audit_rare_act ON audit (act, id)
    WHERE act NOT IN ('signed_in', 'signed_up', 'session_ended', 'profile_changed');
