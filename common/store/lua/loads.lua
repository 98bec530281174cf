-- Returns what processes said of their load lately, and forgets the rest. KEYS: hash of all. ARGV: ahead, how long in ms
local now, reports = now_ms(ARGV[1]), {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, report = string.match(all[i + 1], '^(%d+) (.*)$')
  -- One from later was told before the server's clock was set back.
  if at and math.abs(now - at) < tonumber(ARGV[2]) then
    reports[#reports + 1] = report
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return reports
