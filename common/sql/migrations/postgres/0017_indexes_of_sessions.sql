-- In a migration of their own: while an index is built, no session can be written, but all can be read.
CREATE INDEX sessions_sweep ON sessions (sweep_at) WHERE ended_at IS NULL;
-- One index for what two did: the live sessions of an account (`ended_at IS NULL`), and all of them when it is deleted.
CREATE INDEX sessions_account ON sessions (user_id, ended_at);
