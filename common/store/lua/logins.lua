-- Counts a login of an address in a sliding minute. Returns the wait in milliseconds if it exceeds the limit.
local function count_login(key, now, most, member)
  if most == 0 then return nil end
  local MINUTE = 60000
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now - MINUTE))
  local count = redis.call('ZCARD', key)
  if count >= most then
    return redis.call('ZRANGE', key, count - most, count - most, 'WITHSCORES')[2] + MINUTE - now
  end
  redis.call('ZADD', key, int(now), member)
  redis.call('PEXPIRE', key, MINUTE)
  return nil
end
