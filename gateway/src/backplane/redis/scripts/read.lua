-- Reads a part of a stream. KEYS: meta, stream. ARGV: epoch of a new stream, the position's ttl in ms, order, first offset, last
-- offset, entries at most, how many of the last entries count (0: all). Orders: first and latest ascend and keep that end of more than enough entries, reverse descends.
-- Returns epoch, offset and tag of the stream's end, and the entries.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'tag')
if not meta[1] then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  meta = {ARGV[1], false, false}
end
local top = tonumber(meta[2] or 0)
local order, first, last, limit = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local size = tonumber(ARGV[7])
if size > 0 and first <= top - size then first = top - size + 1 end
local entries = {}
if limit > 0 and order == 'reverse' then
  entries = redis.call('XREVRANGE', KEYS[2], last, string.format('%.0f', first), 'COUNT', limit)
elseif limit > 0 then
  if order == 'latest' and top - first >= limit then first = top - limit + 1 end
  entries = redis.call('XRANGE', KEYS[2], string.format('%.0f', first), last, 'COUNT', limit)
end
return {meta[1], string.format('%.0f', top), meta[3] or '', entries}
