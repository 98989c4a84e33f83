-- The members whose node is alive. KEYS: members, leases.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf')) do alive[node] = true end
local members = {}
for _, member in ipairs(redis.call('HVALS', KEYS[1])) do
  if alive[string.sub(member, 1, 16)] then members[#members + 1] = member end
end
return members
