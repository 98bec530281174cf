-- What the pumping guard saw, for `latchkey guard replay`: sends and verifications by minute and operator prefix. Counts
-- only: no number, no person. Kept 90 days.
CREATE TABLE guard_history (
    -- Whole minutes since the epoch.
    minute          bigint NOT NULL,
    operator_prefix text NOT NULL,
    country         text NOT NULL,
    sends           bigint NOT NULL,
    verified        bigint NOT NULL,
    -- Asks that a guard in force refused.
    refused         bigint NOT NULL,
    PRIMARY KEY (minute, operator_prefix, country)
);

-- The last known state of each net that was ever shut, for staff. The guard itself decides by Redis.
CREATE TABLE guard_nets (
    -- 'prefix' or 'country', and which.
    kind       text NOT NULL,
    name       text NOT NULL,
    country    text NOT NULL,
    state      text NOT NULL,
    mode       text NOT NULL,
    sends      bigint NOT NULL,
    verified   bigint NOT NULL,
    level      bigint NOT NULL,
    until      bigint,
    changed_at bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
