-- Counts a login in a sliding minute in each range of its address; their keys come after the first `before` ones.
-- Returns the wait in milliseconds, and counts nothing, if it exceeds a limit.
local function count_login(before, addresses, now, member)
  local MINUTE = 60000
  local wait = longest(addresses, function(i, address)
    local key = KEYS[before + i]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now - MINUTE))
    local count = redis.call('ZCARD', key)
    if count < address.most then return nil end
    return redis.call('ZRANGE', key, count - address.most, count - address.most, 'WITHSCORES')[2] + MINUTE - now
  end)
  if wait then return wait end
  for i in ipairs(addresses) do
    redis.call('ZADD', KEYS[before + i], int(now), member)
    redis.call('PEXPIRE', KEYS[before + i], MINUTE)
  end
  return nil
end
