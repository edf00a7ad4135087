-- SPDX-License-Identifier: MIT
-- What was revoked: tokens, and all tokens of an owner that were issued before a time. C writes and reads the
-- entries. Each has a number, the next of dc; dn holds the entries by number, dx by the second from which
-- none of their tokens can be valid any more.

do

local FORGOTTEN = 100 -- most entries that a call removes

local function forget()
  local gone = call('ZRANGEBYSCORE', P .. 'dx', '-inf', format('(%d', floor(clock.certain() / 1000)), 'LIMIT', 0, FORGOTTEN)
  if gone[1] then
    call('ZREM', P .. 'dx', unpack(gone))
    call('ZREM', P .. 'dn', unpack(gone))
  end
end

-- args: entry, second until which it counts, an epoch for a data set that has none yet. Answer: its number.
local function revoke(args)
  forget()
  history.epoch(args[5])
  local number = call('INCR', P .. 'dc')
  call('ZADD', P .. 'dn', number, args[3])
  call('ZADD', P .. 'dx', args[4], args[3])
  return number
end

-- Entries after a number. args: the number, most entries. Answer: {epoch, number of the newest entry ever,
-- number up to which these go, entries…}.
local function revocations(args)
  local newest = tonumber(call('GET', P .. 'dc') or 0)
  local page = call('ZRANGEBYSCORE', P .. 'dn', '(' .. args[3], '+inf', 'WITHSCORES', 'LIMIT', 0, args[4])
  local out = { call('HGET', P .. 'g', 'epoch') or '', newest, newest }
  for i = 1, #page, 2 do
    out[#out + 1] = page[i]
  end
  if #page == 2 * args[4] then
    out[3] = tonumber(page[#page])
  end
  return out
end

export('revoke', { 'allow-oom' }, revoke)
export('revocations', { 'no-writes' }, revocations)

end
