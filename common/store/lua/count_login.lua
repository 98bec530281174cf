-- Counts a login that is judged elsewhere. KEYS: logins of the address. ARGV: ahead, logins a minute, a member for the
-- login
return count_login(KEYS[1], now_ms(ARGV[1]), tonumber(ARGV[2]), ARGV[3]) or 0
