-- Keeps a message for the inbox, once. KEYS: messages of the phone. ARGV: message, sealed message, how long they are
-- kept in ms
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
