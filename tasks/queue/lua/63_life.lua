-- SPDX-License-Identifier: MIT
-- Who lives, and that time goes on. The set hb holds the holders of leases by the running time of their last beat; of one
-- that is known to be dead: -1 less the number of leases that were looked at for his.

do

local SILENT_MS = 1500 -- of a holder whose channel nobody listens to
local START_MS = 5000 -- so long after Redis or this library has begun, channels may not be listened to yet
local HOLDERS_SEEN = 256
local LEASES_SEEN = 200

local first -- running time of the first look of this server

-- The dead one's leases are given back, a slice of all. Whatever is missed runs out.
local function bury(dead, from)
  local on = bury_leases(from, LEASES_SEEN, function(r)
    return r.w == dead
  end)
  if not on then
    call('ZREM', P .. 'hb', dead)
  else
    call('ZADD', P .. 'hb', -1 - on, dead)
  end
end

-- How many listen to the channels of these holders: {channel, count, …}.
local function listeners_of(holders)
  local words = { 'PUBSUB', 'NUMSUB' }
  for i = 1, #holders, 2 do
    words[#words + 1] = P .. 'ctl:' .. match(holders[i], '^(.*)/')
  end
  return call(unpack(words))
end

-- Looks for holders that died: their side has closed the channel, and they do not beat. Answer: ms until it is worth
-- while to look again, 0 = as usual.
local function look()
  first = first or run_ms
  if run_ms < clock.settled or run_ms - first < START_MS then
    return 0
  end
  local holders = call('ZRANGE', P .. 'hb', 0, HOLDERS_SEEN - 1, 'WITHSCORES')
  local counts, again = listeners_of(holders), 0
  for i = 1, #holders, 2 do
    local beaten = holders[i + 1] + 0
    local left = beaten + SILENT_MS - run_ms
    if beaten < 0 or counts[i + 1] == 0 and left <= 0 then
      bury(holders[i], beaten < 0 and -1 - beaten or 0)
      return 1
    elseif counts[i + 1] == 0 and (again == 0 or left < again) then
      again = left
    end
  end
  return again
end

-- A hub calls now and then, so that running time goes on where nobody has anything to write. args: retention. Answer:
-- {ms until it should call again, 0 = as usual, steps of the clock so far, ms of the last one}.
local function tick(args)
  retention(args)
  local v = call('HMGET', P .. 'g', 'steps', 'step_ms')
  local steps, ms = (v[1] or 0) + 0, (v[2] or 0) + 0
  if clock.step then
    steps, ms = steps + 1, clock.step
  end
  call('ZADD', P .. 'hb', run_ms, holder)
  return { look(), steps, ms }
end

export('tick', { 'allow-oom' }, tick)

end
