-- Takes the turn to publish and reads the first entries behind `behind`, in order: the steps of `take_sqlite` in
-- outbox_entries.rs. No rows if none wait, or if it is another's turn. Each statement sees what is committed when it
-- begins: what is read once the turn is taken no longer holds what the last holder deleted.
-- The settings make the plan certain: the table grows from nothing, and a plan that was made while it was empty would
-- read all of it, deleted rows included, until it is analysed.
CREATE OR REPLACE FUNCTION latchkey_outbox_take_1(
    me uuid, now_ms bigint, turn_ms bigint, behind bigint, most bigint
) RETURNS TABLE (id bigint, events text, joined_by text) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
BEGIN
    PERFORM 1 FROM outbox_entries e WHERE e.id > behind ORDER BY e.id LIMIT 1;
    IF NOT FOUND THEN
        UPDATE outbox_turn t SET held_until = 0 WHERE t.one AND t.holder = me AND t.held_until > 0;
        RETURN;
    END IF;
    -- An end that is far ahead comes from a clock that is: nobody waits for it.
    UPDATE outbox_turn t SET holder = me, held_until = now_ms + turn_ms
     WHERE t.one AND (t.holder = me OR t.held_until <= now_ms OR t.held_until > now_ms + 2 * turn_ms);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT e.id, e.events, e.joined_by FROM outbox_entries e WHERE e.id > behind ORDER BY e.id LIMIT most;
END $$;
