-- The ledger of texts: what was sent to whom, when, by whom, at which cost, and how it ended. Times are milliseconds
-- since the epoch, from the workers' clock. Beside the accounts this is the only place that holds a phone number.

CREATE TABLE sms_ledger (
    message_id          uuid PRIMARY KEY,
    request_id          uuid,
    phone_number        text,
    country             text NOT NULL,
    channel             text NOT NULL,
    state               text NOT NULL,
    -- Only a higher rank replaces a state; see Ledger.
    rank                bigint NOT NULL,
    reason              text,
    provider            text,
    provider_message_id text,
    segments            bigint,
    created_at          bigint NOT NULL,
    updated_at          bigint NOT NULL,
    not_after           bigint NOT NULL
);
CREATE INDEX sms_ledger_created ON sms_ledger (created_at);
CREATE INDEX sms_ledger_request ON sms_ledger (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX sms_ledger_phone ON sms_ledger (phone_number) WHERE phone_number IS NOT NULL;

CREATE TABLE sms_attempts (
    attempt_id          uuid PRIMARY KEY,
    message_id          uuid NOT NULL REFERENCES sms_ledger (message_id) ON DELETE CASCADE,
    provider            text NOT NULL,
    number              bigint NOT NULL,
    -- begun, accepted, throttled, unavailable, rejected, filtered, unknown
    state               text NOT NULL,
    started_at          bigint NOT NULL,
    ended_at            bigint,
    provider_message_id text,
    provider_code       text,
    -- How the receipts say it ended, and why.
    final_state         text,
    final_reason        text,
    final_rank          bigint NOT NULL DEFAULT 0,
    price               text,
    -- When its provider is to be asked again: for a final state that did not come, or to forget the text.
    follow_up_at        bigint,
    follow_ups          bigint NOT NULL DEFAULT 0,
    UNIQUE (message_id, number)
);
CREATE INDEX sms_attempts_follow_up ON sms_attempts (follow_up_at) WHERE follow_up_at IS NOT NULL;

-- One row for each change of a message's state.
CREATE TABLE sms_history (
    message_id uuid NOT NULL REFERENCES sms_ledger (message_id) ON DELETE CASCADE,
    rank       bigint NOT NULL,
    state      text NOT NULL,
    reason     text,
    at         bigint NOT NULL,
    PRIMARY KEY (message_id, rank)
);

-- Receipts of attempts that are not known (yet): kept for their send.
CREATE TABLE sms_receipts (
    attempt_id          uuid NOT NULL,
    status              text NOT NULL,
    reason              text,
    provider_message_id text,
    provider_code       text,
    received_at         bigint NOT NULL,
    PRIMARY KEY (attempt_id, status)
);
CREATE INDEX sms_receipts_received ON sms_receipts (received_at);

-- What is left of texts older than 30 days.
CREATE TABLE sms_totals (
    day      bigint NOT NULL,
    country  text NOT NULL,
    channel  text NOT NULL,
    provider text NOT NULL,
    state    text NOT NULL,
    reason   text NOT NULL,
    messages bigint NOT NULL,
    segments bigint NOT NULL,
    PRIMARY KEY (day, country, channel, provider, state, reason)
);
