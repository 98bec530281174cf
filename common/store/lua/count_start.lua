-- Counts a start of a message. KEYS: starts. ARGV: how long they are remembered in ms
local starts = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return starts
