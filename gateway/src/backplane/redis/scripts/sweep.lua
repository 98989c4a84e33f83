-- Ends the presence of a dead node's clients in one channel. KEYS: members, leases. ARGV: node, live channel.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if lease and tonumber(lease) > now then return 0 end
local members = redis.call('HGETALL', KEYS[1])
for i = 1, #members, 2 do
  local member = members[i + 1]
  if string.sub(member, 1, 16) == ARGV[1] then
    redis.call('HDEL', KEYS[1], members[i])
    if string.sub(member, 17, 17) == 'a' then redis.call('PUBLISH', ARGV[2], '1L' .. string.sub(member, 18)) end
  end
end
return 1
