-- The outbox anew: an entry holds all events of one act. It is read in order and deleted once the broker has them, and no
-- step between writes to it. A table of its own: publishers of the version before, which know events by row, go on with
-- `outbox` while this version is rolled out, and must not see an entry. Both tables are drained for one release.
CREATE TABLE outbox_entries (
    -- The order of publishing. Acts of one account take it one after the other, because each locks the account first.
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A JSON list of {id, kind, addressed, pieces}. The body of an event is its pieces, joined by `joined_by`: an id that
    -- is known only when the entry is written, or nothing.
    events     TEXT NOT NULL,
    joined_by  TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    -- Whose number a waiting text goes to, so that the end of an account takes it back.
    user_id    UUID
) WITH (
    -- Every row is deleted within a second, so a share of the table says nothing about when to vacuum. To cut the file at
    -- its end takes a lock that sign-ins would wait for; the space is used again.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000,
    vacuum_truncate = false,
    -- An entry of three events is near the size from which values are compressed. It is not worth it for so short a life.
    toast_tuple_target = 4080
);
CREATE INDEX outbox_entries_user ON outbox_entries (user_id) WHERE user_id IS NOT NULL;

-- Who publishes now, and until when at the latest: one process at a time, so that events stay in order and none is
-- published twice.
CREATE TABLE outbox_turn (
    one        BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    holder     UUID,
    held_until BIGINT NOT NULL
);
INSERT INTO outbox_turn (held_until) VALUES (0);
