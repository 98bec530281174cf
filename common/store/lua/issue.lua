-- Puts a code into the request's slot, or returns the code that is already there, and advances the request's status.
-- KEYS: code, request, open requests. ARGV: an IssueCall
local call = cjson.decode(ARGV[1])
local id, expires, now = call.code_id, call.expires_at_ms, now_ms(call.ahead_ms)
if now >= expires then return { 'expired' } end
local there = redis.call('HMGET', KEYS[1], 'id', 'exp', 'used', 'sealed', 'r:' .. call.request_id)
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
local turn = there[5] and string.match(there[5], '^%d+') or redis.call('HINCRBY', KEYS[1], 'asks', 1)
local note, sealed = turn .. ' ' .. call.note, there[4]
if call.code and not sealed then
  sealed = call.code.sealed
  redis.call('HSET', KEYS[1], 'r:' .. call.request_id, note, 'channel', call.channel, 'digest', call.code.digest, 'sealed', sealed)
else
  redis.call('HSET', KEYS[1], 'r:' .. call.request_id, note, 'channel', call.channel)
end
local raised = sealed and call.with_code or not sealed and call.without_code
if raised then raise_by_event(KEYS[2], KEYS[3], raised, call.status_kept_ms, now) end
if not sealed then return { 'nothing' } end
return { 'code', sealed }
