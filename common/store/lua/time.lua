-- The server's own time in milliseconds, shifted by a test's offset: gateways whose clocks differ share it.
local function now_ms(ahead)
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ahead)
end
-- Lua would write 1.7e+12.
local function int(number)
  return string.format('%.0f', number)
end
