-- Makes a client present. KEYS: members. ARGV: client, member, live channel, envelope (empty: tell nobody).
if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 and ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return 1
