-- SPDX-License-Identifier: MIT
-- Which processes live, and that running time advances. The set hb holds the holders of leases, scored by the
-- running time of their last beat; for one known to be dead: -1 less the number of its leases looked at so
-- far.

do

local SILENT_MS = 1500 -- of a holder whose channel has no subscriber
local START_MS = 5000 -- for this long after Redis or this library started, channels may lack their subscribers
local HOLDERS_SEEN = 256
local LEASES_SEEN = 200

local first -- running time of this server's first look

-- Gives back a slice of a dead holder's leases. Any that are missed expire.
local function bury(dead, from)
  local on = holders.bury(from, LEASES_SEEN, function(r)
    return r.w == dead
  end)
  if not on then
    holders.drop(dead)
  else
    call('ZADD', P .. 'hb', -1 - on, dead)
  end
end

-- The subscribers of these holders' channels: {channel, count, …}.
local function listeners_of(found)
  local words = { 'PUBSUB', 'NUMSUB' }
  for i = 1, #found, 2 do
    words[#words + 1] = P .. 'ctl:' .. found[i]
  end
  return call(unpack(words))
end

-- Looks for holders that died: their channel is closed and they do not beat. Answer: ms until the next look
-- is worthwhile, 0 = as usual.
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

-- Called by hubs now and then, so that running time advances even when nobody has anything to write. args:
-- retention. Answer: {ms until the next call, 0 = as usual, steps of the clock so far, ms of the last one,
-- holders.beat(), the epoch, '' = none yet}.
local function tick(args)
  retention(args)
  kept.look()
  local v = call('HMGET', P .. 'g', 'steps', 'step_ms', 'epoch')
  local steps, ms = (v[1] or 0) + 0, (v[2] or 0) + 0
  if clock.step then
    steps, ms = steps + 1, clock.step
  end
  return { look(), steps, ms, holders.beat(), v[3] or '' }
end

-- Names. A name belongs to its holder in hb; a starting process gets it once no process of that name lives.
-- Processes do not share channels, so a process that waits here has no other's channel open.

-- How long until a holder is known to be dead: 0 = it is; nil = time alone cannot tell. A holder heard since
-- a step of the clock is not dead, nor is one that has not beaten since Redis started and may be coming back.
local function wait_for_death(beaten, listeners)
  if beaten < 0 then
    return 0
  elseif listeners > 0 then
    return nil
  end
  local from = math.max(beaten, clock.settled - clock.SETTLE_MS)
  return math.max(0, from + SILENT_MS - run_ms, beaten < first and first + START_MS - run_ms or 0)
end

-- Whether the name of these holders is free for the caller: 0 = yes; ms until it is worth asking again; or nil: a
-- holder has beaten later than `seen`. One of its leases (`lease_ms`: of who has not said) after its last beat a holder
-- loses its name, whether its channel is open or not. Also returns the last beat.
local function wait_for_name(found, lease_ms, seen)
  local wait, last = 0, 0
  local counts, leases = found[1] and listeners_of(found), holders.leases(found, lease_ms)
  for i = 1, #found, 2 do
    local beaten = found[i + 1]
    local lapse = math.max(0, beaten + leases[(i + 1) / 2] - run_ms)
    wait = math.max(wait, math.min(wait_for_death(beaten, counts[i + 1]) or lapse, lapse))
    last = math.max(last, beaten)
  end
  if seen and last > seen then
    return nil, last
  end
  return wait, last
end

local NUMBERS = 1000

-- The first free name: this one, or this one with a number appended; nil if all are taken.
local function free_name(name, lease_ms)
  local found = holders.by_name()
  for i = 1, NUMBERS do
    local numbered = i == 1 and name or name .. '-' .. i
    if not found[numbered] or wait_for_name(found[numbered], lease_ms) == 0 then
      return numbered
    end
  end
end

-- Declares all other holders of this name dead.
local function end_others(name)
  local found = holders.namesakes(name)
  for i = 1, #found, 2 do
    call('ZADD', P .. 'hb', -1, found[i])
  end
end

local function take_name(name, lease_ms)
  origin, holder = name, name .. '/' .. match(holder, '[^/]*$')
  end_others(name)
  call('ZADD', P .. 'hb', run_ms, holder)
  holders.note_lease(lease_ms)
  return { name }
end

-- A process starts or comes back. args: lease ms, 1 = a number may be appended to its name, the beat of
-- another holder as answered before ('' at first), names whose holders are certainly gone… Answer: {its
-- name}, or {'', ms after which to ask again (-1 = the name is taken, -2 = with all numbers), last beat of its holder}.
local function claim(args)
  local lease_ms = args[3] + 0
  first = first or run_ms
  for i = 6, #args do
    end_others(args[i])
  end
  if holders.beaten() then
    return take_name(origin, lease_ms)
  elseif args[4] == '1' then
    local name = free_name(origin, lease_ms)
    return name and take_name(name, lease_ms) or { '', -2, '0' }
  end
  local wait, last = wait_for_name(holders.namesakes(origin), lease_ms, tonumber(args[5]))
  if wait == 0 then
    return take_name(origin, lease_ms)
  end
  return { '', wait or -1, format('%d', last) }
end

-- The process ends and holds no lease.
local function leave()
  holders.drop(holder)
  return 0
end

export('claim', { 'allow-oom' }, claim)
export('leave', { 'allow-oom' }, leave)

export('tick', { 'allow-oom' }, tick)

end
