-- Advances a request's status by rank and notifies the waiters.
local function raise(key, request, status, rank, reason, now)
  if tonumber(redis.call('HGET', key, 'rank') or '-1') >= rank then return 0 end
  redis.call('HSET', key, 'status', status, 'rank', rank, 'updated', int(now))
  if reason == '' then redis.call('HDEL', key, 'reason') else redis.call('HSET', key, 'reason', reason) end
  redis.call('PUBLISH', 'lk:status', request)
  return 1
end
