-- Keeps a text for the inbox, once. KEYS: texts of the phone. ARGV: message, sealed text, how long they are kept in ms
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
