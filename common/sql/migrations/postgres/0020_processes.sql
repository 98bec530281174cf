-- What runs, as each process says it of itself every few seconds (contract, ruling 66). Nothing depends on it: a process that
-- cannot write its row works on. Times are milliseconds since the epoch, by the clock of this server.
CREATE TABLE processes (
    instance   UUID PRIMARY KEY,
    -- gateway, otp-worker, sms-worker or all-in-one
    part       TEXT NOT NULL,
    version    TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    -- How far the clock of its host is ahead of this server's.
    skew_ms    BIGINT NOT NULL,
    -- JSON: its pool, queues and providers. No secret, no number.
    report     TEXT NOT NULL
);

-- Providers that staff shut by hand. Programs of the release before read every row of `blocks`, and refuse a kind that they do
-- not know: so these stand apart.
CREATE TABLE shut_providers (
    id         UUID NOT NULL,
    provider   TEXT PRIMARY KEY,
    reason     TEXT NOT NULL,
    owner      TEXT NOT NULL,
    -- NULL: until it is opened.
    until      BIGINT,
    created_at BIGINT NOT NULL
);
