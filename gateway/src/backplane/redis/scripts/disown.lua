-- Gives a stream an epoch that no provisional one leads to, unless it has another by now; keeps what was published. KEYS: meta. ARGV: the
-- epoch that is over, the new one.
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2])
  redis.call('HDEL', KEYS[1], 'began')
end
return 1
