-- Served by `sessions_account`.
DROP INDEX sessions_live;
DROP INDEX sessions_user;
-- Served by `sessions_sweep`. Gateways of the version before find expired sessions by reading the whole table, once a
-- minute each, and give up after 2 s: until they are replaced, the new ones do that work.
DROP INDEX sessions_expiry;
-- Whatever is over by its absolute end is over by its idle end as well: the sweep ends it, and removes it as ended.
DROP INDEX sessions_absolute;
-- The id of a code begins with its time, so the primary key finds the old ones.
DROP INDEX used_codes_expiry;
