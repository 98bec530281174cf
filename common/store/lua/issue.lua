-- Puts a code into the request's slot, or returns the code that is already there.
-- KEYS: code. ARGV: an IssueCall
local call = cjson.decode(ARGV[1])
local id, expires, now = call.code_id, call.expires_at_ms, now_ms(call.ahead_ms)
if now >= expires then return { 'expired' } end
local there = redis.call('HMGET', KEYS[1], 'id', 'exp', 'used', 'sealed')
-- The newer code expires later, by this server's clock. Ids come from the gateways' clocks, which may differ by more
-- than a code's lifetime; they decide only between codes of the same millisecond.
if there[1] and there[1] ~= id then
  local ends = tonumber(there[2])
  if ends > expires or (ends == expires and there[1] > id) then return { 'superseded' } end
  redis.call('DEL', KEYS[1])
  there = {}
end
if there[3] == '1' then return { 'used' } end
if not there[1] then
  redis.call('HSET', KEYS[1], 'id', id, 'exp', int(expires), 'tries', 0, 'asks', 0)
  redis.call('PEXPIRE', KEYS[1], math.ceil(expires - now) + 60000)
end
local asked = redis.call('HGET', KEYS[1], 'r:' .. call.request_id)
local turn = asked and string.match(asked, '^%d+') or redis.call('HINCRBY', KEYS[1], 'asks', 1)
redis.call('HSET', KEYS[1], 'r:' .. call.request_id, turn .. ' ' .. call.note, 'channel', call.channel)
if there[4] then return { 'code', there[4] } end
if not call.code then return { 'nothing' } end
redis.call('HSET', KEYS[1], 'digest', call.code.digest, 'sealed', call.code.sealed)
return { 'code', call.code.sealed }
