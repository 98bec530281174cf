-- Notes of staff about an account are entries of the audit. Their text may tell of a person, so it goes with the account
-- (contract, ruling 71).

-- Append-only still: what may change is who is named, from a deleted account's id to its pseudonym, and with that name the
-- text of a note about it, to nothing. The trigger takes the text itself: a gateway of the former version deletes accounts, too.
CREATE OR REPLACE FUNCTION latchkey_audit_changes_names_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.at <> OLD.at OR NEW.act <> OLD.act OR NEW.detail <> OLD.detail
        OR NEW.actor <> COALESCE((SELECT pseudonym FROM audit_renames WHERE name = OLD.actor), '')
            AND (NEW.actor <> OLD.actor OR NOT EXISTS (SELECT 1 FROM audit_renames))
        OR NEW.subject <> COALESCE((SELECT pseudonym FROM audit_renames WHERE name = OLD.subject), '')
            AND (NEW.subject <> OLD.subject OR NOT EXISTS (SELECT 1 FROM audit_renames))
    THEN
        RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.act = 'note_added' AND NEW.subject <> OLD.subject THEN
        NEW.detail := '{}';
    END IF;
    RETURN NEW;
END $$;
