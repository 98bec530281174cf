-- What the pumping guard saw, for `latchkey guard replay`: sends and verifications by minute and operator prefix. Counts
-- only: no number, no person. Kept 90 days.
CREATE TABLE guard_history (
    -- Whole minutes since the epoch.
    minute          INTEGER NOT NULL,
    operator_prefix TEXT NOT NULL,
    country         TEXT NOT NULL,
    sends           INTEGER NOT NULL,
    verified        INTEGER NOT NULL,
    -- Asks that a guard in force refused.
    refused         INTEGER NOT NULL,
    PRIMARY KEY (minute, operator_prefix, country)
);

-- The last known state of each net that was ever shut, for staff. The guard itself decides by Redis.
CREATE TABLE guard_nets (
    -- 'prefix' or 'country', and which.
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    country    TEXT NOT NULL,
    state      TEXT NOT NULL,
    mode       TEXT NOT NULL,
    sends      INTEGER NOT NULL,
    verified   INTEGER NOT NULL,
    level      INTEGER NOT NULL,
    until      INTEGER,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
);
