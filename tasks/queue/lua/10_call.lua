#!lua name=taskhub_2
-- SPDX-License-Identifier: MIT
-- The context of one function call: prefix, caller, time, and the data that the call has read, which is written
-- once, at its end. All files of this folder are joined in the order of their names into one library, so later
-- files see the locals of this file. Nothing here knows what a task is.
--
-- The number of Redis commands costs time, not their size. So owners and records are texts in fields of few hashes:
-- a call reads those of all its tasks with one command and writes them with another.

-- The number of the stored format, also in the names of the library and its functions and in tasks/queue/client.c.
-- Libraries of several numbers exist side by side; this one reads its own format and the one before, and writes
-- g.format: the highest format that all live processes read. A change of what is stored raises the number, and
-- writes the new form only if g.format allows it.
local FORMAT = 2

local call -- redis.call; exists only while a function runs
local P -- prefix of every key, with the shard's hash tag
local origin -- name of the calling process: "h:<hub>" or "w:<worker>"
local holder -- origin and incarnation: the holder of a lease
local from_hub -- a hub gets the events of its calls in the reply, a worker's are published
local now -- wall time: milliseconds since 1970 by Redis' clock; never runs backwards
local run_ms -- running time: milliseconds in which functions were called; starts with the wall time of the data set's first call
local now_digits, at_now -- `now` as text, and as text between blanks: converting numbers is slow
local owners = {} -- name -> its row, used during this call
local rows = {} -- name -> text of a fetched row that was not used yet, false if it does not exist
local heard_by = {} -- hubs of a row -> the hubs that listen
local reply, admin_lines -- lines for the caller and for admins, false while there are none
local touched = {} -- the rows used, in order of first use
local records = {} -- id -> record read during this call, false if it does not exist
local fetched = {} -- id -> text of a fetched record that was not used yet, false if it does not exist
local homes = {} -- id -> the hash that contains the fetched record
local standing = {} -- effect -> the value of its idempotency key, of fetched keys
local scores = { A = {}, C = {}, X = {}, K = {} } -- code -> time of a task -> its score in an index
local changed = {} -- the records to write, in order of first change
local buckets, heavy_buckets, light_buckets = {}, {}, {} -- the hashes of records used, also by their time; see 40_record.lua
local batches = {} -- sorted sets and lists to write at the end: "command key" -> words
local after = {} -- functions that flush() calls at its end
local clock = { stored = {}, SETTLE_MS = 5000 } -- see clock.read(); for this long after a step silence does not count
local history = { server = false, writes = 0 } -- see history.note()
local global -- of the whole data set: format; act and run = active heavy and running tasks, due = those of act that were delayed when
-- they came, watch = until when some hub wants
-- every owner's events; keys = see 51_keys.lua; server = see history.note(); moved = these changed; times = virtual time by class

local stored = {} -- bytes of owners; see 22_stored.lua

local OWNER_KEEP_MS = 400 * 86400000

-- Lua's libraries exist only while a function runs.
local byte, concat, find, format, match, sub, floor, pack, unpack_values

do

local STEP_MS = 2000 -- a longer gap, or a clock that was set, is a step; a gap adds at most this much running time
local CLOCK_EVERY_MS = 100 -- longest time between two writes of the clocks

-- Two clocks. Wall time is for stamps, days and what is kept until a day; running time for what requires a process
-- to be running: leases, delays, liveness, retention. A machine that slept, a Redis that hung or a clock that was
-- set say nothing about a worker. Fields of g: run_ms; and, as of the time when that was written: time_ms = Redis'
-- own clock, ahead_ms = how far wall time was ahead of it if it was set back (wall time then runs at half speed
-- until the clock has caught up); steps, step_ms = the number of steps, and the last one. `stored`, `base`, `time`,
-- `ahead`: these as text and as numbers; `latest`: wall time of the call before; `settled`: the running time from
-- which on silence counts.
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

-- A wall time that has certainly passed, even if Redis' clock was set forward. What is valid until a stamp is
-- compared with it.
clock.certain = function()
  return math.min(now, run_ms)
end

-- The wall time that is shown for a running time.
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

-- Tells everybody by a new epoch that writes from before a server are lost, once per server (g.lost), even if the next
-- server has begun meanwhile. Answer: the epoch.
history.renew = function(server, word)
  local told = call('HGET', P .. 'g', 'lost')
  if told ~= server and told ~= global.server then
    call('HSET', P .. 'g', 'epoch', word, 'lost', global.server)
    return word
  end
  return call('HGET', P .. 'g', 'epoch') or ''
end

end

-- Returns an empty table for the next call: emptying one costs less than making one.
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

-- Most words of one unpack(), which Lua's stack limits; a call brings at most a few hundred tasks.
local UNPACK = 4000

-- The texts of small numbers, made once, and those padded with zeros to the same length.
local digits, thousandths = {}, {}
for i = 0, 999 do
  digits[i] = '' .. i
  thousandths[i] = (i < 10 and '00' or i < 100 and '0' or '') .. i
end

-- Returns an integer as text. Two known texts are joined in less time than one is printed.
local function text_of(n)
  local known = digits[n]
  if known then
    return known
  elseif n < 1000 or n >= 1000000 then
    return format('%d', n)
  end
  local last = n % 1000
  return digits[(n - last) / 1000] .. thousandths[last]
end

-- Returns the texts of a number and its successors up to the next thousand: head .. tails[at], head .. tails[at +
-- 1], …
local function texts_from(n)
  local at = n % 1000
  if n < 1000 then
    return '', digits, at
  end
  return format('%d', (n - at) / 1000), thousandths, at
end
