-- Closes requests past their expiry that reached no end state. KEYS: open requests. ARGV: ahead, most, prefix of
-- request keys
-- Returns how many were looked at, then each closed request with its last status.
local now = now_ms(ARGV[1])
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, tonumber(ARGV[2]))
local swept = { int(#over) }
for _, request in ipairs(over) do
  local key = ARGV[3] .. request
  local at = redis.call('HMGET', key, 'status', 'rank')
  if at[1] and tonumber(at[2]) < 4 then
    raise(key, request, 'expired', 5, '', now)
    swept[#swept + 1] = request
    swept[#swept + 1] = at[1]
  end
  redis.call('ZREM', KEYS[1], request)
end
return swept
