-- The server's own time in milliseconds, shifted by a test's offset: gateways whose clocks differ share it.
local function now_ms(ahead)
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ahead)
end
-- Lua would write 1.7e+12. `%d` costs half of `%.0f`, but ends at 2^31 on a server of 32 bits. The same time is often written
-- several times in a row.
local format, last_number, last_text = string.format
local INTEGER = format('%d', 2 ^ 40) == '1099511627776' and '%d' or '%.0f'
local function int(number)
  if number ~= last_number then last_number, last_text = number, format(INTEGER, number) end
  return last_text
end
