-- A refresh is to write to no indexed column: then PostgreSQL changes the row within its page (HOT) and touches no index.
-- What stands against it is the index by `expires_at`, which moves with each refresh (0018 drops it).
--
-- The sweep of sessions whose idle time is over goes by `sweep_at` instead: when to look at the session next. It is never
-- after the end that the session has, only before it: the sweep that finds the session refreshed since puts it off. The
-- default is for the rows that are here, and for gateways of the version before: the next sweep looks at them.
ALTER TABLE sessions ADD COLUMN sweep_at BIGINT NOT NULL DEFAULT 0;
-- Room for the next version of a row in its own page.
ALTER TABLE sessions SET (fillfactor = 85);
