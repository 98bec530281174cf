-- Notes that the guesses of a code are spent, as the database knows. KEYS: code. ARGV: code id, attempts
local code = redis.call('HMGET', KEYS[1], 'id', 'tries')
if code[1] ~= ARGV[1] then return 1 end
if tonumber(code[2] or '0') < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 'tries', ARGV[2]) end
-- Right or wrong, a guess at it opens nothing: asks wait for its end.
redis.call('HDEL', KEYS[1], 'right')
return 1
