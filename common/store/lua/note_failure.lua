-- Counts a failed attempt at a phone in each range of its address, and over all.
-- KEYS: failures and phones over all; then the wait, the phones and the narrowest networks of each range.
-- ARGV: a FailureCall
-- Returns the failures and phones over all once a window, when they become suspicious.
local call = cjson.decode(ARGV[1])
local now = now_ms(call.ahead_ms)
for i, range in ipairs(call.ranges) do
  local wait, phones, networks = KEYS[3 * i], KEYS[3 * i + 1], KEYS[3 * i + 2]
  local function young(key, member)
    sliding_add(key, call.window_ms, member, now)
    return redis.call('ZCARD', key)
  end
  local is_full = young(phones, call.phone) > range.most
  is_full = young(networks, call.network) >= range.networks and is_full
  local at = redis.call('HMGET', wait, 'until', 'level')
  local till, level = tonumber(at[1] or '0'), tonumber(at[2] or '0')
  if is_full and till <= now then
    -- The next wait takes as many phones again.
    redis.call('DEL', phones, networks)
    if till + call.forget_ms <= now then level = 0 end
    redis.call('HSET', wait, 'until', int(now + math.min(call.wait_ms * 2 ^ math.min(level, 30), call.wait_cap_ms)), 'level', level + 1)
    redis.call('PEXPIRE', wait, call.wait_cap_ms + call.forget_ms)
  end
end

local all = redis.call('HMGET', KEYS[1], 'start', 'told')
if tonumber(all[1] or '0') + call.window_ms <= now then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'start', int(now))
  redis.call('PEXPIRE', KEYS[1], call.window_ms)
  all[2] = nil
end
if all[2] then return {} end
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('SADD', KEYS[2], call.phone)
redis.call('PEXPIRE', KEYS[2], call.window_ms)
local phones = redis.call('SCARD', KEYS[2])
if phones < call.suspicious then return {} end
redis.call('HSET', KEYS[1], 'told', 1)
redis.call('DEL', KEYS[2])
return { int(failures), int(phones) }
