-- Gives a node up for dead whose lease is over; it never comes back under its name. KEYS: leases. ARGV: node. Returns 1 if it is dead.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not lease or tonumber(lease) > now then return 0 end
redis.call('ZADD', KEYS[1], '0', ARGV[1])
return 1
