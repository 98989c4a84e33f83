-- Makes a client present. KEYS: members, users. ARGV: client, member, user, live channel, envelope (empty: tell nobody).
if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
  if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
end
return 1
