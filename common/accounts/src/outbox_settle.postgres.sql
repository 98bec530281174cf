-- Deletes the entries that the broker has, keeps of others only what it has not, and gives the turn back unless `more`:
-- the steps of `settle_sqlite` in outbox_entries.rs. An entry that a deletion is taking back is left to it, because to wait
-- for it could cost the turn; returns how many those are. The settings are those of `latchkey_outbox_take_1`, for its
-- reason.
CREATE OR REPLACE FUNCTION latchkey_outbox_settle_1(me uuid, done bigint[], rest jsonb, more boolean, OUT kept bigint)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    deleted bigint;
BEGIN
    DELETE FROM outbox_entries e WHERE e.id = ANY (ARRAY(
        SELECT w.id FROM outbox_entries w WHERE w.id = ANY (done) FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    kept := COALESCE(array_length(done, 1), 0) - deleted;
    IF jsonb_array_length(rest) > 0 THEN
        UPDATE outbox_entries e SET events = r.events FROM jsonb_to_recordset(rest) AS r (id bigint, events text)
         WHERE e.id = r.id;
    END IF;
    IF NOT more THEN
        UPDATE outbox_turn t SET held_until = 0 WHERE t.one AND t.holder = me;
    END IF;
END $$;
