-- Renews a node's lease, unless the node was given up. KEYS: leases. ARGV: node, ttl in ms, 1 if its lease should be known.
-- Returns 1 if it is renewed, and the nodes whose lease is over. Who was given up has the lease 0 until somebody has cleared up after it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
local given_up = lease == '0' or (not lease and ARGV[3] == '1')
redis.call('ZADD', KEYS[1], given_up and '0' or string.format('%.0f', now + ARGV[2]), ARGV[1])
return {given_up and 0 or 1, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 256)}
