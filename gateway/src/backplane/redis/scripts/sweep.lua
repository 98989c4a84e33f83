-- Ends the presence of some of a dead node's clients in one channel. KEYS: members, leases. ARGV: node, live channel, cursor, members
-- looked at. Returns the next cursor; 0 after the last.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if lease and tonumber(lease) > now then return '0' end
local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
local members = page[2]
for i = 1, #members, 2 do
  local member = members[i + 1]
  if string.sub(member, 1, 16) == ARGV[1] and redis.call('HDEL', KEYS[1], members[i]) == 1 then
    if string.sub(member, 17, 17) == 'a' then redis.call('PUBLISH', ARGV[2], '1L' .. string.sub(member, 18)) end
  end
end
return page[1]
