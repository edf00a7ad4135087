-- SPDX-License-Identifier: MIT
-- Recounts for the auditor and for repair: the active tasks of a hash of records, and the bytes that owners keep
-- (22_stored.lua), these a slice per call. Of an owner whose row changes between two slices nothing can be said: the next
-- round comes to it again. Idempotency keys and notifications do not say whose they are; they are not recounted.

do

-- How many records among the fields of a hash are active.
damage.active_in = function(fields)
  local active = 0
  for i = 1, #fields, 2 do
    active = active + (fields[i] ~= '#' and not terminal(record_of(fields[i])) and 1 or 0)
  end
  return active
end

-- Of a hash with so many active records. One in which nothing was ever active has no count. Answer: the active ones that
-- it counts (nil: unreadable), until when it says that the others are kept, and what is wrong with whether it goes, nil
-- if nothing is.
damage.in_hash = function(key, active)
  local counted, till = match(call('HGET', key, '#') or '0 0', '^(%d+) (%d+)$')
  local left, wrong = call('PTTL', key), nil
  if active > 0 and left >= 0 then
    wrong = 'has active tasks and expires'
  elseif active == 0 and left < 0 and not call('ZSCORE', P .. 'till', sub(key, #P + 1)) then
    wrong = 'its tasks have ended and it never goes'
  end
  return tonumber(counted), tonumber(till) or 0, wrong
end

local OWNERS = 64 -- read at a time

-- Bytes of one of a task's other keys.
stored.size_of = function(r, letter)
  local key, bytes = P .. EXTRA[letter] .. r.id, 0
  if letter ~= 'p' then
    bytes = call('STRLEN', key)
    return bytes > 0 and bytes + stored.EACH or 0
  end
  for _, piece in ipairs(call('LRANGE', key, 0, -1)) do
    bytes = bytes + #piece + stored.EACH
  end
  return bytes
end

-- Of all its other keys.
stored.size_apart = function(r)
  local bytes = 0
  for letter in string.gmatch(r.y or '', '%a') do
    bytes = bytes + stored.size_of(r, letter)
  end
  return bytes
end

-- Records say by the wall clock when they ended, slots go by running time. `doubt`: bytes of which that leaves open whether
-- they count.
local function add_ended(at, slot, bytes)
  local hours = math.ceil(math.abs(now - run_ms) / stored.HOUR_MS)
  local away = math.abs(slot - stored.hour) / (slot % 24 == 0 and 24 or 1)
  if hours > 0 and away <= hours then
    at.doubt = at.doubt + bytes
  end
  if slot > stored.hour then
    at.slots[slot] = (at.slots[slot] or 0) + bytes
  end
end

local function add(at, slot, bytes)
  if slot > stored.hour then
    at.slots[slot] = (at.slots[slot] or 0) + bytes
  end
end

local function add_tasks(at, o, ids)
  fetch_records(ids)
  for i = 1, #ids do
    local r = record_of(ids[i])
    if not r or r.corrupt or r.o ~= o.name then
      at.damaged = true
    elseif not terminal(r) then
      at.living = at.living + stored.charge(r) + (r.A or 0)
    elseif not r.light then
      add_ended(at, stored.heavy_till(r.f), stored.charge(r))
    end
  end
end

local function add_log(at, _, entries)
  for i = 1, #entries do
    at.logged = at.logged + stored.event(#entries[i])
  end
end

local function add_light(at, o, entries)
  for i = 1, #entries do
    local bytes, slot = match(entries[i], ' (%d+) (%d+)$')
    add(at, slot and slot + 0 or stored.light_till(born(entries[i])), bytes or stored.LIGHT + #o.name)
  end
end

local function add_audio(at, _, entries)
  for i = 1, #entries, 2 do
    add(at, stored.hour_of(entries[i + 1]) + 1, match(entries[i], '%d+$') + 0)
  end
end

local SOURCES = {
  { 'ZRANGE', 'i:', add_tasks }, { 'LRANGE', 'e:', add_log }, { 'LRANGE', 'lc:', add_light },
  { 'LRANGE', 'lx:', add_light }, { 'LRANGE', 'lk:', add_light }, { 'ZRANGE', 'ra:', add_audio, 'WITHSCORES' },
}

local function new_count()
  return { source = 1, from = 0, living = 0, logged = 0, doubt = 0, damaged = false, slots = {}, row = '-' }
end

-- "source from living logged doubt damaged row slot=bytes,…"
local function text_of_count(at)
  local slots = {}
  for slot, bytes in pairs(at.slots) do
    slots[#slots + 1] = format('%d=%d', slot, bytes)
  end
  return format('%d %d %d %d %d %d %s -%s', at.source, at.from, at.living, at.logged, at.doubt, at.damaged and 1 or 0, at.row,
    concat(slots, ','))
end

local function read_count(text)
  local at, damaged, slots = new_count(), nil, nil
  at.source, at.from, at.living, at.logged, at.doubt, damaged, at.row, slots =
    match(text, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d) (%S+) %-(%S*)$')
  for _, field in ipairs({ 'source', 'from', 'living', 'logged', 'doubt' }) do
    at[field] = at[field] + 0
  end
  at.damaged = damaged == '1'
  for slot, bytes in string.gmatch(slots, '(%d+)=(%d+)') do
    add(at, slot + 0, bytes + 0)
  end
  return at
end

-- Counts a slice. Answer: how many entries are left of `work`; at.source is nil at the end.
local function count_slice(o, at, work)
  while at.source and work > 0 do
    local source = SOURCES[at.source]
    local words = { source[1], P .. source[2] .. o.name, at.from, at.from + work - 1, source[4] }
    local entries = call(unpack(words))
    local n = source[4] and #entries / 2 or #entries
    source[3](at, o, entries)
    if n < work then
      at.source, at.from = SOURCES[at.source + 1] and at.source + 1 or nil, 0
    else
      at.from = at.from + n
    end
    work = work - n
  end
  return work - 1
end

-- Of what has ended, by the owner's row.
local function ended_of(o)
  local bytes = o.light + o.heavy
  for kind, n in string.gmatch(o.slots, ' (k?)%d+=(%d+)') do
    bytes = bytes + (kind == '' and n or 0)
  end
  return bytes
end

local function compare(o, at, wrong)
  local ended, parts = 0, {}
  for _, bytes in pairs(at.slots) do
    ended = ended + bytes
  end
  for _, part in ipairs({ { 'living tasks', o.living, at.living, 0 }, { 'the log', o.logged, at.logged, 0 },
    { 'ended tasks', ended_of(o), ended, at.doubt } }) do
    if math.abs(part[2] - part[3]) > part[4] then
      parts[#parts + 1] = format('%d bytes of %s, has %d', part[2], part[1], part[3])
    end
  end
  if parts[1] and not at.damaged then
    wrong(o, concat(parts, '; '), at)
  end
end

-- Makes an owner's row say what was counted.
stored.correct = function(o, at)
  local slots, bytes = {}, 0
  for name, n in string.gmatch(o.slots, '(k%d+)=(%d+)') do
    slots[#slots + 1], bytes = name .. '=' .. n, bytes + n
  end
  for slot, n in pairs(at.slots) do
    slots[#slots + 1], bytes = format('%d=%d', slot, n), bytes + n
  end
  o.living, o.logged, o.light, o.heavy, o.slotted, o.moved = at.living, at.logged, 0, 0, bytes, true
  o.slots = slots[1] and ' ' .. concat(slots, ' ') .. ' ' or ''
end

-- The owners that are left of a round, by names or, if there are none, of the next page of rows. Answer: their names, and
-- where the round goes on after them.
damage.next_owners = function(left, scan, count)
  local names = {}
  for name in string.gmatch(left, '%S+') do
    names[#names + 1] = name
  end
  if names[1] then
    return names, scan
  end
  local page = call('HSCAN', P .. 'o', scan, 'COUNT', count)
  for i = 1, #page[2], 2 do
    names[#names + 1] = page[2][i] ~= NOTE and page[2][i] or nil
  end
  return names, page[1]
end

-- Recounts a slice of about `work` entries, and calls wrong(o, what, counts) for each owner whose row says something else. A
-- cursor is '0' at first, then "<cursor of HSCAN> <text_of_count()'s eight words> <owners left…>". Answer: the next cursor,
-- '0' at the end, and how many owners were recounted.
stored.recount = function(cursor, work, wrong)
  local scan, text, left = match(cursor, '^(%d+) (%d+ %d+ %d+ %d+ %d+ %d %S+ %S+) ?(.*)$')
  local names, checked, at = nil, 0, text and read_count(text) or new_count()
  names, scan = damage.next_owners(left or '', scan or cursor, OWNERS)
  local first = 1
  while names[first] and work > 0 do
    local row = redis.sha1hex(call('HGET', P .. 'o', names[first]) or '')
    local o, whole_row = owner_of(names[first]), at.row == '-' or at.row == row
    at.row = row
    work = whole_row and count_slice(o, at, work) or work
    if whole_row and at.source then
      break
    elseif whole_row then
      compare(o, at, wrong)
    end
    first, at, checked = first + 1, new_count(), checked + 1
  end
  left = concat(names, ' ', first)
  return (left ~= '' or scan ~= '0') and scan .. ' ' .. text_of_count(at) .. ' ' .. left or '0', checked
end

end
