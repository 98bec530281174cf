-- Counts in a sliding span of time: a sorted set of what was counted, by its time in milliseconds.
-- The wait until fewer than `most` of the last `span` are left, of which there are `count`; nil if fewer are.
local function sliding_wait_of(count, key, from, span, most, now)
  if count < most then return nil end
  local oldest = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', count - most, 1)
  return oldest[2] + span - now
end

-- The same, counted. A limit of 0 is off.
local function sliding_wait(key, span, most, now)
  if most == 0 then return nil end
  local from = '(' .. int(now - span)
  return sliding_wait_of(redis.call('ZCOUNT', key, from, '+inf'), key, from, span, most, now)
end

-- The same for a short span within a long one. What has room in the long span has room in the short one.
local function sliding_waits(key, short, most_short, long, most_long, now)
  if most_short == 0 or most_long == 0 then
    return sliding_wait(key, short, most_short, now), sliding_wait(key, long, most_long, now)
  end
  local from = '(' .. int(now - long)
  local count = redis.call('ZCOUNT', key, from, '+inf')
  local wait = count >= most_short and sliding_wait(key, short, most_short, now) or nil
  return wait, sliding_wait_of(count, key, from, long, most_long, now)
end

-- Counts a member, and drops what is older than `span`.
local function sliding_add(key, span, member, now)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now - span))
  redis.call('ZADD', key, int(now), member)
  redis.call('PEXPIRE', key, span)
end
