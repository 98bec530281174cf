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
    hour            bigint NOT NULL,
    country         text NOT NULL,
    -- '': handed to none yet.
    provider        text NOT NULL,
    channel         text NOT NULL,
    messages        bigint NOT NULL,
    -- Those that a code request brought, not notices.
    requests        bigint NOT NULL,
    segments        bigint NOT NULL,
    -- By the state that they have now.
    sending         bigint NOT NULL,
    sent            bigint NOT NULL,
    delivered       bigint NOT NULL,
    undelivered     bigint NOT NULL,
    failed          bigint NOT NULL,
    dropped         bigint NOT NULL,
    -- Of texts that a request brought: from the request to its being sent. How many are known, the sum of their
    -- milliseconds, and how many took at most so many.
    sent_known      bigint NOT NULL,
    sent_ms         bigint NOT NULL,
    sent_in_100 bigint NOT NULL, sent_in_250 bigint NOT NULL, sent_in_500 bigint NOT NULL,
    sent_in_1000 bigint NOT NULL, sent_in_2000 bigint NOT NULL, sent_in_3000 bigint NOT NULL,
    sent_in_5000 bigint NOT NULL, sent_in_10000 bigint NOT NULL, sent_in_20000 bigint NOT NULL,
    sent_in_30000 bigint NOT NULL, sent_in_60000 bigint NOT NULL, sent_in_120000 bigint NOT NULL,
    sent_in_300000 bigint NOT NULL, sent_in_1800000 bigint NOT NULL,
    -- Of texts: from sent to delivered.
    delivered_known bigint NOT NULL,
    delivered_ms    bigint NOT NULL,
    delivered_in_100 bigint NOT NULL, delivered_in_250 bigint NOT NULL, delivered_in_500 bigint NOT NULL,
    delivered_in_1000 bigint NOT NULL, delivered_in_2000 bigint NOT NULL, delivered_in_3000 bigint NOT NULL,
    delivered_in_5000 bigint NOT NULL, delivered_in_10000 bigint NOT NULL, delivered_in_20000 bigint NOT NULL,
    delivered_in_30000 bigint NOT NULL, delivered_in_60000 bigint NOT NULL, delivered_in_120000 bigint NOT NULL,
    delivered_in_300000 bigint NOT NULL, delivered_in_1800000 bigint NOT NULL,
    PRIMARY KEY (hour, country, provider, channel)
);
-- Why messages of an hour did not arrive, and with which code of their last provider ('': none).
CREATE TABLE delivery_reasons (
    hour     bigint NOT NULL,
    country  text NOT NULL,
    provider text NOT NULL,
    reason   text NOT NULL,
    code     text NOT NULL,
    messages bigint NOT NULL,
    PRIMARY KEY (hour, country, provider, reason, code)
);
-- When an hour was counted last, and how often: of two who count it at once, one writes.
CREATE TABLE delivery_rolled (
    hour  bigint PRIMARY KEY,
    times bigint NOT NULL,
    at    bigint NOT NULL
);

-- The guard's history and the sessions that began, by the hour.
CREATE TABLE guard_hours (
    hour            bigint NOT NULL,
    country         text NOT NULL,
    operator_prefix text NOT NULL,
    sends           bigint NOT NULL,
    verified        bigint NOT NULL,
    refused         bigint NOT NULL,
    PRIMARY KEY (hour, country, operator_prefix)
);
CREATE TABLE sign_in_hours (
    hour     bigint NOT NULL,
    method   text NOT NULL,
    sign_ins bigint NOT NULL,
    PRIMARY KEY (hour, method)
);
CREATE TABLE guard_rolled (
    hour  bigint PRIMARY KEY,
    times bigint NOT NULL,
    at    bigint NOT NULL
);
