-- Adds a member to a set unless the set is full. Returns 1 for a member that is in it, else 0.
-- KEYS: set. ARGV: member, most, lifetime in ms
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
