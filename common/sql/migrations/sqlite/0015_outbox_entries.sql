-- The outbox anew: an entry holds all events of one act. It is read in order and deleted once the broker has them, and no
-- step between writes to it. Both tables are drained for one release.
CREATE TABLE outbox_entries (
    -- The order of publishing. AUTOINCREMENT: an id must not come again, because a deletion of the first may still follow.
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- A JSON list of {id, kind, addressed, pieces}. The body of an event is its pieces, joined by `joined_by`: an id that
    -- is known only when the entry is written, or nothing.
    events     TEXT NOT NULL,
    joined_by  TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    -- Whose number a waiting text goes to, so that the end of an account takes it back.
    user_id    BLOB
);
CREATE INDEX outbox_entries_user ON outbox_entries (user_id) WHERE user_id IS NOT NULL;

-- Who publishes now, and until when at the latest.
CREATE TABLE outbox_turn (
    one        INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    holder     BLOB,
    held_until INTEGER NOT NULL
);
INSERT INTO outbox_turn (held_until) VALUES (0);
