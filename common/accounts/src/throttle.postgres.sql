-- Whether an attempt on a phone may be judged now, how many failures in a row it has, whether it counts for a known
-- device, and what ended a lock: `judge` of throttle.rs, where the rule and its numbers are told. `doc` is the struct
-- `Attempt`, alone or in a larger document, whose `code_id` is the code that the attempt is at.
-- Locks the count, so that parallel attempts are judged one after the other.
CREATE OR REPLACE FUNCTION latchkey_throttle_3(
    doc jsonb, OUT verdict text, OUT until_ms bigint, OUT failed bigint, OUT by_device boolean, OUT opened text
) LANGUAGE plpgsql AS $$
DECLARE
    attempt   record;
    judged_at bigint;
    wait_ms   bigint;
    locked    boolean;
BEGIN
    SELECT * INTO attempt FROM jsonb_to_record(doc) AS a (
        phone_number text, phone_key text, kind text, known_device uuid, device_key text, device_failures bigint,
        devices_failures bigint, code_devices bigint, code_id uuid,
        now bigint, free_failures bigint, first_wait_ms bigint, longest_wait_ms bigint,
        lock_at bigint, reset_ms bigint, most_after_reset bigint, forgotten_ms bigint);
    verdict := 'open';
    SELECT g.failures, g.last_judged_at INTO failed, judged_at
      FROM guesses g WHERE g.phone_key = attempt.phone_key AND g.kind = attempt.kind FOR UPDATE;
    by_device := attempt.known_device IS NOT NULL AND EXISTS (
        SELECT 1 FROM users u WHERE u.id = attempt.known_device AND u.phone_number = attempt.phone_number
    ) AND NOT EXISTS (
        SELECT 1 FROM device_guesses d WHERE d.scope = attempt.kind AND d.expires_at > attempt.now
           AND (d.device = attempt.device_key AND d.failures >= attempt.device_failures
             OR d.device = attempt.known_device::text AND d.failures >= attempt.devices_failures)
    ) AND NOT EXISTS (
        SELECT 1 FROM device_guesses d WHERE d.device = attempt.known_device::text
           AND d.scope = attempt.code_id::text AND d.failures >= attempt.code_devices
           AND NOT EXISTS (SELECT 1 FROM device_guesses own
                            WHERE own.device = attempt.device_key AND own.scope = attempt.code_id::text));
    IF failed IS NULL THEN
        failed := 0;
        RETURN;
    END IF;
    locked := failed >= attempt.lock_at;
    IF attempt.reset_ms > 0 AND attempt.now >= judged_at + attempt.reset_ms THEN
        opened := CASE WHEN locked THEN 'time' END;
        failed := CASE WHEN failed < attempt.free_failures OR attempt.now >= judged_at + attempt.forgotten_ms
            THEN 0 ELSE LEAST(failed, attempt.most_after_reset) END;
        RETURN;
    END IF;
    IF by_device THEN
        opened := CASE WHEN locked THEN 'known_device' END;
        RETURN;
    END IF;
    IF locked THEN
        verdict := 'locked';
        until_ms := CASE WHEN attempt.reset_ms > 0 THEN judged_at + attempt.reset_ms END;
        RETURN;
    END IF;
    IF failed >= attempt.free_failures THEN
        -- More than 31 doublings are the longest wait in any case, and could overflow.
        wait_ms := LEAST(
            attempt.first_wait_ms << LEAST(failed - attempt.free_failures, 31)::int, attempt.longest_wait_ms);
        IF attempt.now < judged_at + wait_ms THEN
            verdict := 'wait';
            until_ms := judged_at + wait_ms;
        END IF;
    END IF;
END $$;
