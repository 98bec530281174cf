-- Closes a used code. KEYS: code, cooldown, attempts without a code, the guard's nets of prefix and country.
-- ARGV: a CloseCall
-- Returns the guard's words, or nothing if the guard did not count the code's sends or the code was closed before.
local call = cjson.decode(ARGV[1])
local now = now_ms(call.ahead_ms)
if call.proven then prove(call.proven, now) end
local verified = call.verified and call.request_keys .. call.verified
local record = verified and redis.call('HMGET', verified, 'rank', 'asker')
if record and record[1] then
  raise(verified, call.verified, 'verified', 5, '', now)
  -- Who signed in is forgiven what it asked before: by its own names, and as the asker of the request that it named. A
  -- request that it did not name may be a stranger's.
  local forgiven, cool = call.askers, redis.call('HMGET', KEYS[2], 'unanswered', 'since')
  if call.named then forgiven[#forgiven + 1] = record[2] or '' end
  for _, asker in ipairs(forgiven) do
    if asker ~= '' and cool[2] then
      local kept = call.forgiven_keys .. asker
      redis.call('HSET', kept, 'since', cool[2], 'forgiven', cool[1])
      redis.call('PEXPIRE', kept, 86400000)
    end
  end
end
local code = redis.call('HMGET', KEYS[1], 'id', 'used', 'tries', 'exp', 'guard', 'd:' .. (call.device or ''))
if code[1] ~= call.code_id or code[2] == '1' then return {} end
-- A stranger's count of attempts continues, so it does not reveal that the code was used.
if tonumber(redis.call('HGET', KEYS[3], 'until') or '0') <= tonumber(code[4]) and tonumber(code[4]) > now then
  -- A success was counted where `verify` counted it: a device that was not counted apart has no field.
  local successes = code[6] and 0 or call.successes
  redis.call('HSET', KEYS[3], 'guesses', math.max(tonumber(code[3] or '0') - successes, 0), 'until', code[4])
  redis.call('PEXPIRE', KEYS[3], math.ceil(code[4] - now))
end
-- Whoever names one of its requests sees attempts counted as before, until its expiry.
local ids, fields = requests_of(KEYS[1]), { 'used', 1 }
for _, id in ipairs(ids) do append(fields, { 'was:' .. id, 1 }) end
in_parts('HSET', KEYS[1], fields)
unwant(KEYS[1], call.request_keys, ids, { 'digest', 'sealed', 'guard' })
if not code[5] then return {} end
local prefix, country = guard_nets(KEYS[4], KEYS[5], call.rule, now)
if string.find(code[5], 'p') then guard_verify(prefix) end
if string.find(code[5], 'c') then guard_verify(country) end
return guard_words(prefix, country, prefix.minute, false)
