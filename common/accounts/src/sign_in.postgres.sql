-- Exchanges a correct code for a session, all or nothing: the steps of `sign_in_sqlite` in sign_in.rs, in the same
-- order. `doc` is the struct `Document`.
CREATE OR REPLACE FUNCTION latchkey_sign_in_4(
    doc jsonb, OUT verdict text, OUT until_ms bigint, OUT created boolean, OUT account users
) LANGUAGE plpgsql AS $$
DECLARE
    login     record;
    name      text;
    oldest    uuid;
    by_device boolean;
    opened    text;
BEGIN
    SELECT t.verdict, t.until_ms, t.by_device, t.opened INTO verdict, until_ms, by_device, opened
      FROM latchkey_throttle_3(doc) t;
    IF verdict <> 'open' THEN
        RETURN;
    END IF;
    SELECT * INTO login FROM jsonb_to_record(doc) AS l (
        phone_number text, phone_key text, kind text, device_key text, now bigint,
        code_id uuid, code_expires_at bigint, code_attempts bigint,
        new_user uuid, first_name text, last_name text, locale text, country text,
        session_id uuid, method text, device text, ip text, jkt text, expires_at bigint, absolute_expires_at bigint,
        max_sessions bigint, key_hash text, body_hash text, key_expires_at bigint,
        events jsonb, ended jsonb, detail text);

    verdict := 'code_used';
    IF by_device THEN
        PERFORM 1 FROM device_guesses d WHERE d.device = login.device_key AND d.scope = login.code_id::text
            AND d.failures >= login.code_attempts;
    ELSE
        PERFORM 1 FROM code_guesses c WHERE c.code_id = login.code_id AND c.failures >= login.code_attempts;
    END IF;
    IF FOUND THEN
        RETURN;
    END IF;
    INSERT INTO used_codes (code_id, used_at, expires_at)
        VALUES (login.code_id, login.now, login.code_expires_at) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;

    INSERT INTO users AS u
            (id, phone_number, first_name, last_name, locale, country, created_at, updated_at, last_seen_at)
        VALUES (login.new_user, login.phone_number, login.first_name, login.last_name, login.locale, login.country,
            login.now, login.now, login.now)
        ON CONFLICT (phone_number) DO UPDATE
            SET last_seen_at = CASE WHEN u.blocked_at IS NULL THEN login.now ELSE u.last_seen_at END
        RETURNING u.* INTO account;
    created := account.id = login.new_user;
    name := account.id::text;
    IF account.blocked_at IS NOT NULL THEN
        verdict := 'blocked';
        INSERT INTO audit (at, actor, act, subject, detail)
            VALUES (login.now, name, 'sign_in_refused_blocked', name, '{}');
        RETURN;
    END IF;

    verdict := 'signed_in';
    -- Sign-ins of one account queue at its row, so that the cap cannot be passed in parallel. Sessions that a password
    -- started make room first: `make_room` of sessions.rs tells why.
    SELECT s.id INTO oldest FROM sessions s
     WHERE s.user_id = account.id AND s.ended_at IS NULL AND s.expires_at > login.now
     ORDER BY s.method = 'pwd', s.last_seen_at DESC, s.id DESC OFFSET login.max_sessions - 1 LIMIT 1;
    IF oldest IS NOT NULL THEN
        UPDATE sessions s SET ended_at = login.now, ended_reason = 'too_many_sessions' WHERE s.id = oldest;
        -- The text of this event is cut at two ids: the session's, then the account's.
        INSERT INTO outbox_entries (events, created_at)
            SELECT json_build_array(json_build_object('id', e.id, 'kind', e.kind, 'addressed', e.addressed, 'pieces',
                       json_build_array(e.pieces[1] || oldest || e.pieces[2] || name || e.pieces[3])))::text, login.now
              FROM jsonb_to_record(login.ended) AS e (id uuid, kind text, addressed boolean, pieces text[]);
        INSERT INTO audit (at, actor, act, subject, detail) VALUES (login.now, name, 'session_ended', name,
            '{"reason":"too_many_sessions","sessions":["' || oldest || '"]}');
    END IF;
    INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at,
            expires_at, absolute_expires_at, jkt, sweep_at)
        VALUES (login.session_id, account.id, login.method, 1, login.now, login.device, login.ip, login.now, login.now,
            login.expires_at, login.absolute_expires_at, login.jkt, login.expires_at);
    IF login.key_hash IS NOT NULL THEN
        INSERT INTO login_keys (key_hash, body_hash, session_id, expires_at)
            VALUES (login.key_hash, login.body_hash, login.session_id, login.key_expires_at)
            ON CONFLICT (key_hash) DO UPDATE
                SET body_hash = EXCLUDED.body_hash, session_id = EXCLUDED.session_id, expires_at = EXCLUDED.expires_at;
    END IF;
    IF opened IS NOT NULL THEN
        PERFORM latchkey_lock_mark_2(doc, opened);
    END IF;
    DELETE FROM guesses g WHERE g.phone_key = login.phone_key AND g.kind = login.kind;
    -- The first event is `user.created`.
    INSERT INTO outbox_entries (events, joined_by, created_at)
        VALUES ((CASE WHEN created THEN login.events ELSE login.events - 0 END)::text, name, login.now);
    INSERT INTO audit (at, actor, act, subject, detail)
        VALUES (login.now, name, CASE WHEN created THEN 'signed_up' ELSE 'signed_in' END, name, login.detail);
END $$;
