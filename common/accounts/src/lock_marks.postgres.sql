-- Writes a mark that a phone's failures leave, in the audit and, if it has an event, in the outbox: `write` of
-- lock_marks.rs. `doc` holds the struct `Attempt` and, as `marks`, the entries by name.
CREATE OR REPLACE FUNCTION latchkey_lock_mark_2(doc jsonb, mark text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    attempt record;
    entry   record;
    owner   uuid;
BEGIN
    SELECT * INTO attempt FROM jsonb_to_record(doc) AS a (phone_number text, phone_key text, now bigint);
    SELECT * INTO entry FROM jsonb_to_record(doc -> 'marks' -> mark) AS e (act text, detail text, event jsonb);
    IF jsonb_typeof(entry.event) = 'object' THEN
        SELECT u.id INTO owner FROM users u WHERE u.phone_number = attempt.phone_number;
        -- The text of the event is cut where the account's id belongs, if there is one.
        INSERT INTO outbox_entries (events, joined_by, created_at)
            VALUES (jsonb_build_array(entry.event)::text,
                CASE WHEN owner IS NULL THEN '' ELSE ',"user_id":"' || owner || '"' END, attempt.now);
    END IF;
    INSERT INTO audit (at, actor, act, subject, detail)
        VALUES (attempt.now, 'system', entry.act, attempt.phone_key, entry.detail);
END $$;
