-- SPDX-License-Identifier: MIT
-- How many bytes of each owner are kept, so that nobody fills Redis alone. What ended is counted in slots by the time at
-- which it is dropped, and a slot in the past counts nothing: so nothing has to be told when something expires. A slot is
-- the number of the hour (of running time) from which on it counts nothing; what is kept for more than two days goes to the end
-- of a day. Whoever takes bytes adds them, whoever removes them before their time subtracts them.
--
-- Of a row: living = of tasks that have not ended; logged = of the log; of this hour: light and heavy = of tasks that
-- ended in it, keyed = of their idempotency keys and of notifications; slots = the same of earlier hours, as text
-- " slot=bytes kslot=bytes " (k: keyed); slotted = their sum; hour = that for which all this is true.

do

local HOUR_MS, DAY_HOURS, HOURLY_MAX = 3600000, 24, 48
local RETRY_MS = 1000
local QUOTA = 10 -- enum queue_code
local LIMIT, HEAVY_MS, LIGHT_MS = 67108864, 30 * 86400000, 3600000 -- until a hub has told others

stored.HOUR_MS = HOUR_MS
stored.EACH = 100 -- bytes besides the text of a key or an entry
stored.RECORD = 500 -- of a task besides its first two lines and its other keys
stored.LIGHT = 400 -- of a light task that has ended, besides its owner's name and long texts
stored.KEY = 148 -- of an idempotency key
stored.hour, stored.light_slot, stored.heavy_slot = 0, 0, 0 -- of now
stored.limit, stored.heavy_ms, stored.light_ms = LIMIT, HEAVY_MS, LIGHT_MS

stored.hour_of = function(time)
  return floor(time / HOUR_MS)
end

-- The slot of what is kept so long from an hour on.
local function slot_of(hour, keep)
  local hours = math.ceil(keep / HOUR_MS)
  if hours <= HOURLY_MAX then
    return hour + hours + 1
  end
  return (floor(hour / DAY_HOURS) + math.ceil(hours / DAY_HOURS) + 1) * DAY_HOURS
end

-- Those of light and heavy tasks that ended at a time.
stored.light_till = function(time)
  return slot_of(stored.hour_of(time), stored.light_ms)
end

stored.heavy_till = function(time)
  return slot_of(stored.hour_of(time), stored.heavy_ms)
end

-- A call begins: `limit`, `heavy_ms`, `light_ms` as g has them.
stored.begin = function(limit, heavy_ms, light_ms)
  local s, hour = stored, stored.hour_of(run_ms)
  if hour ~= s.hour or limit ~= s.limit_text or heavy_ms ~= s.heavy_text or light_ms ~= s.light_text then
    s.hour, s.limit_text, s.heavy_text, s.light_text = hour, limit, heavy_ms, light_ms
    s.limit, s.heavy_ms, s.light_ms = (limit or LIMIT) + 0, (heavy_ms or HEAVY_MS) + 0, (light_ms or LIGHT_MS) + 0
    s.light_slot, s.heavy_slot = slot_of(hour, s.light_ms), slot_of(hour, s.heavy_ms)
    s.light_slot_text = format(' %d', s.light_slot)
  end
end

-- The slot of an idempotency key or a notification of an hour.
local function keyed_slot(hour)
  return (floor(hour / DAY_HOURS) + 2) * DAY_HOURS
end

-- Counts bytes in a slot of earlier hours; `kind`: '' or 'k'.
local function count(o, kind, slot, more)
  if slot <= stored.hour or more == 0 then
    return
  end
  local name = ' ' .. kind .. format('%d', slot) .. '='
  local was = match(o.slots, name .. '(%d+) ')
  local bytes = math.max(0, (was or 0) + more)
  local text = bytes > 0 and name .. format('%d', bytes) .. ' ' or ' '
  if was then
    o.slots = string.gsub(o.slots, name .. '%d+ ', text, 1)
  elseif bytes > 0 then
    o.slots = (o.slots ~= '' and sub(o.slots, 1, -2) or '') .. text
  end
  o.slotted, o.moved = o.slotted + bytes - (was or 0), true
end

-- Counts bytes of something that has ended, more or less.
stored.change = function(o, slot, more)
  for _, kind in ipairs({ 'light', 'heavy' }) do
    if slot == stored[kind .. '_slot'] then
      local part = math.max(more, -o[kind])
      o[kind], o.moved, more = o[kind] + part, true, more - part
    end
  end
  count(o, '', slot, more)
end

-- Another hour than that of the row: what has been dropped since counts no more.
stored.pass = function(o)
  local hour, slots = o.hour or 0, o.slots or ''
  local light, heavy, keyed = o.light or 0, o.heavy or 0, o.keyed or 0
  o.living, o.logged, o.light, o.heavy, o.keyed = o.living or 0, o.logged or 0, 0, 0, 0
  o.slots, o.slotted = '', 0
  local moved = o.moved
  for kind, slot, bytes in string.gmatch(slots, '(k?)(%d+)=(%d+)') do
    count(o, kind, slot + 0, bytes + 0)
  end
  count(o, '', slot_of(hour, stored.light_ms), light)
  count(o, '', slot_of(hour, stored.heavy_ms), heavy)
  count(o, 'k', keyed_slot(hour), keyed)
  o.hour, o.moved = stored.hour, moved
  if o.logged > 0 and call('EXISTS', P .. 'e:' .. o.name) == 0 then
    o.logged = 0
  end
end

-- Of an entry of the log, by its length.
stored.event = function(length)
  return length > 128 and length + 100 or 128
end

-- Of a task that has not ended, but without the bytes of its audio.
stored.charge = function(r)
  return #r.fixed + stored.RECORD + (r.B or 0) + (r.x and stored.KEY or 0)
end

stored.used = function(o)
  return o.living + o.logged + o.light + o.heavy + o.keyed + o.slotted
end

-- Whether an owner may take no more; `less`: bytes that what is asked for would free.
stored.is_full = function(o, less)
  return o.living + o.logged + o.light + o.heavy + o.keyed + o.slotted - (less or 0) > stored.limit
end

-- What is told of something refused since its owner keeps too much: {code, '', '', ms until some of it is dropped, 0,
-- bytes, most}.
stored.refusal = function(o)
  local first
  for slot in string.gmatch(o.slots, '(%d+)=') do
    first = math.min(first or slot + 0, slot)
  end
  for kind, slot in pairs({ light = stored.light_slot, heavy = stored.heavy_slot, keyed = keyed_slot(stored.hour) }) do
    first = o[kind] > 0 and math.min(first or slot, slot) or first
  end
  local wait = first and math.max(RETRY_MS, first * HOUR_MS - run_ms) or RETRY_MS
  return { QUOTA, '', '', format('%d', wait) + 0, 0, stored.used(o), stored.limit }
end

end
