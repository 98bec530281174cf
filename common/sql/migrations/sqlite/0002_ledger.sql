-- The ledger of texts: what was sent to whom, when, by whom, at which cost, and how it ended. Times are milliseconds
-- since the epoch, from the workers' clock. Beside the accounts this is the only place that holds a phone number.

CREATE TABLE sms_ledger (
    message_id          BLOB PRIMARY KEY,
    request_id          BLOB,
    phone_number        TEXT,
    country             TEXT NOT NULL,
    channel             TEXT NOT NULL,
    state               TEXT NOT NULL,
    -- Only a higher rank replaces a state; see Ledger.
    rank                INTEGER NOT NULL,
    reason              TEXT,
    provider            TEXT,
    provider_message_id TEXT,
    segments            INTEGER,
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    not_after           INTEGER NOT NULL
);
CREATE INDEX sms_ledger_created ON sms_ledger (created_at);
CREATE INDEX sms_ledger_request ON sms_ledger (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX sms_ledger_phone ON sms_ledger (phone_number) WHERE phone_number IS NOT NULL;

CREATE TABLE sms_attempts (
    attempt_id          BLOB PRIMARY KEY,
    message_id          BLOB NOT NULL REFERENCES sms_ledger (message_id) ON DELETE CASCADE,
    provider            TEXT NOT NULL,
    number              INTEGER NOT NULL,
    -- begun, accepted, throttled, unavailable, rejected, filtered, unknown
    state               TEXT NOT NULL,
    started_at          INTEGER NOT NULL,
    ended_at            INTEGER,
    provider_message_id TEXT,
    provider_code       TEXT,
    -- How the receipts say it ended, and why.
    final_state         TEXT,
    final_reason        TEXT,
    final_rank          INTEGER NOT NULL DEFAULT 0,
    price               TEXT,
    -- When its provider is to be asked again: for a final state that did not come, or to forget the text.
    follow_up_at        INTEGER,
    follow_ups          INTEGER NOT NULL DEFAULT 0,
    UNIQUE (message_id, number)
);
CREATE INDEX sms_attempts_follow_up ON sms_attempts (follow_up_at) WHERE follow_up_at IS NOT NULL;

-- One row for each change of a message's state.
CREATE TABLE sms_history (
    message_id BLOB NOT NULL REFERENCES sms_ledger (message_id) ON DELETE CASCADE,
    rank       INTEGER NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT,
    at         INTEGER NOT NULL,
    PRIMARY KEY (message_id, rank)
);

-- Receipts of attempts that are not known (yet): kept for their send.
CREATE TABLE sms_receipts (
    attempt_id          BLOB NOT NULL,
    status              TEXT NOT NULL,
    reason              TEXT,
    provider_message_id TEXT,
    provider_code       TEXT,
    received_at         INTEGER NOT NULL,
    PRIMARY KEY (attempt_id, status)
);
CREATE INDEX sms_receipts_received ON sms_receipts (received_at);

-- What is left of texts older than 30 days.
CREATE TABLE sms_totals (
    day      INTEGER NOT NULL,
    country  TEXT NOT NULL,
    channel  TEXT NOT NULL,
    provider TEXT NOT NULL,
    state    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    messages INTEGER NOT NULL,
    segments INTEGER NOT NULL,
    PRIMARY KEY (day, country, channel, provider, state, reason)
);
