-- Counts a write of a session or an account in a sliding minute. Returns the wait in milliseconds if it exceeds the limit, else 0.
-- KEYS: its writes. ARGV: ahead, writes a minute, a member for the write
local MINUTE = 60000
local now, most = now_ms(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now - MINUTE))
local count = redis.call('ZCARD', KEYS[1])
if count >= most then
  return redis.call('ZRANGE', KEYS[1], count - most, count - most, 'WITHSCORES')[2] + MINUTE - now
end
redis.call('ZADD', KEYS[1], int(now), ARGV[3])
redis.call('PEXPIRE', KEYS[1], MINUTE)
return 0
