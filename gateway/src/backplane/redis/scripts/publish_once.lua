-- Tells every node, unless the idempotency key is known. KEYS: result of the idempotency key. ARGV: live channel, envelope, ttl in s.
if redis.call('SET', KEYS[1], '', 'EX', ARGV[3], 'NX') then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return ''
