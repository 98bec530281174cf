-- A failure that is counted while a sign-in of the same phone ends is counted after it. The row was only looked for: it was
-- there, then the gate waited behind the sign-in, which deletes it, and the count went to no row. Written to, it is locked
-- at once, or made anew where a sign-in took it.
CREATE OR REPLACE FUNCTION latchkey_guess_failed(
    p_phone text, p_phone_key text, p_kind text, p_known uuid, p_now bigint, p_max bigint, p_reset_ms bigint,
    p_code uuid, p_code_expires_at bigint,
    OUT verdict text, OUT until_ms bigint, OUT failed bigint, OUT code_failed bigint
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO guesses AS g (phone_key, kind, failures, last_judged_at) VALUES (p_phone_key, p_kind, 0, p_now)
        ON CONFLICT (phone_key, kind) DO UPDATE SET failures = g.failures;
    SELECT l.verdict, l.until_ms, l.failed INTO verdict, until_ms, failed
      FROM latchkey_gate(p_phone, p_phone_key, p_kind, p_known, p_now, p_max, p_reset_ms) l;
    IF verdict <> 'open' THEN
        RETURN;
    END IF;
    failed := failed + 1;
    UPDATE guesses g SET failures = failed, last_judged_at = p_now
     WHERE g.phone_key = p_phone_key AND g.kind = p_kind;
    IF p_code IS NOT NULL THEN
        INSERT INTO code_guesses AS c (code_id, failures, expires_at) VALUES (p_code, 1, p_code_expires_at)
            ON CONFLICT (code_id) DO UPDATE SET failures = c.failures + 1
            RETURNING c.failures INTO code_failed;
    END IF;
END $$;
