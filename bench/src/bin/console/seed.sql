-- A month of a middling Latchkey, until $NOW in milliseconds. Times fall on every minute of it, so that each hour has its share.
SET synchronous_commit = off;
-- What is filled in is whole: no reference is checked, and the audit takes it.
SET session_replication_role = replica;
SET work_mem = '128MB';
SET maintenance_work_mem = '256MB';

-- An id whose time is `ms`, and the rest of which follows from `n`.
CREATE FUNCTION seed_id(ms bigint, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 3) || substr(h, 7, 12))::uuid
    FROM md5(n::text) AS h
$$;

CREATE TABLE seed_people AS
SELECT n, c AS country,
       CASE c WHEN 'IR' THEN '+989' || (10 + n % 30) || lpad(n::text, 7, '0')
              WHEN 'US' THEN '+1415' || lpad(n::text, 7, '0')
              WHEN 'DE' THEN '+4915' || (n / 10 % 10) || lpad(n::text, 8, '0')
              ELSE '+447' || lpad(n::text, 9, '0') END AS phone,
       $NOW::bigint - 86400000::bigint * (365 - n % 335) + n AS made_at
FROM (SELECT n, (ARRAY['IR','IR','IR','IR','IR','IR','US','US','DE','GB'])[1 + n % 10] AS c
      FROM generate_series(1, $USERS) AS n) people;
CREATE UNIQUE INDEX ON seed_people (n);
ANALYZE seed_people;

INSERT INTO users (id, phone_number, first_name, last_name, locale, country, created_at, updated_at, last_seen_at)
SELECT seed_id(made_at, n), phone,
       (ARRAY['Ada','Grace','Alan','Edsger','Barbara','Donald','Leslie','Radia','Tony','Zoë'])[1 + n % 10] || ' ' || n % 97,
       (ARRAY['Lovelace','Hopper','Turing','Dijkstra','Liskov','Knuth','Lamport'])[1 + n % 7] || n % 1013,
       'en', country, made_at, made_at, made_at
FROM seed_people;

-- What becomes of a message, by chance: of 100 two fail, four do not arrive, six have no receipt, 88 arrive. Of those that
-- arrive four of five are used.
CREATE TABLE seed_messages AS
SELECT m AS n, p.phone, p.country, p.n AS person,
       ($NOW::bigint - 1000 - 2592000000::bigint * ($MESSAGES - m) / $MESSAGES) AS at,
       CASE WHEN r % 100 < 2 THEN 'failed' WHEN r % 100 < 6 THEN 'undelivered' WHEN r % 100 < 12 THEN 'sent'
            ELSE 'delivered' END AS state,
       CASE WHEN r / 100 % 20 = 0 THEN 'http' ELSE 'twilio' END AS provider,
       CASE WHEN r / 2000 % 25 = 0 THEN 'voice' ELSE 'sms' END AS channel,
       r % 100 >= 12 AND r / 50000 % 5 > 0 AS used,
       80 + r % 900 AS sent_ms, 900 + (r % 40) * (r % 97) AS delivered_ms
FROM (SELECT m, ('x' || substr(md5(m::text), 1, 7))::bit(28)::int AS r FROM generate_series(1, $MESSAGES) AS m) chance
JOIN seed_people p ON p.n = 1 + (m::bigint * 7919) % $USERS;
ANALYZE seed_messages;

INSERT INTO sms_ledger (message_id, request_id, phone_number, country, channel, state, rank, reason, provider,
    provider_message_id, segments, created_at, updated_at, not_after)
SELECT seed_id(at - 20, n), seed_id(at - 20, n), phone, country, channel, state,
       CASE state WHEN 'failed' THEN 41 WHEN 'undelivered' THEN 42 WHEN 'sent' THEN 30 ELSE 43 END,
       CASE state WHEN 'failed' THEN 'provider_unavailable' WHEN 'undelivered' THEN 'carrier_blocked' END,
       provider, CASE WHEN state <> 'failed' THEN 'SM' || md5(n::text) END, 1, at, at + sent_ms + delivered_ms, at + 300000
FROM seed_messages ORDER BY n;

INSERT INTO sms_attempts (attempt_id, message_id, provider, number, state, started_at, ended_at, provider_message_id,
    provider_code, final_state, final_rank)
SELECT seed_id(at, n + 10000000), seed_id(at - 20, n), provider, 1, CASE state WHEN 'failed' THEN 'rejected' ELSE 'accepted' END,
       at, at + sent_ms, CASE WHEN state <> 'failed' THEN 'SM' || md5(n::text) END,
       CASE state WHEN 'failed' THEN '21408' WHEN 'undelivered' THEN '30007' END,
       CASE WHEN state IN ('undelivered', 'delivered') THEN state END,
       CASE state WHEN 'undelivered' THEN 42 WHEN 'delivered' THEN 43 ELSE 0 END
FROM seed_messages ORDER BY n;

INSERT INTO sms_history (message_id, rank, state, reason, at)
SELECT seed_id(m.at - 20, n), step.rank, step.state, NULL, step.at
FROM seed_messages m CROSS JOIN LATERAL (VALUES
    (20, 'sending', m.at),
    (CASE WHEN m.state = 'failed' THEN 41 ELSE 30 END, CASE WHEN m.state = 'failed' THEN m.state ELSE 'sent' END, m.at + sent_ms),
    (CASE WHEN m.state = 'delivered' THEN 43 WHEN m.state = 'undelivered' THEN 42 END, m.state, m.at + sent_ms + delivered_ms)
) AS step (rank, state, at)
WHERE step.rank IS NOT NULL ORDER BY n;

INSERT INTO sessions (id, user_id, method, generation, rotated_at, device, ip, created_at, last_seen_at, expires_at,
    absolute_expires_at, ended_at, ended_reason, sweep_at)
SELECT seed_id(at + 20000, m.n + 20000000), seed_id(p.made_at, p.n), 'sms', 1, at + 20000, 'Example/4.2', '192.0.2.0',
       at + 20000, at + 20000, at + 2592000000, at + 15552000000, CASE WHEN m.n % 4 > 0 THEN at + 90000 END,
       CASE WHEN m.n % 4 > 0 THEN 'signed_out' END, at + 2592000000
FROM seed_messages m JOIN seed_people p ON p.n = m.person WHERE m.used;

INSERT INTO guard_history (minute, operator_prefix, country, sends, verified, refused)
SELECT at / 60000, substr(phone, 2, CASE country WHEN 'US' THEN 5 ELSE 6 END), country, count(*),
       count(*) FILTER (WHERE used), count(*) FILTER (WHERE n % 1000 = 0)
FROM seed_messages GROUP BY 1, 2, 3;

INSERT INTO audit (at, actor, act, subject, detail)
SELECT $NOW::bigint - 2592000000::bigint * ($AUDIT - a) / $AUDIT, user_id, act, user_id, '{}'
FROM (SELECT a, seed_id(p.made_at, p.n)::text AS user_id,
             CASE WHEN a % 1000 = 0 THEN 'phone_locked' WHEN a % 10 = 0 THEN 'session_ended' ELSE 'signed_in' END AS act
      FROM generate_series(1, $AUDIT) AS a JOIN seed_people p ON p.n = 1 + (a::bigint * 7919) % $USERS) entries ORDER BY a;

INSERT INTO blocks (id, kind, value, display, reason, owner, until, created_at)
SELECT seed_id($NOW::bigint - n * 60000, n), 'prefix', '98900' || n, '98900' || n, 'numbers for sale', 'Grace', NULL,
       $NOW::bigint - n * 60000
FROM generate_series(1, 40) AS n;

DROP TABLE seed_messages, seed_people;
DROP FUNCTION seed_id(bigint, bigint);
RESET ALL;
ANALYZE;
