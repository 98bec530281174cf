-- Marks the requests of an obsolete code as unwanted: their unsent messages need not be sent.
local function unwant(code, requests)
  for _, field in ipairs(redis.call('HKEYS', code)) do
    if string.sub(field, 1, 2) == 'r:' then
      local request = requests .. string.sub(field, 3)
      if redis.call('EXISTS', request) == 1 then redis.call('HSET', request, 'closed', 1) end
      redis.call('HDEL', code, field)
    end
  end
end
