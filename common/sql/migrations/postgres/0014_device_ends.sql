-- The device tokens that end before their year is over (contract, ruling 39): those of an account that were issued in this
-- span, both its ends included. The tokens themselves are nowhere stored.
CREATE TABLE device_ends (
    user_id      UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    issued_from  BIGINT NOT NULL,
    issued_until BIGINT NOT NULL,
    PRIMARY KEY (user_id, issued_from)
);
CREATE INDEX device_ends_age ON device_ends (issued_until);
