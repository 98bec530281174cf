-- Texts that told an account's owner of a change, counted for a day by the number's key and by what they are about. They
-- outlive the account: deleting it must not start the count anew.
CREATE TABLE notices (
    id        BLOB PRIMARY KEY,
    phone_key TEXT NOT NULL,
    about     TEXT NOT NULL,
    at        INTEGER NOT NULL
);
CREATE INDEX notices_phone ON notices (phone_key, about, at);
CREATE INDEX notices_age ON notices (at);

-- The security events of an account, newest first. Its owner can write any number of changes of the profile.
CREATE INDEX audit_security ON audit (subject, id) WHERE act <> 'profile_changed';
