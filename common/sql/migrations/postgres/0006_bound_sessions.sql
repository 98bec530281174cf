-- Sessions bound to a key of the client (DPoP, RFC 9449): the key's RFC 7638 thumbprint, of SHA-256 in base64url. A
-- session without one is not bound. Public, and of no use to who reads it.
ALTER TABLE sessions ADD COLUMN jkt TEXT;

-- The sign-in of 0003 with the key that its session is bound to, if any. A function of its own over the former one:
-- gateways of the version before go on calling that while this version is rolled out.
CREATE FUNCTION latchkey_sign_in(
    p_phone text, p_phone_key text, p_known uuid, p_now bigint, p_max bigint, p_reset_ms bigint, p_attempts bigint,
    p_code uuid, p_code_expires_at bigint,
    p_new_user uuid, p_first_name text, p_last_name text, p_locale text, p_country text,
    p_session uuid, p_method text, p_device text, p_ip text, p_expires_at bigint, p_absolute_expires_at bigint, p_cap bigint,
    p_key_hash text, p_body_hash text, p_key_expires_at bigint,
    p_created_id uuid, p_created text, p_started_id uuid, p_started text,
    p_verified_id uuid, p_verified text, p_ended_id uuid, p_ended text, p_detail text,
    p_jkt text,
    OUT verdict text, OUT until_ms bigint, OUT created boolean, OUT account users
) LANGUAGE plpgsql AS $$
DECLARE
    done record;
BEGIN
    SELECT * INTO done FROM latchkey_sign_in(
        p_phone, p_phone_key, p_known, p_now, p_max, p_reset_ms, p_attempts, p_code, p_code_expires_at, p_new_user,
        p_first_name, p_last_name, p_locale, p_country, p_session, p_method, p_device, p_ip, p_expires_at,
        p_absolute_expires_at, p_cap, p_key_hash, p_body_hash, p_key_expires_at, p_created_id, p_created,
        p_started_id, p_started, p_verified_id, p_verified, p_ended_id, p_ended, p_detail);
    verdict := done.verdict;
    until_ms := done.until_ms;
    created := done.created;
    account := done.account;
    IF verdict = 'signed_in' AND p_jkt IS NOT NULL THEN
        UPDATE sessions s SET jkt = p_jkt WHERE s.id = p_session;
    END IF;
END $$;
