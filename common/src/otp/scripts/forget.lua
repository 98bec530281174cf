-- Forgets what is kept under a phone. KEYS: the phone's keys, the last of them the list of its first answers
for _, first in ipairs(redis.call('SMEMBERS', KEYS[#KEYS])) do redis.call('DEL', first) end
redis.call('DEL', unpack(KEYS))
return 1
