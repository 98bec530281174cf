-- Counts a write of a session or an account in a sliding minute. Returns the wait in milliseconds if it exceeds the limit, else 0.
-- KEYS: its writes. ARGV: ahead, writes a minute, a member for the write
local MINUTE = 60000
local now = now_ms(ARGV[1])
local wait = sliding_wait(KEYS[1], MINUTE, tonumber(ARGV[2]), now)
if wait then return wait end
sliding_add(KEYS[1], MINUTE, ARGV[3], now)
return 0
