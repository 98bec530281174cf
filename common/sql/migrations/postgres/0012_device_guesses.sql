-- What known devices failed: of each kind for a day from the first, and at each code until its expiry (contract, ruling
-- 39). A device is a digest of its token; the scope is the kind or a code's id.
CREATE TABLE device_guesses (
    device     TEXT NOT NULL,
    scope      TEXT NOT NULL,
    failures   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (device, scope)
);
CREATE INDEX device_guesses_expiry ON device_guesses (expires_at);
