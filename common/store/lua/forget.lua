-- Forgets what an account leaves under its phone.
-- KEYS: code, attempts without a code, messages, first answers, the number that its user requested to change to,
-- who requested that.
-- ARGV: a ForgetCall
local call = cjson.decode(ARGV[1])
unwant(KEYS[1], call.request_keys, requests_of(KEYS[1]), {})
for _, first in ipairs(redis.call('SMEMBERS', KEYS[4])) do redis.call('DEL', first) end
redis.call('DEL', unpack(KEYS))
for _, set in ipairs(proven_sets(call.proven, now_ms(call.ahead_ms))) do redis.call('SREM', set, call.proven.member) end
return 1
