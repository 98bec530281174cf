-- Notes that the event of a first answer is with the broker, while that answer is kept. KEYS: first answer. ARGV: request
if redis.call('HGET', KEYS[1], 'request') == ARGV[1] then redis.call('HSET', KEYS[1], 'published', 1) end
return 1
