-- Advances a request's status by rank and notifies the waiters. `reason` is nil or '' for none.
-- `lost`, if given, is called for a request without a record, and creates it.
local function raise(key, request, status, rank, reason, now, lost)
  local at = redis.call('HMGET', key, 'rank', 'reason')
  if tonumber(at[1] or '-1') >= tonumber(rank) then return 0 end
  if lost and not at[1] then lost() end
  if reason and reason ~= '' then
    redis.call('HSET', key, 'status', status, 'rank', rank, 'updated', int(now), 'reason', reason)
  else
    redis.call('HSET', key, 'status', status, 'rank', rank, 'updated', int(now))
    if at[2] then redis.call('HDEL', key, 'reason') end
  end
  redis.call('PUBLISH', 'lk:status', request)
  return 1
end

-- The same for what an event says of a request, a RaiseCall: a record that was lost comes back with it. `open` is the key
-- of the open requests.
local function raise_by_event(key, open, one, kept_ms, now)
  return raise(key, one.request_id, one.status, one.rank, one.reason, now, function()
    redis.call('HSET', key, 'expires', int(one.expires_at_ms))
    redis.call('PEXPIRE', key, math.max(math.ceil(one.expires_at_ms - now), 0) + kept_ms)
    redis.call('ZADD', open, int(one.expires_at_ms), one.request_id)
    redis.call('PEXPIRE', open, 86400000)
  end)
end
