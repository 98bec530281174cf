-- The keys of a code request by name, for `admit` and `withdraw`: in this order, and after them the sends of each range of
-- its address.
local code_key, cooldown_key, sends_key, first_key, country_key, prefix_key, world_key, request_key = unpack(KEYS, 1, 8)
-- The open requests, all first answers of the phone, the guard's nets, the budgets of the known device and of the proven
-- phone, what the asker was forgiven, and the budget that all known devices of the phone share.
local open_key, firsts_key, prefix_net_key, country_net_key, device_key, proven_key, forgiven_key, devices_key = unpack(KEYS, 9, 16)
local function address_key(i)
  return KEYS[16 + i]
end
