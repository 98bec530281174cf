-- The two acts that every sign-in waits for, each in one round trip. SQLite has no procedures and needs none: its
-- "round trip" is a function call, so there the same steps are in login.rs and guesses.rs. One contract suite runs on both.

-- Whether a guess at a phone may be judged now, and how many failures in a row it has. The rules, and where their
-- numbers come from, are told in gate.rs; its table of cases is run against this function too.
-- Locks the count, so that parallel guesses are judged one after the other.
CREATE FUNCTION latchkey_gate(
    p_phone text, p_phone_key text, p_kind text, p_known uuid, p_now bigint, p_max bigint, p_reset_ms bigint,
    OUT verdict text, OUT until_ms bigint, OUT failed bigint
) LANGUAGE plpgsql AS $$
DECLARE
    judged_at bigint;
    wait_ms   bigint;
BEGIN
    verdict := 'open';
    SELECT g.failures, g.last_judged_at INTO failed, judged_at
      FROM guesses g WHERE g.phone_key = p_phone_key AND g.kind = p_kind FOR UPDATE;
    IF failed IS NULL OR (p_reset_ms > 0 AND p_now >= judged_at + p_reset_ms) THEN
        failed := 0;
        RETURN;
    END IF;
    IF failed >= p_max OR (failed >= p_max - p_max / 10 AND NOT (p_known IS NOT NULL AND EXISTS (
        SELECT 1 FROM users u WHERE u.id = p_known AND u.phone_number = p_phone))) THEN
        verdict := 'locked';
        until_ms := CASE WHEN p_reset_ms > 0 THEN judged_at + p_reset_ms END;
        RETURN;
    END IF;
    IF failed >= 10 THEN
        wait_ms := LEAST(30000 * (1 << LEAST(failed - 10, 5)::int), 900000);
        IF p_now < judged_at + wait_ms THEN
            verdict := 'wait';
            until_ms := judged_at + wait_ms;
        END IF;
    END IF;
END $$;

CREATE FUNCTION latchkey_guess_failed(
    p_phone text, p_phone_key text, p_kind text, p_known uuid, p_now bigint, p_max bigint, p_reset_ms bigint,
    p_code uuid, p_code_expires_at bigint,
    OUT verdict text, OUT until_ms bigint, OUT failed bigint, OUT code_failed bigint
) LANGUAGE plpgsql AS $$
BEGIN
    -- The row is made before it is locked: two first guesses must not both find nothing.
    INSERT INTO guesses AS g (phone_key, kind, failures, last_judged_at) VALUES (p_phone_key, p_kind, 0, p_now)
        ON CONFLICT DO NOTHING;
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

-- A right code for a session. Everything or nothing: the fence, the account, its session, the counts, the events, the audit.
CREATE FUNCTION latchkey_sign_in(
    p_phone text, p_phone_key text, p_known uuid, p_now bigint, p_max bigint, p_reset_ms bigint, p_attempts bigint,
    p_code uuid, p_code_expires_at bigint,
    p_new_user uuid, p_first_name text, p_last_name text, p_locale text, p_country text,
    p_session uuid, p_method text, p_device text, p_ip text, p_expires_at bigint, p_absolute_expires_at bigint, p_cap bigint,
    p_key_hash text, p_body_hash text, p_key_expires_at bigint,
    -- Events were written with the ids that were made for this sign-in; where another stands, it is put in their place.
    p_created_id uuid, p_created text, p_started_id uuid, p_started text,
    p_verified_id uuid, p_verified text, p_ended_id uuid, p_ended text, p_detail text,
    OUT verdict text, OUT until_ms bigint, OUT created boolean, OUT account users
) LANGUAGE plpgsql AS $$
DECLARE
    oldest uuid;
    old_id text := p_new_user::text;
    new_id text;
BEGIN
    SELECT l.verdict, l.until_ms INTO verdict, until_ms
      FROM latchkey_gate(p_phone, p_phone_key, 'code', p_known, p_now, p_max, p_reset_ms) l;
    IF verdict <> 'open' THEN
        RETURN;
    END IF;
    verdict := 'code_used';
    PERFORM 1 FROM code_guesses c WHERE c.code_id = p_code AND c.failures >= p_attempts;
    IF FOUND THEN
        RETURN;
    END IF;
    INSERT INTO used_codes (code_id, used_at, expires_at) VALUES (p_code, p_now, p_code_expires_at) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    INSERT INTO users AS u (id, phone_number, first_name, last_name, locale, country, created_at, updated_at, last_seen_at)
        VALUES (p_new_user, p_phone, p_first_name, p_last_name, p_locale, p_country, p_now, p_now, p_now)
        ON CONFLICT (phone_number) DO UPDATE
            SET last_seen_at = CASE WHEN u.blocked_at IS NULL THEN p_now ELSE u.last_seen_at END
        RETURNING u.* INTO account;
    created := account.id = p_new_user;
    new_id := account.id::text;
    IF account.blocked_at IS NOT NULL THEN
        verdict := 'blocked';
        INSERT INTO audit (at, actor, act, subject, detail) VALUES (p_now, new_id, 'sign_in_refused_blocked', new_id, '{}');
        RETURN;
    END IF;

    verdict := 'signed_in';
    -- Sign-ins of one account stand in line at its row, so that the cap cannot be passed in parallel.
    SELECT s.id INTO oldest FROM sessions s
     WHERE s.user_id = account.id AND s.ended_at IS NULL AND s.expires_at > p_now
     ORDER BY s.last_seen_at DESC, s.id DESC OFFSET p_cap - 1 LIMIT 1;
    IF oldest IS NOT NULL THEN
        UPDATE sessions s SET ended_at = p_now, ended_reason = 'too_many_sessions' WHERE s.id = oldest;
        INSERT INTO outbox (id, kind, addressed, body, created_at) VALUES (p_ended_id, 'session.ended.v1', false,
            replace(replace(p_ended, old_id, new_id), p_session::text, oldest::text), p_now);
        INSERT INTO audit (at, actor, act, subject, detail)
            VALUES (p_now, new_id, 'session_ended', new_id, '{"reason":"too_many_sessions","sessions":["' || oldest || '"]}');
    END IF;
    INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at, expires_at, absolute_expires_at)
        VALUES (p_session, account.id, p_method, 1, p_now, p_device, p_ip, p_now, p_now, p_expires_at, p_absolute_expires_at);
    IF p_key_hash IS NOT NULL THEN
        INSERT INTO login_keys (key_hash, body_hash, session_id, expires_at) VALUES (p_key_hash, p_body_hash, p_session, p_key_expires_at)
            ON CONFLICT (key_hash) DO UPDATE
                SET body_hash = EXCLUDED.body_hash, session_id = EXCLUDED.session_id, expires_at = EXCLUDED.expires_at;
    END IF;
    DELETE FROM guesses g WHERE g.phone_key = p_phone_key AND g.kind = 'code';
    INSERT INTO outbox (id, kind, addressed, body, created_at) VALUES
        (p_verified_id, 'otp.verified.v1', false, replace(p_verified, old_id, new_id), p_now),
        (p_started_id, 'session.started.v1', false, replace(p_started, old_id, new_id), p_now);
    IF created THEN
        INSERT INTO outbox (id, kind, addressed, body, created_at) VALUES (p_created_id, 'user.created.v1', false, p_created, p_now);
    END IF;
    INSERT INTO audit (at, actor, act, subject, detail)
        VALUES (p_now, new_id, CASE WHEN created THEN 'signed_up' ELSE 'signed_in' END, new_id, p_detail);
END $$;
