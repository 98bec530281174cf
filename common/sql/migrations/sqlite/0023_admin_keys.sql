-- Keys of the admin API (contract, ruling 69). Whoever holds the table holds no key: it has a digest of each.
CREATE TABLE admin_keys (
    -- A part of the key, by which it is found.
    id           TEXT PRIMARY KEY,
    -- What the audit calls it, for ever: no other key gets the name of one that was revoked.
    name         TEXT NOT NULL UNIQUE,
    -- SHA-256 of the whole key, which has 256 random bits.
    hash         TEXT NOT NULL,
    role         TEXT NOT NULL CHECK (role IN ('viewer', 'support', 'operator', 'owner')),
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   INTEGER,
    -- Written once a minute at most.
    last_used_at INTEGER,
    revoked_at   INTEGER
);
