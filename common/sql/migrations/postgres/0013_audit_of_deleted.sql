-- The end of an account and its pseudonym in the audit, in one step that a login may take without any right to change the
-- audit: it gets EXECUTE on this alone (contract, ruling 54). A gateway of the former version, which owns the tables,
-- takes the steps itself. Nobody renames an account that stays, gives a deleted one a name that has the form of another
-- or that is another's already, or changes more than the names.
CREATE FUNCTION latchkey_delete_user(p_user UUID, p_pseudonym TEXT) RETURNS VOID LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- The form of an HMAC: no name of an operator, no id of an account, no key of a phone.
    IF p_pseudonym !~ '^[0-9a-f]{32}$'
        OR EXISTS (SELECT 1 FROM audit WHERE actor = p_pseudonym)
        OR EXISTS (SELECT 1 FROM audit WHERE subject = p_pseudonym)
    THEN
        RAISE EXCEPTION 'this is no pseudonym, or another account has it' USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM users WHERE id = p_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'only an account that is being deleted gets a pseudonym' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO audit_renames (name, pseudonym) VALUES (p_user::TEXT, p_pseudonym);
    UPDATE audit SET actor = CASE WHEN actor = p_user::TEXT THEN p_pseudonym ELSE actor END,
            subject = CASE WHEN subject = p_user::TEXT THEN p_pseudonym ELSE subject END
        WHERE actor = p_user::TEXT OR subject = p_user::TEXT;
    DELETE FROM audit_renames WHERE name = p_user::TEXT;
END $$;
REVOKE ALL ON FUNCTION latchkey_delete_user(UUID, TEXT) FROM PUBLIC;
-- It runs with its owner's rights: so it finds its tables in this schema only, never where its caller says.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION latchkey_delete_user(UUID, TEXT) SET search_path = pg_catalog, %I, pg_temp',
        current_schema());
END $$;
