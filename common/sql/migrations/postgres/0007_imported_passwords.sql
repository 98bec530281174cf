-- Every sign-in by password does the work of the dearest imported hash, while there is one: found in one look.
CREATE INDEX users_imported_passwords
    ON users ((substring(password_hash from '^pbkdf2_sha256[$]([0-9]{1,9})[$]')::bigint))
    WHERE substr(password_hash, 1, 14) = 'pbkdf2_sha256$';
