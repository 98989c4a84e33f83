-- Gives a stream another epoch, which no provisional one leads to, unless it has another by now; begins one where there is none. What was
-- published stays. KEYS: meta, stream. ARGV: the epoch that is over, the new one, a new position's ttl in ms.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and epoch ~= ARGV[1] then return 1 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
redis.call('HDEL', KEYS[1], 'began')
if not epoch then
  redis.call('DEL', KEYS[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
