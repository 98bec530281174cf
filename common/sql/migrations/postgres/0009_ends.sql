-- Whose number a waiting text goes to, so that the end of an account takes it back. Forgotten when it is published.
ALTER TABLE outbox ADD COLUMN user_id UUID;
CREATE INDEX outbox_user ON outbox (user_id) WHERE user_id IS NOT NULL;

-- Sessions by the time at which they end by themselves: the sweep tells of each.
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE ended_at IS NULL;
