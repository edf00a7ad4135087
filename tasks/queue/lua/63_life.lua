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
  local on = holders.bury(from, LEASES_SEEN, function(r)
    return r.w == dead
  end)
  if not on then
    call('ZREM', P .. 'hb', dead)
  else
    call('ZADD', P .. 'hb', -1 - on, dead)
  end
end

-- How many listen to the channels of these holders: {channel, count, …}.
local function listeners_of(found)
  local words = { 'PUBSUB', 'NUMSUB' }
  for i = 1, #found, 2 do
    words[#words + 1] = P .. 'ctl:' .. found[i]
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
  local found = call('ZRANGE', P .. 'hb', 0, HOLDERS_SEEN - 1, 'WITHSCORES')
  local counts, again = listeners_of(found), 0
  for i = 1, #found, 2 do
    local beaten = found[i + 1] + 0
    local left = beaten + SILENT_MS - run_ms
    if beaten < 0 or counts[i + 1] == 0 and left <= 0 then
      bury(found[i], beaten < 0 and -1 - beaten or 0)
      return 1
    elseif counts[i + 1] == 0 and (again == 0 or left < again) then
      again = left
    end
  end
  return again
end

-- A hub calls now and then, so that running time goes on where nobody has anything to write. args: retention. Answer:
-- {ms until it should call again, 0 = as usual, steps of the clock so far, ms of the last one, holders.beat()}.
local function tick(args)
  retention(args)
  local v = call('HMGET', P .. 'g', 'steps', 'step_ms')
  local steps, ms = (v[1] or 0) + 0, (v[2] or 0) + 0
  if clock.step then
    steps, ms = steps + 1, clock.step
  end
  return { look(), steps, ms, holders.beat() }
end

-- Names. A name is held by the holder in hb; one who begins is given it once nobody of that name lives. Processes do not
-- share channels, so whoever waits here listens to nothing that tells of another.

-- How long until it is known that a holder is dead: 0 = it is, nil = time alone does not tell. Nobody is dead who was
-- heard since a step, or who has not beaten since Redis began and may be on his way back.
local function wait_for_death(beaten, listeners)
  if beaten < 0 then
    return 0
  elseif listeners > 0 then
    return nil
  end
  local from = math.max(beaten, clock.settled - clock.SETTLE_MS)
  return math.max(0, from + SILENT_MS - run_ms, beaten < first and first + START_MS - run_ms or 0)
end

-- Whether the name is free for the caller: 0, ms until it is worth while to ask again, or nil: a holder beat later than at
-- `seen`. A lease after his last beat (the longest that is in use) nobody has a name any more, whether his channel is open
-- or not. Also the last beat.
local function wait_for_name(name, lease_ms, seen)
  local found, wait, last = holders.namesakes(name), 0, 0
  local counts = found[1] and listeners_of(found)
  for i = 1, #found, 2 do
    local beaten = found[i + 1]
    local lapse = math.max(0, beaten + lease_ms - run_ms)
    wait = math.max(wait, math.min(wait_for_death(beaten, counts[i + 1]) or lapse, lapse))
    last = math.max(last, beaten)
  end
  if seen and last > seen then
    return nil, last
  end
  return wait, last
end

local NUMBERS = 1000

-- The first free name: this one, or with a number behind it.
local function free_name(name, lease_ms)
  for i = 1, NUMBERS do
    local numbered = i == 1 and name or name .. '-' .. i
    if wait_for_name(numbered, lease_ms) == 0 then
      return numbered
    end
  end
end

-- Counts all others of this name among the dead.
local function end_others(name)
  local found = holders.namesakes(name)
  for i = 1, #found, 2 do
    call('ZADD', P .. 'hb', -1, found[i])
  end
end

local function take_name(name)
  origin, holder = name, name .. '/' .. match(holder, '[^/]*$')
  end_others(name)
  call('ZADD', P .. 'hb', run_ms, holder)
  return { name }
end

-- A process begins, or comes back. args: lease ms, 1 = it may have a number behind its name, the beat of another that was
-- told before ('' at first), names whose holders are gone for certain… Answer: {its name}, or {'', ms after which to ask
-- again (-1 = the name is taken), beat of who has it}.
local function claim(args)
  local lease_ms = math.max(args[3], call('HGET', P .. 'g', 'lease_ms') or 0)
  first = first or run_ms
  call('HSET', P .. 'g', 'lease_ms', lease_ms)
  for i = 6, #args do
    end_others(args[i])
  end
  if holders.beaten() then
    return take_name(origin)
  elseif args[4] == '1' then
    return take_name(free_name(origin, lease_ms))
  end
  local wait, last = wait_for_name(origin, lease_ms, tonumber(args[5]))
  if wait == 0 then
    return take_name(origin)
  end
  return { '', wait or -1, format('%d', last) }
end

-- The process ends and holds nothing.
local function leave()
  call('ZREM', P .. 'hb', holder)
  return 0
end

export('claim', { 'allow-oom' }, claim)
export('leave', { 'allow-oom' }, leave)

export('tick', { 'allow-oom' }, tick)

end
