-- Applies what events say of requests, one after the other; creates the records that were lost.
-- KEYS: open requests, and the request of each. ARGV: a StatusCall
-- Returns for each whether its status changed.
local call = cjson.decode(ARGV[1])
local now, changed = now_ms(call.ahead_ms), {}
for i, one in ipairs(call.raises) do
  changed[i] = raise_by_event(KEYS[i + 1], KEYS[1], one, call.status_kept_ms, now)
end
return changed
