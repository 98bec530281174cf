-- The longest of the waits that `wait_of(i, one)` gives for the members of a list; nil if there is none.
local function longest(list, wait_of)
  local wait
  for i, one in ipairs(list) do
    local of_one = wait_of(i, one)
    if of_one and (not wait or of_one > wait) then wait = of_one end
  end
  return wait
end
