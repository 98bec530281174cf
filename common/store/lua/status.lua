-- Applies one event's status to a request; creates the record if it was lost.
-- KEYS: request, open requests. ARGV: ahead, request, status, rank, reason, expiry, how long it is kept after that
local now = now_ms(ARGV[1])
local expires = tonumber(ARGV[6])
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'expires', int(expires))
  redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(expires - now), 0) + tonumber(ARGV[7]))
  redis.call('ZADD', KEYS[2], int(expires), ARGV[2])
  redis.call('PEXPIRE', KEYS[2], 86400000)
end
return raise(KEYS[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], now)
