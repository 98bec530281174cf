-- Keeps what a process says of its load. KEYS: hash of all. ARGV: ahead, process and part, report, how long in ms
redis.call('HSET', KEYS[1], ARGV[2], int(now_ms(ARGV[1])) .. ' ' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
