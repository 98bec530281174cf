-- Checks a request against every limit; if none refuses, counts it and joins it to the live code or opens a slot for
-- one.
-- KEYS: as in admission_keys.lua. ARGV: an AdmitCall
local call = cjson.decode(ARGV[1])
local request, attempts, key_given, limits = call.request_id, call.attempts, call.idempotency, call.limits
local cooldown, addresses = limits.resend_cooldown_secs * 1000, call.addresses
local phone_hour, phone_day = limits.sends_per_phone_hour, limits.sends_per_phone_day
local windows = {
  { prefix_key, 'prefix', limits.sends_per_prefix_hour, limits.sends_per_prefix_day },
  { country_key, 'country', limits.sends_per_country_hour, limits.sends_per_country_day },
  { world_key, 'global', 0, limits.sends_global_day },
}
local HOUR, DAY = 3600000, 86400000
local now = now_ms(call.ahead_ms)

if key_given then
  local first = redis.call('HMGET', first_key, 'body', 'request', 'code', 'channel', 'expires', 'resend', 'published')
  if first[1] then
    if first[1] ~= key_given.body then return { 'reused' } end
    -- The caller of this replay may publish the same request: from now on the first caller alone must not withdraw it.
    redis.call('HINCRBY', first_key, 'replays', 1)
    return { 'replayed', first[2], first[3], first[4], int(now), first[5], first[6], first[7] }
  end
end

-- The wait until a full window, which began with its first send, is over.
local function window(key, field, span, most)
  if most == 0 then return nil end
  local at = redis.call('HMGET', key, field .. ':start', field .. ':sends')
  local start = tonumber(at[1] or '0')
  if start + span <= now or tonumber(at[2] or '0') < most then return nil end
  return start + span - now
end
local function count(key, field, span)
  local start = tonumber(redis.call('HGET', key, field .. ':start') or '0')
  if start + span <= now then
    redis.call('HSET', key, field .. ':start', int(now), field .. ':sends', 1)
    redis.call('PEXPIRE', key, DAY)
  else
    redis.call('HINCRBY', key, field .. ':sends', 1)
  end
end

-- Budgets of its own by which a request passes limits that others used up: the known device's, and for the nets that
-- count many phones also the proven phone's. One request costs a budget once, whatever it passes.
local function device_left()
  return not window(device_key, 'day', DAY, call.passes) and not window(devices_key, 'day', DAY, call.phone_passes)
end
local device_passes = call.known_device and device_left()
local by_device, by_phone = false, false
local function pass_by_device()
  by_device = by_device or device_passes
  return by_device
end
local function pass_by_trust()
  if pass_by_device() then return true end
  by_phone = by_phone or call.proven_passes and not window(proven_key, 'day', DAY, call.passes) and is_proven(call.proven, now)
  return by_phone
end

local code = redis.call('HMGET', code_key, 'id', 'exp', 'tries', 'used', 'right', 'd:' .. (call.device or ''), 'devices', 'guard')
local expires = tonumber(code[2] or '0')
local live = code[1] and expires > now and code[4] ~= '1'
-- A correct check may have used the code without a confirmed outcome (W6): no request joins it, and a new code replaces
-- it.
local perhaps_used = live and tonumber(code[5] or '0') > 0
if call.only_code and (not live or perhaps_used or code[1] ~= call.only_code) then return { 'gone' } end
if live and not perhaps_used then
  -- A known device whose attempts are counted apart joins a code that strangers exhausted, but none that it exhausted.
  local own = call.device and (code[6] or tonumber(code[7] or '0') < call.devices and '0')
  local refused = tonumber(code[3] or '0') >= attempts
  if own then refused = tonumber(own) >= attempts or refused and not pass_by_device() end
  if refused then return { 'exhausted', int(expires - now) } end
end

local cool = redis.call('HMGET', cooldown_key, 'until', 'unanswered', 'since')
local waits = tonumber(cool[1] or '0') - now
if cooldown > 0 and waits > 0 then
  local last = device_passes and tonumber(redis.call('HGET', device_key, 'last') or '0')
  local own = last and last + cooldown - now or waits
  if own > 0 then return { 'limited', 'cooldown', int(math.min(own, waits)) } end
  pass_by_device()
end
local function never() return false end
local function of_address(i, address) return sliding_wait(address_key(i), HOUR, address.most, now) end
local of_hour, of_day = sliding_waits(sends_key, HOUR, phone_hour, DAY, phone_day, now)
local refused = { { 'phone_hour', of_hour, pass_by_device }, { 'phone_day', of_day, pass_by_device },
  { 'ip_hour', longest(addresses, of_address), never } }
for _, w in ipairs(windows) do
  local passes = w[2] == 'global' and never or pass_by_trust
  refused[#refused + 1] = { w[2] .. '_hour', window(w[1], 'hour', HOUR, w[3]), passes }
  refused[#refused + 1] = { w[2] .. '_day', window(w[1], 'day', DAY, w[4]), passes }
end
for _, one in ipairs(refused) do
  if one[2] and not one[3]() then return { 'limited', one[1], int(one[2]) } end
end

-- This check comes last: nothing refuses the request after it, so what it counts is sent.
local marks, noted = nil, {}
if call.guard ~= 'off' then
  local blocked
  blocked, marks, noted = guard_judge(guard_nets(prefix_net_key, country_net_key, call.rule, now))
  if blocked and call.guard == 'enforce' then
    if not pass_by_trust() then return append({ 'limited', 'blocked', int(blocked) }, noted) end
    noted[4] = '0'
  end
end

local resend = now
if cooldown > 0 then
  -- The count goes on after a sign-in: what its asker was forgiven is kept apart, so that others' waits do not tell of
  -- it.
  local unanswered, since = tonumber(cool[2] or '0'), tonumber(cool[3] or int(now))
  if since + DAY <= now then unanswered, since = 0, now end
  local kept = redis.call('HMGET', forgiven_key, 'since', 'forgiven')
  local rungs = math.max(unanswered - (kept[1] == int(since) and tonumber(kept[2]) or 0), 0)
  resend = now + math.min(cooldown * 2 ^ math.min(rungs, 30), math.max(call.cooldown_cap_ms, cooldown))
  redis.call('HSET', cooldown_key, 'until', int(resend), 'unanswered', unanswered + 1, 'since', int(since), 'before', cool[1] or '0')
  redis.call('PEXPIRE', cooldown_key, DAY)
end
if by_device then
  count(device_key, 'day', DAY)
  count(devices_key, 'day', DAY)
end
if by_phone then count(proven_key, 'day', DAY) end
if call.known_device then
  redis.call('HSET', device_key, 'last', int(now))
  redis.call('PEXPIRE', device_key, DAY)
  if device_left() then resend = math.min(resend, now + cooldown) end
end
if phone_hour + phone_day > 0 then sliding_add(sends_key, DAY, request, now) end
for i in ipairs(addresses) do sliding_add(address_key(i), HOUR, request, now) end
for _, w in ipairs(windows) do
  if w[3] > 0 then count(w[1], 'hour', HOUR) end
  if w[4] > 0 then count(w[1], 'day', DAY) end
end

-- Which nets the code's verification will count in: `-` that it was sent, `p` and `c` for the nets that counted it.
local function proves(before)
  if not marks then return nil end
  local function counts(letters) return string.find((before or '') .. marks, letters) end
  return '-' .. (counts('[pP]') and 'p' or '') .. (counts('[cC]') and 'c' or '')
end
local id = code[1]
if not live or perhaps_used then
  if perhaps_used then unwant(code_key, call.request_keys, requests_of(code_key), {}) end
  if id then redis.call('DEL', code_key) end
  id, expires = call.new_code_id, now + call.ttl_ms
  local fields = { 'id', id, 'exp', int(expires), 'tries', 0, 'asks', 1, 'channel', call.channel, 'r:' .. request, '1 ' .. call.note }
  redis.call('HSET', code_key, unpack(append(fields, marks and { 'guard', proves() } or {})))
  redis.call('PEXPIRE', code_key, call.ttl_ms + 60000)
else
  local fields = { 'r:' .. request, redis.call('HINCRBY', code_key, 'asks', 1) .. ' ' .. call.note }
  redis.call('HSET', code_key, unpack(append(fields, marks and { 'guard', proves(code[8]) } or {})))
end

local fields = { 'status', 'accepted', 'rank', 0, 'updated', int(now), 'expires', int(expires), 'channel', call.channel,
  'asker', call.asker, 'passed', (by_device and 'd' or '') .. (by_phone and 'p' or '') }
redis.call('HSET', request_key, unpack(append(fields, marks and { 'guard', noted[1] .. ' ' .. marks } or {})))
redis.call('PEXPIRE', request_key, math.ceil(expires - now) + call.status_kept_ms)
redis.call('ZADD', open_key, int(expires), request)
redis.call('PEXPIRE', open_key, DAY)

if key_given then
  redis.call('HSET', first_key, 'body', key_given.body, 'request', request, 'code', id, 'channel', call.channel, 'expires', int(expires),
    'resend', int(resend), 'published', 0)
  redis.call('PEXPIRE', first_key, call.idempotency_kept_ms)
  redis.call('SADD', firsts_key, first_key)
  redis.call('PEXPIRE', firsts_key, call.idempotency_kept_ms)
end
return append({ 'admitted', id, int(now), int(expires), int(resend) }, noted)
