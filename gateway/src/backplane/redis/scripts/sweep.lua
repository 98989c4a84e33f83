-- Ends the presence of some clients of a node that was given up, in one channel. KEYS: members, users. ARGV: node, live channel, cursor,
-- members looked at. Returns the next cursor, 0 after the last, and how many have gone.
local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
local members, gone = page[2], 0
for i = 1, #members, 2 do
  local member = members[i + 1]
  if string.sub(member, 1, 16) == ARGV[1] and redis.call('HDEL', KEYS[1], members[i]) == 1 then
    gone = gone + 1
    -- After node and flag, each after its length plus one in 4 bytes: client, user.
    local start = 25 + struct.unpack('>I4', string.sub(member, 18, 21)) - 1
    local length = struct.unpack('>I4', string.sub(member, start - 3, start)) - 1
    local user = string.sub(member, start + 1, start + length)
    if redis.call('HINCRBY', KEYS[2], user, -1) <= 0 then redis.call('HDEL', KEYS[2], user) end
    if string.sub(member, 17, 17) == 'a' then redis.call('PUBLISH', ARGV[2], '1L' .. string.sub(member, 18)) end
  end
end
return {page[1], gone}
