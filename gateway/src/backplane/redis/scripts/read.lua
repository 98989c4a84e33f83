-- Reads what came up to a place of a stream and what follows it; writes nothing. KEYS: meta, stream. ARGV: the store's id, offset of the
-- place (empty: the stream's end), first offset of interest, entries up to the place at most, entries after it at most, bytes of each of
-- the two at most (a single one may have more), how many of the stream's last entries count (0: all).
-- Returns epoch, offset and tag of the stream's end, its provisional epoch, what came up to the place, newest first, and what follows.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'tag', 'began')
if not meta[1] then
  return {'p' .. ARGV[1] .. string.format('%08x', redis.call('TIME')[1]), '0', '', '', {}, {}}
end
local top, first, size = tonumber(meta[2] or 0), tonumber(ARGV[3]), tonumber(ARGV[7])
local place = math.min(tonumber(ARGV[2]) or top, top)
if size > 0 then first = math.max(first, top - size + 1) end

-- A few at a time: Redis builds each page whole, and serves nobody else meanwhile.
local function take(command, from, to, step, count)
  local taken, bytes, ask = {}, 0, 4
  while #taken < count and (to - from) * step >= 0 do
    local range = {string.format('%.0f', from), string.format('%.0f', to)}
    local page = redis.call(command, KEYS[2], range[1], range[2], 'COUNT', math.min(ask, count - #taken))
    if #page == 0 then break end
    for _, entry in ipairs(page) do
      bytes = bytes + 256 + #entry[2][2]
      if bytes > tonumber(ARGV[6]) and #taken > 0 then return taken end
      taken[#taken + 1] = entry
      from = tonumber(string.match(entry[1], '^%d+')) + step
    end
    ask = math.min(ask * 2, 64)
  end
  return taken
end

local before = take('XREVRANGE', place, first, -1, tonumber(ARGV[4]))
local after = take('XRANGE', math.max(place + 1, first), top, 1, tonumber(ARGV[5]))
return {meta[1], string.format('%.0f', top), meta[3] or '', meta[4] or '', before, after}
