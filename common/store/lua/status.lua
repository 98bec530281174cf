-- Applies one event's status to a request; creates the record if it was lost.
-- KEYS: request, open requests. ARGV: a StatusCall
local call = cjson.decode(ARGV[1])
local now, expires = now_ms(call.ahead_ms), call.expires_at_ms
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'expires', int(expires))
  redis.call('PEXPIRE', KEYS[1], math.max(math.ceil(expires - now), 0) + call.status_kept_ms)
  redis.call('ZADD', KEYS[2], int(expires), call.request_id)
  redis.call('PEXPIRE', KEYS[2], 86400000)
end
return raise(KEYS[1], call.request_id, call.status, tonumber(call.rank), call.reason or '', now)
