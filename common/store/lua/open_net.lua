-- Opens a net of the pumping guard by hand: it begins anew, with no counts against it. Returns 1 if it was blocked or
-- probing; one that is open keeps its counts.
-- KEYS: the net
if (redis.call('HGET', KEYS[1], 'state') or '0') == '0' then return 0 end
redis.call('DEL', KEYS[1])
return 1
