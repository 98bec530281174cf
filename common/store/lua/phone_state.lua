-- What is kept of a phone, for staff: neither its code nor the digest of it. Changes nothing.
-- KEYS: code, attempts without a code, cooldown, sends. ARGV: a document without fields
local now = now_ms(cjson.decode(ARGV[1]).ahead_ms)
local code = redis.call('HMGET', KEYS[1], 'id', 'exp', 'used', 'tries')
local void = redis.call('HMGET', KEYS[2], 'guesses', 'until')
local function sent(span) return int(redis.call('ZCOUNT', KEYS[4], '(' .. int(now - span), '+inf')) end
return {
  int(now), code[1] or '', code[2] or '0', code[3] or '0', code[4] or '0', int(redis.call('HEXISTS', KEYS[1], 'digest')),
  void[1] or '0', void[2] or '0', redis.call('HGET', KEYS[3], 'until') or '0', sent(3600000), sent(86400000),
}
