-- Refunds an attempt that was counted but not judged. KEYS: code, attempts without a code.
-- ARGV: code id ('' for none), 1 if the check was correct and certainly did not use the code, the known device that it was
-- counted for ('' for none)
if ARGV[1] == '' then
  if tonumber(redis.call('HGET', KEYS[2], 'guesses') or '0') > 0 then redis.call('HINCRBY', KEYS[2], 'guesses', -1) end
  return 1
end
-- A device that was not counted apart has no field.
local counter = redis.call('HEXISTS', KEYS[1], 'd:' .. ARGV[3]) == 1 and 'd:' .. ARGV[3] or 'tries'
local code = redis.call('HMGET', KEYS[1], 'id', counter, 'right')
if code[1] ~= ARGV[1] then return 1 end
if tonumber(code[2] or '0') > 0 then redis.call('HINCRBY', KEYS[1], counter, -1) end
if ARGV[2] == '1' and tonumber(code[3] or '0') > 0 then redis.call('HINCRBY', KEYS[1], 'right', -1) end
return 1
