-- Forgets what an account leaves under its phone.
-- KEYS: code, attempts without a code, messages, first answers, the number that its user requested to change to. ARGV:
-- prefix of request keys
unwant(KEYS[1], ARGV[1])
for _, first in ipairs(redis.call('SMEMBERS', KEYS[4])) do redis.call('DEL', first) end
redis.call('DEL', unpack(KEYS))
return 1
