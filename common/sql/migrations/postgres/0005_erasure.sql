-- A deleted account's id leaves the audit, and a changed number can be put back for a while.

-- Names that a deletion replaces in the audit. A row lives only as long as the deletion's own transaction.
CREATE TABLE audit_renames (
    name      TEXT PRIMARY KEY,
    pseudonym TEXT NOT NULL
);
CREATE INDEX audit_actor ON audit (actor);

-- Append-only still: what may change is who is named, from a deleted account's id to its pseudonym, and nothing else.
CREATE FUNCTION latchkey_audit_changes_names_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.at <> OLD.at OR NEW.act <> OLD.act OR NEW.detail <> OLD.detail
        OR NEW.actor <> COALESCE((SELECT pseudonym FROM audit_renames WHERE name = OLD.actor), '')
            AND (NEW.actor <> OLD.actor OR NOT EXISTS (SELECT 1 FROM audit_renames))
        OR NEW.subject <> COALESCE((SELECT pseudonym FROM audit_renames WHERE name = OLD.subject), '')
            AND (NEW.subject <> OLD.subject OR NOT EXISTS (SELECT 1 FROM audit_renames))
    THEN
        RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER audit_append_only ON audit;
CREATE TRIGGER audit_append_only BEFORE DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION latchkey_audit_is_append_only();
CREATE TRIGGER audit_names_only BEFORE UPDATE ON audit
    FOR EACH ROW EXECUTE FUNCTION latchkey_audit_changes_names_only();

-- Numbers that were replaced and may be put back. The old number is sealed: no dump shows it.
CREATE TABLE phone_changes (
    id         UUID PRIMARY KEY,
    user_id    UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    old_sealed TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    undo_until BIGINT NOT NULL
);
CREATE INDEX phone_changes_user ON phone_changes (user_id);
CREATE INDEX phone_changes_until ON phone_changes (undo_until);
