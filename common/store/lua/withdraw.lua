-- Withdraws an admitted request and its counts: its event certainly never reached the broker.
-- KEYS: as in admission_keys.lua. ARGV: a WithdrawCall
-- Returns the guard's words if it had counted the request. Does nothing if another call with the same key may have
-- published it.
local call = cjson.decode(ARGV[1])
local request, key_given, limits = call.request_id, call.idempotency, call.limits
if key_given then
  local first = redis.call('HMGET', first_key, 'request', 'published', 'replays')
  if first[1] == request and (first[2] == '1' or first[3]) then return {} end
end
if redis.call('HDEL', code_key, 'r:' .. request) == 0 then return {} end
-- The slot goes with its last request, unless a code was issued: somebody may hold it. `asks` cannot tell, because it
-- numbers the requests and never decreases.
local needed = false
for _, field in ipairs(redis.call('HKEYS', code_key)) do
  needed = needed or field == 'sealed' or string.sub(field, 1, 2) == 'r:'
end
if not needed then redis.call('DEL', code_key) end
if limits.resend_cooldown_secs > 0 then
  local cool = redis.call('HMGET', cooldown_key, 'unanswered', 'before')
  if tonumber(cool[1] or '0') > 0 then
    redis.call('HSET', cooldown_key, 'until', cool[2] or '0', 'unanswered', tonumber(cool[1]) - 1)
  end
end
redis.call('ZREM', sends_key, request)
for i in ipairs(call.addresses) do redis.call('ZREM', address_key(i), request) end
local function uncount(key, field)
  if tonumber(redis.call('HGET', key, field) or '0') > 0 then redis.call('HINCRBY', key, field, -1) end
end
for _, w in ipairs({ { prefix_key, limits.sends_per_prefix_hour, limits.sends_per_prefix_day },
  { country_key, limits.sends_per_country_hour, limits.sends_per_country_day }, { world_key, 0, limits.sends_global_day } }) do
  if w[2] > 0 then uncount(w[1], 'hour:sends') end
  if w[3] > 0 then uncount(w[1], 'day:sends') end
end
local passed = redis.call('HGET', request_key, 'passed') or ''
if string.find(passed, 'd') then
  uncount(device_key, 'day:sends')
  uncount(devices_key, 'day:sends')
end
if string.find(passed, 'p') then uncount(proven_key, 'day:sends') end
if call.known_device then redis.call('HDEL', device_key, 'last') end
local minute, marks = string.match(redis.call('HGET', request_key, 'guard') or '', '^(%d+) (%a*)$')
redis.call('DEL', request_key)
redis.call('ZREM', open_key, request)
if key_given and redis.call('HGET', first_key, 'request') == request then redis.call('DEL', first_key) end
if not minute then return {} end
local prefix, country = guard_nets(prefix_net_key, country_net_key, call.rule, now_ms(call.ahead_ms))
minute = tonumber(minute)
if string.find(marks, '[pP]') then guard_withdraw(prefix, minute, string.find(marks, 'P')) end
if string.find(marks, '[cC]') then guard_withdraw(country, minute, string.find(marks, 'C')) end
return guard_words(prefix, country, minute, false)
