-- Calls a command on a key with any number of words: Lua passes some thousand at once, at most.
local function in_parts(command, key, words)
  for i = 1, #words, 1000 do redis.call(command, key, unpack(words, i, math.min(i + 999, #words))) end
end

-- The requests of a code.
local function requests_of(code)
  local ids = {}
  for _, field in ipairs(redis.call('HKEYS', code)) do
    if string.sub(field, 1, 2) == 'r:' then ids[#ids + 1] = string.sub(field, 3) end
  end
  return ids
end

-- Marks the requests of an obsolete code as unwanted: their unsent messages need not be sent. Removes them from the code,
-- and the fields of `gone` with them.
local function unwant(code, requests, ids, gone)
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', requests .. id) == 1 then redis.call('HSET', requests .. id, 'closed', 1) end
    gone[#gone + 1] = 'r:' .. id
  end
  in_parts('HDEL', code, gone)
end
