-- Records that the attempts of a code are exhausted, by the database's count. KEYS: code. ARGV: code id, attempts, the known
-- device whose attempts they were ('' for none)
-- A device that was not counted apart has no field.
local counter = redis.call('HEXISTS', KEYS[1], 'd:' .. ARGV[3]) == 1 and 'd:' .. ARGV[3] or 'tries'
local code = redis.call('HMGET', KEYS[1], 'id', counter)
if code[1] ~= ARGV[1] then return 1 end
if tonumber(code[2] or '0') < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], counter, ARGV[2]) end
-- Correct or not, no further check of it succeeds: requests wait for its expiry. One device's end says nothing of others.
if counter == 'tries' then redis.call('HDEL', KEYS[1], 'right') end
return 1
