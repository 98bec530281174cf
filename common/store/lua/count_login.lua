-- Counts a login that is judged elsewhere. KEYS: as in logins.lua. ARGV: a CountLoginCall
local call = cjson.decode(ARGV[1])
return int(count_login(0, call.addresses, now_ms(call.ahead_ms), call.member) or 0)
