-- What runs, as each process says it of itself every few seconds (contract, ruling 66). Nothing depends on it: a process that
-- cannot write its row works on. Times are milliseconds since the epoch, by the clock of this host.
CREATE TABLE processes (
    instance   BLOB PRIMARY KEY,
    -- gateway, otp-worker, sms-worker or all-in-one
    part       TEXT NOT NULL,
    version    TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    -- How far the clock of its host is ahead of this one.
    skew_ms    INTEGER NOT NULL,
    -- JSON: its pool, queues and providers. No secret, no number.
    report     TEXT NOT NULL
);

-- Providers that staff shut by hand. Programs of the release before read every row of `blocks`, and refuse a kind that they do
-- not know: so these stand apart.
CREATE TABLE shut_providers (
    id         BLOB NOT NULL,
    provider   TEXT PRIMARY KEY,
    reason     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    -- NULL: until it is opened.
    until      INTEGER,
    created_at INTEGER NOT NULL
);
