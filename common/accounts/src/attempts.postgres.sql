-- Counts a failed attempt for the phone and for its code, if the attempt may be judged: the steps of
-- `record_failure` in attempts.rs, in the same order. `doc` is the struct `FailedAttempt`.
CREATE OR REPLACE FUNCTION latchkey_record_failure_4(
    doc jsonb, OUT verdict text, OUT until_ms bigint, OUT failed bigint, OUT code_failed bigint, OUT by_device boolean,
    OUT locked boolean
) LANGUAGE plpgsql AS $$
DECLARE
    attempt record;
    opened  text;
BEGIN
    SELECT * INTO attempt FROM jsonb_to_record(doc) AS a (
        phone_key text, kind text, known_device uuid, device_key text, device_window_ms bigint, now bigint,
        free_failures bigint, lock_at bigint, code_id uuid, code_expires_at bigint);
    -- Written to, the row is locked at once, or made anew where a sign-in has just deleted it. If it were only looked
    -- for, a failure that waits behind a sign-in would be counted in no row.
    INSERT INTO guesses AS g (phone_key, kind, failures, last_judged_at)
        VALUES (attempt.phone_key, attempt.kind, 0, attempt.now)
        ON CONFLICT (phone_key, kind) DO UPDATE SET failures = g.failures;
    SELECT t.verdict, t.until_ms, t.failed, t.by_device, t.opened
      INTO verdict, until_ms, failed, by_device, opened
      FROM latchkey_throttle_3(doc) t;
    locked := false;
    IF verdict <> 'open' THEN
        RETURN;
    END IF;
    failed := failed + 1;
    -- A known device does not put off the end of a lock.
    UPDATE guesses g SET failures = failed,
           last_judged_at = CASE WHEN opened = 'known_device' THEN g.last_judged_at ELSE attempt.now END
     WHERE g.phone_key = attempt.phone_key AND g.kind = attempt.kind;
    IF by_device THEN
        INSERT INTO device_guesses AS d (device, scope, failures, expires_at)
            VALUES (attempt.device_key, attempt.kind, 1, attempt.now + attempt.device_window_ms),
                   (attempt.known_device::text, attempt.kind, 1, attempt.now + attempt.device_window_ms)
            ON CONFLICT (device, scope) DO UPDATE SET
                failures = CASE WHEN d.expires_at <= attempt.now THEN 1 ELSE d.failures + 1 END,
                expires_at = CASE WHEN d.expires_at <= attempt.now THEN EXCLUDED.expires_at ELSE d.expires_at END;
    END IF;
    locked := failed = attempt.lock_at;
    IF opened = 'time' THEN
        PERFORM latchkey_lock_mark_2(doc, 'time');
    END IF;
    IF failed = attempt.free_failures THEN
        PERFORM latchkey_lock_mark_2(doc, 'slowed');
    END IF;
    IF locked THEN
        PERFORM latchkey_lock_mark_2(doc, 'locked');
    END IF;
    IF attempt.code_id IS NULL THEN
        RETURN;
    END IF;
    IF by_device THEN
        INSERT INTO device_guesses AS d (device, scope, failures, expires_at)
            VALUES (attempt.device_key, attempt.code_id::text, 1, attempt.code_expires_at)
            ON CONFLICT (device, scope) DO UPDATE SET failures = d.failures + 1
            RETURNING d.failures INTO code_failed;
        IF code_failed = 1 THEN
            -- One more device at this code.
            INSERT INTO device_guesses AS d (device, scope, failures, expires_at)
                VALUES (attempt.known_device::text, attempt.code_id::text, 1, attempt.code_expires_at)
                ON CONFLICT (device, scope) DO UPDATE SET failures = d.failures + 1;
        END IF;
    ELSE
        INSERT INTO code_guesses AS c (code_id, failures, expires_at)
            VALUES (attempt.code_id, 1, attempt.code_expires_at)
            ON CONFLICT (code_id) DO UPDATE SET failures = c.failures + 1
            RETURNING c.failures INTO code_failed;
    END IF;
END $$;
