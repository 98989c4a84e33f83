-- Appends to a stream and tells every node, in one message. KEYS: meta, stream, result of the idempotency key (optional).
-- ARGV: live channel, epoch of a new stream, entries kept, their ttl in ms, the position's ttl in ms, the result's ttl in s, the store's id, bodies.
-- Returns epoch and offset of the first body, 16 hexadecimal digits each; the others follow it.
if KEYS[3] then
  local known = redis.call('GET', KEYS[3])
  if known then return known end
end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset')
local epoch, last = meta[1], tonumber(meta[2] or 0)
if not epoch then
  epoch, last = ARGV[2], 0
  -- A Redis that is full refuses the first write of a script, and none after it.
  redis.call('HSET', KEYS[1], 'began', 'p' .. ARGV[7] .. string.format('%08x', redis.call('TIME')[1]))
  redis.call('DEL', KEYS[2])
end
local place = epoch .. string.format('%016x', last + 1)
local live = {'1S', place}
for i = 8, #ARGV do
  last = last + 1
  local id = string.format('%.0f-0', last)
  if i < #ARGV then
    redis.call('XADD', KEYS[2], id, 'body', ARGV[i])
  else
    redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[3], id, 'body', ARGV[i])
  end
  live[#live + 1] = struct.pack('>I4', #ARGV[i])
  live[#live + 1] = ARGV[i]
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', string.format('%.0f', last), 'tag', string.sub(ARGV[#ARGV], 1, 8))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PUBLISH', ARGV[1], table.concat(live))
if KEYS[3] then redis.call('SET', KEYS[3], place, 'EX', ARGV[6]) end
return place
