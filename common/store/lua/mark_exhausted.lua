-- Records that the attempts of a code are exhausted, by the database's count. KEYS: code. ARGV: code id, attempts
local code = redis.call('HMGET', KEYS[1], 'id', 'tries')
if code[1] ~= ARGV[1] then return 1 end
if tonumber(code[2] or '0') < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'tries', ARGV[2]) end
-- Correct or not, no further check of it succeeds: requests wait for its expiry.
redis.call('HDEL', KEYS[1], 'right')
return 1
