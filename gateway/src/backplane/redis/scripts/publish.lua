-- Appends to a stream and tells every node. KEYS: meta, stream, result of the idempotency key (optional).
-- ARGV: live channel, body, epoch of a new stream, entries kept, their ttl in ms, the position's ttl in ms, the result's ttl in s.
-- Returns epoch and offset, 16 hexadecimal digits each.
if KEYS[3] then
  local known = redis.call('GET', KEYS[3])
  if known then return known end
end
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
local offset = redis.call('HINCRBY', KEYS[1], 'offset', 1)
redis.call('HSET', KEYS[1], 'tag', string.sub(ARGV[2], 1, 8))
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[4], string.format('%.0f-0', offset), 'body', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local place = epoch .. string.format('%016x', offset)
redis.call('PUBLISH', ARGV[1], '1S' .. place .. ARGV[2])
if KEYS[3] then redis.call('SET', KEYS[3], place, 'EX', ARGV[7]) end
return place
