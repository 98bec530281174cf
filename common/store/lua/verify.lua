-- Counts an attempt, then compares it.
-- KEYS: code, attempts without a code, and last those of logins.lua
-- ARGV: a VerifyCall
local call = cjson.decode(ARGV[1])
local attempts, now = call.attempts, now_ms(call.ahead_ms)
local wait = count_login(2, call.addresses, now, call.member)
if wait then return { 'limited', int(wait) } end

local named = call.request_id or ''
-- The attempts of a few known devices at a code are counted apart from everybody else's.
local counter, is_new = 'tries', false
if call.device then
  local own = redis.call('HMGET', KEYS[1], 'd:' .. call.device, 'devices')
  is_new = not own[1] and tonumber(own[2] or '0') < call.devices
  if own[1] or is_new then counter = 'd:' .. call.device end
end
local code = redis.call('HMGET', KEYS[1], 'id', 'exp', 'used', 'digest', 'channel', 'r:' .. named, 'was:' .. named, counter)
local unexpired = code[1] and tonumber(code[2]) > now
local live = unexpired and code[3] ~= '1'
local guesses, till
if not live then
  local void = redis.call('HMGET', KEYS[2], 'guesses', 'until')
  guesses, till = tonumber(void[1] or '0'), tonumber(void[2] or '0')
  if till <= now then guesses, till = 0, now + call.ttl_ms end
end

if call.request_id and not (live and code[6] or unexpired and not live and code[7]) then
  -- It could never be right, so it costs nothing.
  return { 'foreign', int(now), int(math.max(attempts - (live and tonumber(code[8] or '0') or guesses), 0)) }
end

if live then
  if is_new then redis.call('HINCRBY', KEYS[1], 'devices', 1) end
  local tries = redis.call('HINCRBY', KEYS[1], counter, 1)
  if tries > attempts then
    redis.call('HSET', KEYS[1], counter, attempts)
    return { 'exhausted', code[1], int(now), code[2] }
  end
  if code[4] and code[4] == call.digest then
    -- Until it is known that no login used this code, no request joins it.
    redis.call('HINCRBY', KEYS[1], 'right', 1)
    local right = { 'right', code[1], int(now), code[2], int(attempts - tries), code[5] or 'sms' }
    for i, part in ipairs(redis.call('HGETALL', KEYS[1])) do right[#right + 1] = part end
    return right
  end
  return { 'wrong', code[1], int(now), code[2], int(attempts - tries) }
end

if guesses >= attempts then return { 'exhausted', '', int(now), int(till) } end
redis.call('HSET', KEYS[2], 'guesses', guesses + 1, 'until', int(till))
redis.call('PEXPIRE', KEYS[2], math.ceil(till - now))
return { 'wrong', '', int(now), int(till), int(attempts - guesses - 1) }
