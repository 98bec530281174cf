-- The pumping guard: follows the rule of src/guard/net.rs and judge.rs step by step; they give the reasons.
-- A net is a hash: state, level, until, last, probes, probes_verified, first (a minute at or before the oldest counted
-- one), sends and verified (sums of the window), and s<minute> and v<minute>.
local SCALARS = { 'state', 'level', 'until', 'last', 'probes', 'probes_verified', 'first', 'sends', 'verified' }

-- Loads the nets for one operation under `rule`, a guard::Rule.
local function guard_nets(prefix_key, country_key, rule, now)
  local minute, settle = math.floor(now / 60000), math.ceil(rule.settle_secs / 60)
  rule.window = math.ceil(rule.window_secs / 60)
  rule.settle_ms, rule.forget_ms = rule.settle_secs * 1000, rule.forget_secs * 1000
  rule.block_ms, rule.cap_ms = rule.block_secs * 1000, math.max(rule.block_cap_secs, rule.block_secs) * 1000
  local fields = { unpack(SCALARS) }
  for back = 0, settle - 1 do fields[#fields + 1] = 's' .. int(minute - back) end
  local function load(key, kind, factor)
    local found = redis.call('HMGET', key, unpack(fields))
    local young = 0
    for i = #SCALARS + 1, #fields do young = young + (found[i] or 0) end
    for i = 1, #SCALARS do found[i] = tonumber(found[i] or 0) end
    local state, level, till, last, probes, probes_verified, first, sends, verified = unpack(found, 1, #SCALARS)
    return { key = key, kind = kind, now = now, minute = minute, settle = settle, rule = rule, min_sends = rule.min_sends * factor,
      doubt = rule.doubt * factor, stored = found, young = young, state = state, level = level, ['until'] = till, last = last,
      probes = probes, probes_verified = probes_verified, first = first, sends = sends, verified = verified, before = { state, level } }
  end
  return load(prefix_key, 'prefix', 1), load(country_key, 'country', rule.country_factor)
end

local OPEN, BLOCKED, PROBING = 0, 1, 2

-- Forgets the window's counts.
local function guard_clear(net)
  redis.call('DEL', net.key)
  net.stored, net.renewed = {}, true
  net.first, net.sends, net.verified, net.young = 0, 0, 0, 0
end

local function guard_reset(net, state, level, last)
  guard_clear(net)
  net.state, net.level, net.last = state, level, last
  net['until'], net.probes, net.probes_verified = 0, 0, 0
end

-- Drops minutes that have left the window.
local function guard_slide(net)
  local edge = net.minute - net.rule.window
  if net.first == 0 or net.first > edge then return end
  if edge >= net.first + net.rule.window - 1 then return guard_clear(net) end
  local fields = {}
  for at = net.first, edge do
    fields[#fields + 1] = 's' .. at
    fields[#fields + 1] = 'v' .. at
  end
  for i, count in ipairs(redis.call('HMGET', net.key, unpack(fields))) do
    local name = i % 2 == 1 and 'sends' or 'verified'
    net[name] = net[name] - tonumber(count or '0')
  end
  redis.call('HDEL', net.key, unpack(fields))
  net.first = edge + 1
end

local function guard_converts_too_little(net)
  local judged = net.sends - math.min(net.young, net.doubt)
  return judged >= net.min_sends and net.verified * 1000 < net.rule.conversion_permille * judged
end

local function guard_shut(net, at)
  net.level = at - net.last >= net.rule.forget_ms and 1 or net.level + 1
  net.state = BLOCKED
  net['until'] = at + math.min(net.rule.block_ms * 2 ^ math.min(net.level - 1, 20), net.rule.cap_ms)
  net.last = net['until']
end

local function guard_wake(net)
  guard_slide(net)
  if net.state ~= OPEN and net.now - net.last >= net.rule.forget_ms then guard_reset(net, OPEN, 0, 0) end
  if net.state == PROBING and net.probes >= net.rule.probes and net['until'] <= net.now then guard_shut(net, net['until']) end
  if net.state == BLOCKED and net['until'] <= net.now then guard_reset(net, PROBING, net.level, net.last) end
  if net.state == OPEN and guard_converts_too_little(net) then guard_shut(net, net.now) end
end

local function guard_refuses(net)
  if net.state == BLOCKED or net.state == PROBING and net.probes >= net.rule.probes then return net['until'] - net.now end
end

local function guard_is_proven(net)
  return net.state == OPEN and net.verified > 0 and net.verified * 1000 >= net.rule.conversion_permille * net.sends
end

local function guard_add(net, letter)
  if redis.call('HINCRBY', net.key, letter .. int(net.minute), 1) == 1 then net.renewed = true end
  if net.first == 0 or net.minute < net.first then net.first = net.minute end
end

-- Counts an admitted send. Returns whether it is a probe.
local function guard_count(net)
  if net.state == PROBING then
    net.probes = net.probes + 1
    if net.probes >= net.rule.probes then net['until'] = net.now + net.rule.settle_ms end
    return true
  end
  guard_add(net, 's')
  net.sends, net.young = net.sends + 1, net.young + 1
  if guard_converts_too_little(net) then guard_shut(net, net.now) end
  return false
end

local function guard_acquit(net)
  if net.state == BLOCKED and net.probes == 0 and not guard_converts_too_little(net) then
    net.state, net.level, net['until'], net.last = OPEN, net.level - 1, 0, net.now
  end
end

local function guard_withdraw(net, minute, was_probe)
  guard_slide(net)
  if was_probe then
    if net.state == PROBING and net.probes > 0 then net.probes, net['until'] = net.probes - 1, 0 end
    return
  end
  if tonumber(redis.call('HGET', net.key, 's' .. minute) or '0') > 0 then
    redis.call('HINCRBY', net.key, 's' .. minute, -1)
    net.sends = net.sends - 1
    if net.minute - minute < net.settle and minute <= net.minute then net.young = net.young - 1 end
  end
  guard_acquit(net)
end

local function guard_verify(net)
  guard_slide(net)
  if net.probes == 0 then
    guard_add(net, 'v')
    net.verified = net.verified + 1
    return guard_acquit(net)
  end
  net.probes_verified = net.probes_verified + 1
  if net.probes_verified >= net.rule.probes_verified then guard_reset(net, OPEN, net.level, net.now) end
end

local NAMES = { [OPEN] = 'open', [BLOCKED] = 'blocked', [PROBING] = 'probing' }

-- Stores what changed of a net, and appends its change to `words`. Its expiry is put off in each minute in which it counts
-- and at each other change. It includes the window, which is longer than a minute: nothing that matters expires.
local function guard_keep(net, words)
  local fields = {}
  for i, name in ipairs(SCALARS) do
    if net[name] ~= (net.stored[i] or 0) then
      fields[#fields + 1] = name
      fields[#fields + 1] = int(net[name])
      if name ~= 'sends' and name ~= 'verified' then net.renewed = true end
    end
  end
  if #fields > 0 then redis.call('HSET', net.key, unpack(fields)) end
  if net.renewed then
    redis.call('PEXPIRE', net.key, net.rule.cap_ms + net.rule.forget_ms + net.rule.window * 60000)
  end
  if net.before[1] ~= net.state or net.before[2] ~= net.level then
    local sends, verified = net.sends, net.verified
    if net.probes > 0 then sends, verified = net.probes, net.probes_verified end
    for _, word in ipairs({ net.kind, NAMES[net.state], int(sends), int(verified), int(net.level),
      int(net.state == BLOCKED and net['until'] or 0) }) do words[#words + 1] = word end
  end
end

-- What an operation showed: minute, sends and verifications of the country, 1 if it was or would have been refused,
-- changes.
local function guard_words(prefix, country, minute, refused)
  local words = { int(minute), int(country.sends), int(country.verified), refused and '1' or '0' }
  guard_keep(prefix, words)
  guard_keep(country, words)
  return words
end

-- Judges a request and counts it. Returns the wait if it is refused; the nets where it was counted, as `p` or `P` (a
-- probe) and `c` or `C`; and the words.
local function guard_judge(prefix, country)
  guard_wake(prefix)
  guard_wake(country)
  local passes = guard_is_proven(prefix)
  local wait = guard_refuses(prefix)
  local of_country = not passes and guard_refuses(country) or nil
  if of_country and (not wait or of_country > wait) then wait = of_country end
  local marks = ''
  if not wait then
    local wide = not passes or country.state == OPEN
    marks = guard_count(prefix) and 'P' or 'p'
    if wide then marks = marks .. (guard_count(country) and 'C' or 'c') end
  end
  return wait, marks, guard_words(prefix, country, prefix.minute, wait)
end

local function append(answer, words)
  for _, word in ipairs(words) do answer[#answer + 1] = word end
  return answer
end
