-- Counts a login in a sliding minute in each range of its address. Returns the wait in milliseconds, and counts nothing,
-- if it exceeds a limit, or if too many phones failed in a range. The keys come after the first `before` ones: the
-- logins of each range, then the waits.
local function count_login(before, addresses, now, member)
  local MINUTE, waits = 60000, before + #addresses.logins
  local function full(i, address) return sliding_wait(KEYS[before + i], MINUTE, address.most, now) end
  local function waiting(i)
    local till = tonumber(redis.call('HGET', KEYS[waits + i], 'until') or '0')
    return till > now and till - now or nil
  end
  local of_logins, of_failures = longest(addresses.logins, full), longest(addresses.failures, waiting)
  if of_logins or of_failures then return math.max(of_logins or 0, of_failures or 0) end
  for i in ipairs(addresses.logins) do sliding_add(KEYS[before + i], MINUTE, member, now) end
  return nil
end
