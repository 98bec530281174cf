-- Remembers a key that is accepted once. KEYS: key. ARGV: ahead, how long in ms
local now = now_ms(ARGV[1])
local over = tonumber(redis.call('GET', KEYS[1]) or 0)
if over > now then return 0 end
redis.call('SET', KEYS[1], int(now + ARGV[2]), 'PX', ARGV[2])
return 1
