-- The console: its sessions, the four roles of staff, and what its searches go by.

-- The roles as the console knows them (contract, ruling 65). SQLite cannot change a condition, so the column is made anew.
DROP INDEX users_role;
ALTER TABLE users ADD COLUMN staff_role TEXT
    CHECK (staff_role IN ('viewer', 'support', 'operator', 'owner', 'admin'));
UPDATE users SET staff_role = CASE role WHEN 'admin' THEN 'owner' ELSE role END WHERE role IS NOT NULL;
ALTER TABLE users DROP COLUMN role;
ALTER TABLE users RENAME COLUMN staff_role TO role;
CREATE INDEX users_role ON users (role) WHERE role IS NOT NULL;

-- Sessions of staff at the console. Whoever holds the table cannot take one over: it has a digest of the cookie only.
CREATE TABLE console_sessions (
    id_hash         TEXT PRIMARY KEY,
    user_id         BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- At the sign-in. What a session may do goes by the account's role of the moment.
    role            TEXT NOT NULL,
    -- The code was right, and the account's password is still to come.
    awaits_password BOOLEAN NOT NULL,
    device          TEXT NOT NULL,
    ip              TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    last_seen_at    INTEGER NOT NULL,
    -- It ends then, however often it is used.
    expires_at      INTEGER NOT NULL
);
CREATE INDEX console_sessions_user ON console_sessions (user_id);
CREATE INDEX console_sessions_expiry ON console_sessions (expires_at);

-- What staff search accounts by.
CREATE INDEX users_last_digits ON users (substr(phone_number, -4), id);
CREATE INDEX users_first_name ON users (lower(first_name), id) WHERE first_name <> '';
CREATE INDEX users_last_name ON users (lower(last_name), id) WHERE last_name <> '';

-- The audit by who did it, newest first, and by what was done: of acts that are rare. Those of every day are found from the
-- newest entry on, and cost no index.
CREATE INDEX audit_actor_id ON audit (actor, id);
DROP INDEX audit_actor;
CREATE INDEX audit_rare_act ON audit (act, id)
    WHERE act NOT IN ('signed_in', 'signed_up', 'session_ended', 'profile_changed');
