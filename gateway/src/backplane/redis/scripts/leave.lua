-- Ends a client's presence. KEYS: members. ARGV: client, live channel, envelope (empty: tell nobody).
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 and ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return 1
