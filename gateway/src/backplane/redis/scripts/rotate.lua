-- Starts a new epoch unless somebody did; no provisional one leads to it. KEYS: meta, stream. ARGV: the epoch that is over, the new one,
-- the position's ttl in ms.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch or epoch == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
