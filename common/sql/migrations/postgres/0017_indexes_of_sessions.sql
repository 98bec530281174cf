-- In a migration of their own: while an index is built, no session can be written, but all can be read.
-- For the sweep alone, which asks for it by this condition. Were it `ended_at IS NULL`, every look for an account's live
-- sessions could go by this index as well: on a table that was never analysed the server finds that cheapest, and reads
-- all sessions for each sign-in.
CREATE INDEX sessions_sweep ON sessions (sweep_at) WHERE COALESCE(ended_at, 0) = 0;
-- One index for what two did: the live sessions of an account (`ended_at IS NULL`), and all of them when it is deleted.
CREATE INDEX sessions_account ON sessions (user_id, ended_at);
