-- Whether an attempt on a phone may be judged now, and how many failures in a row it has: `judge` of throttle.rs, where
-- the rule and its numbers are told. `doc` is the struct `Attempt`, alone or in a larger document.
-- Locks the count, so that parallel attempts are judged one after the other.
CREATE OR REPLACE FUNCTION latchkey_throttle_2(
    doc jsonb, OUT verdict text, OUT until_ms bigint, OUT failed bigint
) LANGUAGE plpgsql AS $$
DECLARE
    attempt   record;
    judged_at bigint;
    wait_ms   bigint;
BEGIN
    SELECT * INTO attempt FROM jsonb_to_record(doc) AS a (
        phone_number text, phone_key text, kind text, known_device uuid, now bigint,
        free_failures bigint, first_wait_ms bigint, longest_wait_ms bigint,
        max_failures bigint, max_of_strangers bigint, reset_ms bigint);
    verdict := 'open';
    SELECT g.failures, g.last_judged_at INTO failed, judged_at
      FROM guesses g WHERE g.phone_key = attempt.phone_key AND g.kind = attempt.kind FOR UPDATE;
    IF failed IS NULL OR (attempt.reset_ms > 0 AND attempt.now >= judged_at + attempt.reset_ms) THEN
        failed := 0;
        RETURN;
    END IF;
    IF failed >= attempt.max_failures OR (failed >= attempt.max_of_strangers AND NOT (
        attempt.known_device IS NOT NULL AND EXISTS (
            SELECT 1 FROM users u WHERE u.id = attempt.known_device AND u.phone_number = attempt.phone_number))) THEN
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
