-- Notes that the guesses of a code are spent, as the database knows. KEYS: code. ARGV: code id, attempts
local code = redis.call('HMGET', KEYS[1], 'id', 'tries')
if code[1] == ARGV[1] and tonumber(code[2] or '0') < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'tries', ARGV[2])
end
return 1
