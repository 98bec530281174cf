-- Records, while a first answer is kept, that the broker has its event. KEYS: first answer. ARGV: request
if redis.call('HGET', KEYS[1], 'request') == ARGV[1] then redis.call('HSET', KEYS[1], 'published', 1) end
return 1
