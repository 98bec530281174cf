-- The sets that may hold a phone that verified a code in the last 90 days: by 30 days, the current ones first. A member
-- is an integer, so that Redis keeps a small set of them in 8 bytes each.
local function proven_sets(proven, now)
  local epoch, sets = math.floor(now / proven.epoch_ms), {}
  for back = 0, 3 do sets[back + 1] = proven.keys .. (epoch - back) .. ':' .. proven.bucket end
  return sets
end

local function is_proven(proven, now)
  for _, set in ipairs(proven_sets(proven, now)) do
    if redis.call('SISMEMBER', set, proven.member) == 1 then return true end
  end
  return false
end

-- Remembers a phone in the current set only.
local function prove(proven, now)
  local sets = proven_sets(proven, now)
  if redis.call('SADD', sets[1], proven.member) == 0 then return end
  redis.call('PEXPIRE', sets[1], 4 * proven.epoch_ms - math.floor(now % proven.epoch_ms))
  for back = 2, #sets do redis.call('SREM', sets[back], proven.member) end
end
