-- Counts in a sliding span of time: a sorted set of what was counted, by its time in milliseconds.
-- The wait until fewer than `most` of the last `span` are left; nil if fewer are. A limit of 0 is off.
local function sliding_wait(key, span, most, now)
  if most == 0 then return nil end
  local from = '(' .. int(now - span)
  local count = redis.call('ZCOUNT', key, from, '+inf')
  if count < most then return nil end
  local oldest = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', count - most, 1)
  return oldest[2] + span - now
end

-- Counts a member, and drops what is older than `span`.
local function sliding_add(key, span, member, now)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now - span))
  redis.call('ZADD', key, int(now), member)
  redis.call('PEXPIRE', key, span)
end
