#!lua name=taskhub_2
-- SPDX-License-Identifier: MIT
-- The context of one function call: prefix, caller, time, and what the call read, which is written once, at its
-- end. All files of this folder are joined in name order into one library, so the locals of this file are known
-- to the ones behind it. Nothing here knows what a task is.
--
-- What costs time here is the number of Redis commands, not their size. So owners and records are texts, fields
-- of few hashes: a call reads those of all its tasks with one command and writes them with another.

-- The number of the stored format, also in the names of the library and its functions and in tasks/queue/client.c.
-- Libraries of several numbers stand side by side; this one reads its own format and the one before, and what is
-- written is g.format: the highest that all live processes read. A change of what is stored raises the number, and
-- writes the new form only where g.format says so.
local FORMAT = 2

local call -- redis.call; exists only while a function runs
local P -- prefix of every key, with the shard's hash tag
local origin -- name of the calling process: "h:<hub>" or "w:<worker>"
local holder -- origin and incarnation: what a lease is held by
local from_hub -- a hub gets the events of its calls in the reply, a worker's are published
local now -- wall time: milliseconds since 1970 by Redis' clock; never runs backwards
local run_ms -- running time: milliseconds in which somebody called; begins with the wall time of the data set's first call
local now_digits, at_now -- the same as text, and between blanks: making text of numbers is slow
local owners = {} -- name -> its row, in use during this call
local rows = {} -- name -> text of a row that was fetched and not used yet, false if there is none
local heard_by = {} -- hubs of a row -> who listens
local reply, admin_lines -- lines for the caller and for admins, false while there are none
local touched = {} -- the rows in use, in order of first use
local records = {} -- id -> record read during this call, false if there is none
local fetched = {} -- id -> text of a record that was fetched and not used yet, false if there is none
local homes = {} -- id -> the hash it stands in, of a record that was fetched
local standing = {} -- effect -> what its idempotency key stands for, of keys that were fetched
local scores = { A = {}, C = {}, X = {}, K = {} } -- code -> time of a task -> its score in an index
local changed = {} -- the records to write back, in order of first change
local buckets, heavy_buckets, light_buckets = {}, {}, {} -- the hashes of records in use, also by their time; see 40_record.lua
local batches = {} -- sorted sets and lists to write at the end: "command key" -> words
local after = {} -- what flush() does besides: list of functions
local clock = { stored = {}, SETTLE_MS = 5000 } -- see clock.read(); so long after a step nobody's silence means anything
local history = { server = false, writes = 0 } -- see history.note()
local global -- of the whole data set: format; act and run = active heavy and running tasks, due = those of act that were delayed when
-- they came, watch = until when some hub wants
-- every owner's events; keys = see 51_keys.lua; server = see history.note(); moved = these changed; times = virtual time by class

local stored = {} -- bytes of owners; see 22_stored.lua

local OWNER_KEEP_MS = 400 * 86400000

-- The libraries of Lua exist only while a function runs.
local byte, concat, find, format, match, sub, floor, pack, unpack_values

do

local STEP_MS = 2000 -- a gap of more, or a clock that was set, is a step; of a gap at most so much has run
local CLOCK_EVERY_MS = 100 -- how often the clocks are written, at least

-- Two clocks. Wall time is for stamps, days and what is kept until a day; running time for whatever somebody has to be
-- awake for: leases, delays, who lives, how long things are kept. A machine that slept, a Redis that hung, a clock that was set say nothing of a
-- worker. Fields of g: run_ms and, of when that was written, time_ms = Redis' own clock, ahead_ms = how much wall time was
-- ahead of it, where it was set back: then wall time goes at half the speed until it is caught up; steps, step_ms = how
-- many there were, and the last one. `stored`, `base`, `time`, `ahead`: these as text and as numbers; `latest`: wall
-- time of the call before; `settled`: the running time from which on silence counts.
clock.read = function(ran, last, ahead)
  local c, stored, t = clock, clock.stored, call('TIME')
  local time = t[1] * 1000 + floor(t[2] / 1000)
  if ran ~= stored[1] or last ~= stored[2] or ahead ~= stored[3] or not ran then
    c.stored = { ran, last, ahead }
    c.base, c.time, c.ahead = (ran or time) + 0, (last or time) + 0, (ahead or 0) + 0
  end
  if c.prefix ~= P then
    c.prefix, c.latest, c.settled = P, 0, 0
  end
  local passed = time - c.time
  local counted = passed < 0 and 0 or passed > STEP_MS and STEP_MS or passed
  run_ms = c.base + counted
  now = math.max(time, c.time + c.ahead + floor(counted / 2), c.latest)
  c.step = (passed > STEP_MS or passed < -STEP_MS) and passed
  if c.step then
    c.settled = run_ms + c.SETTLE_MS
  end
  c.latest, c.due, c.now = now, not ran or passed < 0 or passed >= CLOCK_EVERY_MS, time
end

clock.write = function(writes)
  local c = clock
  call('HSET', P .. 'g', 'writes', writes, 'run_ms', format('%d', run_ms), 'time_ms', format('%d', c.now), 'ahead_ms',
    format('%d', now - c.now))
  if c.step then
    call('HINCRBY', P .. 'g', 'steps', 1)
    call('HSET', P .. 'g', 'step_ms', format('%d', c.step))
  end
end

-- A wall time that has come even if Redis' clock was set forward: what counts until a stamp goes by it.
clock.certain = function()
  return math.min(now, run_ms)
end

-- What people are told of a running time.
clock.wall_of = function(time)
  return format('%d', now + time - run_ms)
end

end

local function read_global()
  local v = call('HMGET', P .. 'g', 'act', 'run', 'watch', 'format', 'keys', 'due', 'run_ms', 'time_ms', 'ahead_ms',
    'server', 'owner_bytes', 'keep_heavy', 'keep_light')
  clock.read(v[7], v[8], v[9])
  stored.begin(v[11], v[12], v[13])
  global = {
    act = (v[1] or 0) + 0, run = (v[2] or 0) + 0, watch = (v[3] or 0) + 0, moved = false, times = {},
    format = (v[4] or math.max(1, FORMAT - 1)) + 0, keys = v[5] or ' ', due = (v[6] or 0) + 0,
    server = v[10] or '',
  }
end

do

local RUN_DIGITS = 8

-- Which Redis process this is, noted by the first call that writes in it, or after another one wrote. A Redis may come
-- back without its newest writes; so a call that writes tells how many such calls there were, and g.server: digits of the
-- process' run_id and, behind them, what that number was when it began. Who was told more before than a server began with
-- knows that the difference is lost (history.renew()). The number is written beside what the call writes, which is either
-- rows (NOTE of o) or not (g.writes): the higher one is it.
history.note = function(note)
  local told, info = pcall(call, 'INFO', 'server')
  local run = told and match(info, 'run_id:(%x+)') or ''
  run = sub(run .. '00000000', 1, RUN_DIGITS)
  history.writes = math.max(call('HGET', P .. 'g', 'writes') or 0, tonumber(call('HGET', P .. 'o', note)) or 0)
  if sub(global.server, 1, RUN_DIGITS) ~= run then
    global.server = run .. format('%d', history.writes)
    call('HSET', P .. 'g', 'server', global.server)
  end
  history.server = global.server
end

-- The data set's epoch, this word if it has none yet.
history.epoch = function(word)
  if call('HSETNX', P .. 'g', 'epoch', word) == 1 then
    call('HSET', P .. 'g', 'lost', global.server)
  end
  return call('HGET', P .. 'g', 'epoch')
end

-- Tells everybody by a new epoch that writes from before this server are lost, once per server (g.lost). Answer: the
-- epoch.
history.renew = function(server, word)
  if server == global.server and call('HGET', P .. 'g', 'lost') ~= server then
    call('HSET', P .. 'g', 'epoch', word, 'lost', server)
    return word
  end
  return call('HGET', P .. 'g', 'epoch') or ''
end

end

-- The table for the next call: making one costs more than emptying one.
local function emptied(t)
  local n, most = 0, 16 -- a table that held more entries would be walked as a whole each time
  for key in next, t do
    t[key], n = nil, n + 1
    if n > most then
      return {}
    end
  end
  return t
end

local function begin(keys, args)
  if not call then
    call = redis.call
    byte, find, format, match, sub = string.byte, string.find, string.format, string.match, string.sub
    concat = table.concat
    pack, unpack_values = cmsgpack.pack, cmsgpack.unpack
    floor = math.floor
  end
  P = keys[1]
  origin = args[1]
  holder = origin .. '/' .. args[2]
  from_hub = byte(origin, 1) == 104
  read_global()
  now_digits = format('%d', now)
  at_now = ' ' .. now_digits .. ' '
  reply, admin_lines = false, false
  owners, rows, heard_by, touched = emptied(owners), emptied(rows), emptied(heard_by), emptied(touched)
  records, fetched, homes = emptied(records), emptied(fetched), emptied(homes)
  changed, batches, after, standing = emptied(changed), emptied(batches), emptied(after), emptied(standing)
  buckets, heavy_buckets, light_buckets = emptied(buckets), emptied(heavy_buckets), emptied(light_buckets)
  for code, known in next, scores do
    scores[code] = emptied(known)
  end
end

-- Lua's stack bounds one unpack(); a call brings at most a few hundred tasks.
local UNPACK = 4000

-- The texts of small numbers, made once, and those with leading zeros of the same length.
local digits, thousandths = {}, {}
for i = 0, 999 do
  digits[i] = '' .. i
  thousandths[i] = (i < 10 and '00' or i < 100 and '0' or '') .. i
end

-- A whole number as text.
local function text_of(n)
  return digits[n] or format('%d', n)
end

-- The texts of a number and those behind it, up to the next thousand: head .. tails[at], head .. tails[at + 1], …
local function texts_from(n)
  local at = n % 1000
  if n < 1000 then
    return '', digits, at
  end
  return format('%d', (n - at) / 1000), thousandths, at
end
