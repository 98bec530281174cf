-- Texts that told an account's owner of a change, counted for a day: at most three.
CREATE TABLE notices (
    id      UUID PRIMARY KEY,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at      BIGINT NOT NULL
);
CREATE INDEX notices_user ON notices (user_id, at);
CREATE INDEX notices_age ON notices (at);

-- The security events of an account, newest first. Its owner can write any number of changes of the profile.
CREATE INDEX audit_security ON audit (subject, id) WHERE act <> 'profile_changed';
