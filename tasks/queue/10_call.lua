#!lua name=taskhub_v1
-- The context of one function call: prefix, caller, time, and the owners touched, which are read once and
-- written once. All files of this folder are joined in name order into one library, so the locals of this
-- file are known to the ones behind it. Nothing here knows what a task is.

local call -- redis.call; exists only while a function runs
local P -- prefix of every key, with the shard's hash tag
local origin -- name of the calling process: "h:<hub>" or "w:<worker>"
local holder -- origin and incarnation: what a lease is held by
local from_hub -- a hub gets the events of its calls in the reply, a worker's are published
local now -- milliseconds since 1970, by Redis' clock
local now_digits -- the same as text: making text of numbers is slow
local at -- the same as RFC 3339 text, made on first use
local owners -- name -> its counters, read during this call
local touched -- the same as a list, in order of first use
local records -- id -> record read during this call, false if there is none
local changed -- the records to write back, in order of first change
local batches -- sorted sets and lists to write at the end: "command key" -> words
local after -- what flush() does besides: list of functions
local global -- fields of the hash of the whole data set, read on first use

local TOUCH_MS = 600000 -- how often an owner's keys get their expiry renewed
local LOG_KEEP_MS = 86400000
local LOG_EVENTS = 10000
local HEAVY_KEEP_MS = 30 * 86400000 -- until a hub has told the configured time
local OWNER_KEEP_MS = 400 * 86400000

-- The libraries of Lua exist only while a function runs.
local byte, find, format, match, sub, floor

local function begin(keys, args)
  if not call then
    call = redis.call
    byte, find, format, match, sub = string.byte, string.find, string.format, string.match, string.sub
    floor = math.floor
  end
  P = keys[1]
  origin = args[1]
  holder = origin .. '/' .. args[2]
  from_hub = byte(origin, 1) == 104
  local t = call('TIME')
  now = t[1] * 1000 + floor(t[2] / 1000)
  now_digits = format('%d', now)
  at = nil
  owners = {}
  touched = {}
  records = {}
  changed = {}
  batches = {}
  after = {}
  global = nil
end

-- Time -------------------------------------------------------------------------------------------

-- RFC 3339 with milliseconds, of a time in ms (civil from days, Hinnant's algorithm).
local function time_text(ms)
  local s = floor(ms / 1000)
  local days = floor(s / 86400)
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local day = doy - floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local left = s - days * 86400
  return format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, floor(left / 3600),
    floor(left / 60) % 60, left % 60, ms % 1000)
end

local function now_text()
  at = at or time_text(now)
  return at
end

-- Global fields ------------------------------------------------------------------------------------

-- The few numbers of the whole data set: active heavy tasks, running tasks, until when some hub wants every
-- owner's events, virtual times by class. Written back by flush() when changed.
local function globals()
  if not global then
    local v = call('HMGET', P .. 'g', 'act', 'run', 'watch')
    global = {
      act = v[1] and v[1] + 0 or 0,
      run = v[2] and v[2] + 0 or 0,
      watch = v[3] and v[3] + 0 or 0,
      moved = false,
      times = {},
    }
  end
  return global
end

-- Whether some hub shows every owner's events to an admin right now.
local function watched()
  return globals().watch > now
end

