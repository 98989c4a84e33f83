-- How many clients and how many users are present. KEYS: members, users.
return {redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[2])}
