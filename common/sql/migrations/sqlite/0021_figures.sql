-- Figures by the hour, for the console: what a page shows over a month is summed from these, not from the ledger. A gateway
-- counts them in the background, whole hours at a time, and again while receipts still come. Counts only: no number, no
-- person. Kept 90 days.
--
-- No index is built, so nothing here waits for the tables that texts are written to, nor they for it. None is added for
-- what staff filter by either. One that names a column which a text's way changes (status, reason, provider) would cost each
-- text new entries in all indexes of `sms_ledger`, as no update could stay on its page. One of the providers' ids of attempts
-- was measured: an eighth more for what a text writes there. Those lists look at a bounded stretch at a time instead, and
-- pass over the hours that have nothing by these counters.
CREATE TABLE delivery_hours (
    -- Whole hours since the epoch, in which the message was taken up.
    hour            INTEGER NOT NULL,
    country         TEXT NOT NULL,
    -- '': handed to none yet.
    provider        TEXT NOT NULL,
    channel         TEXT NOT NULL,
    messages        INTEGER NOT NULL,
    -- Those that a code request brought, not notices.
    requests        INTEGER NOT NULL,
    segments        INTEGER NOT NULL,
    -- By the state that they have now.
    sending         INTEGER NOT NULL,
    sent            INTEGER NOT NULL,
    delivered       INTEGER NOT NULL,
    undelivered     INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    dropped         INTEGER NOT NULL,
    -- Of texts that a request brought: from the request to its being sent. How many are known, the sum of their
    -- milliseconds, and how many took at most so many.
    sent_known      INTEGER NOT NULL,
    sent_ms         INTEGER NOT NULL,
    sent_in_100 INTEGER NOT NULL, sent_in_250 INTEGER NOT NULL, sent_in_500 INTEGER NOT NULL,
    sent_in_1000 INTEGER NOT NULL, sent_in_2000 INTEGER NOT NULL, sent_in_3000 INTEGER NOT NULL,
    sent_in_5000 INTEGER NOT NULL, sent_in_10000 INTEGER NOT NULL, sent_in_20000 INTEGER NOT NULL,
    sent_in_30000 INTEGER NOT NULL, sent_in_60000 INTEGER NOT NULL, sent_in_120000 INTEGER NOT NULL,
    sent_in_300000 INTEGER NOT NULL, sent_in_1800000 INTEGER NOT NULL,
    -- Of texts: from sent to delivered.
    delivered_known INTEGER NOT NULL,
    delivered_ms    INTEGER NOT NULL,
    delivered_in_100 INTEGER NOT NULL, delivered_in_250 INTEGER NOT NULL, delivered_in_500 INTEGER NOT NULL,
    delivered_in_1000 INTEGER NOT NULL, delivered_in_2000 INTEGER NOT NULL, delivered_in_3000 INTEGER NOT NULL,
    delivered_in_5000 INTEGER NOT NULL, delivered_in_10000 INTEGER NOT NULL, delivered_in_20000 INTEGER NOT NULL,
    delivered_in_30000 INTEGER NOT NULL, delivered_in_60000 INTEGER NOT NULL, delivered_in_120000 INTEGER NOT NULL,
    delivered_in_300000 INTEGER NOT NULL, delivered_in_1800000 INTEGER NOT NULL,
    PRIMARY KEY (hour, country, provider, channel)
);
-- Why messages of an hour did not arrive, and with which code of their last provider ('': none).
CREATE TABLE delivery_reasons (
    hour     INTEGER NOT NULL,
    country  TEXT NOT NULL,
    provider TEXT NOT NULL,
    reason   TEXT NOT NULL,
    code     TEXT NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (hour, country, provider, reason, code)
);
-- When an hour was counted last, and how often: of two who count it at once, one writes.
CREATE TABLE delivery_rolled (
    hour  INTEGER PRIMARY KEY,
    times INTEGER NOT NULL,
    at    INTEGER NOT NULL
);

-- The guard's history and the sessions that began, by the hour.
CREATE TABLE guard_hours (
    hour            INTEGER NOT NULL,
    country         TEXT NOT NULL,
    operator_prefix TEXT NOT NULL,
    sends           INTEGER NOT NULL,
    verified        INTEGER NOT NULL,
    refused         INTEGER NOT NULL,
    PRIMARY KEY (hour, country, operator_prefix)
);
CREATE TABLE sign_in_hours (
    hour     INTEGER NOT NULL,
    method   TEXT NOT NULL,
    sign_ins INTEGER NOT NULL,
    PRIMARY KEY (hour, method)
);
CREATE TABLE guard_rolled (
    hour  INTEGER PRIMARY KEY,
    times INTEGER NOT NULL,
    at    INTEGER NOT NULL
);
