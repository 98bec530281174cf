-- What every limit has counted for a phone or an address, for staff. Changes nothing.
-- KEYS: sliding counts, windows, waits after failures; of a phone also its two nets and the budget by which it passes them.
-- ARGV: a LimitCall
local call = cjson.decode(ARGV[1])
local now, at, answer = now_ms(call.ahead_ms), 0, {}
local function add(word) answer[#answer + 1] = word end
local function next_key()
  at = at + 1
  return KEYS[at]
end
add(int(now))
for _, one in ipairs(call.sliding) do
  local key = next_key()
  local wait = sliding_wait(key, one.span_ms, one.most, now)
  add(int(redis.call('ZCOUNT', key, '(' .. int(now - one.span_ms), '+inf')))
  add(wait and int(now + wait) or '0')
end
local function window(key, field, span)
  local kept = redis.call('HMGET', key, field .. ':start', field .. ':sends')
  local ends = tonumber(kept[1] or '0') + span
  if ends <= now then return 0, 0 end
  return tonumber(kept[2] or '0'), ends
end
for _, one in ipairs(call.windows) do
  local count, ends = window(next_key(), one.field, one.span_ms)
  add(int(count))
  add(int(count >= one.most and ends or 0))
end
for _ = 1, call.failures do add(redis.call('HGET', next_key(), 'until') or '0') end
if call.proven then
  local nets = { redis.call('HGETALL', next_key()), redis.call('HGETALL', next_key()) }
  add(is_proven(call.proven, now) and window(next_key(), 'day', 86400000) < call.passes and '1' or '0')
  for _, net in ipairs(nets) do
    add(int(#net))
    for _, word in ipairs(net) do add(word) end
  end
end
return answer
