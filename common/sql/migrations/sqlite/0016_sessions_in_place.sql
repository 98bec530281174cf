-- When to look next whether the idle time of a session is over. It is never after the end that the session has, only
-- before it: the sweep that finds the session refreshed since puts it off. A refresh writes to no index.
ALTER TABLE sessions ADD COLUMN sweep_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_sweep ON sessions (sweep_at) WHERE ended_at IS NULL;
DROP INDEX sessions_expiry;

-- One index for what two did: the live sessions of an account (`ended_at IS NULL`), and all of them when it is deleted.
CREATE INDEX sessions_account ON sessions (user_id, ended_at);
DROP INDEX sessions_live;
DROP INDEX sessions_user;
-- Whatever is over by its absolute end is over by its idle end as well: the sweep ends it, and removes it as ended.
DROP INDEX sessions_absolute;
-- The id of a code begins with its time, so the primary key finds the old ones.
DROP INDEX used_codes_expiry;
