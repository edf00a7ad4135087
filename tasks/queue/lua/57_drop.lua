-- SPDX-License-Identifier: MIT
-- What an owner who keeps too much (22_stored.lua) loses of tasks that ended, before anything new is refused: the oldest
-- first, audio before arguments and results. The records stay and say what is gone (letter G).

do

local DROPPED_MAX = 32 -- tasks per call
local LOOKED_AT = 40 -- per call and band of the index
local LETTERS = 'artmp' -- of the keys that go; what went wrong stays

local OWNERS_MAX = 1000
-- owner -> the last task of each band of his index that was looked at in this hour, and `bare`: his seq when nothing that
-- could go was left
local marks, marks_count = {}, 0

local function marks_of(o)
  local mark = marks[o.name]
  if not mark or mark.hour ~= stored.hour or mark.prefix ~= P then
    if marks_count == OWNERS_MAX then
      marks, marks_count = {}, 0
    end
    marks_count = marks_count + (marks[o.name] and 0 or 1)
    mark = { hour = stored.hour, prefix = P }
    marks[o.name] = mark
  end
  return mark
end

-- Removes keys of a task that has ended. Answer: bytes that are free now.
local function drop_keys(r)
  local words, left, gone = { 'UNLINK' }, '', ''
  for letter in string.gmatch(r.y or '', '%a') do
    if find(LETTERS, letter, 1, true) then
      words[#words + 1], gone = P .. EXTRA[letter] .. r.id, gone .. letter
    else
      left = left .. letter
    end
  end
  if gone == '' then
    return 0
  end
  call(unpack(words))
  set(r, 'y', left)
  local rest = stored.size_apart(r)
  local free = (r.B or 0) - rest
  set(r, 'B', rest > 0 and text_of(rest) or nil)
  set(r, 'G', (r.G or '') .. gone)
  return free
end

-- Subtracts bytes of a task that has ended: from its slot, or if that is not known for certain, from others.
local function uncount(o, slot, bytes)
  local before = stored.used(o)
  stored.change(o, slot, -bytes)
  local rest = bytes - before + stored.used(o)
  for other in string.gmatch(o.slots, ' (%d+)=') do
    if rest > 0 then
      before = stored.used(o)
      stored.change(o, other + 0, -rest)
      rest = rest - before + stored.used(o)
    end
  end
end

-- The steps: each drops up to `most` and stops when the owner keeps no more than he may. Answer: how many.

local function drop_audio(o, most, less, but)
  local entries, n = call('ZRANGE', P .. 'ra:' .. o.name, 0, most - 1), 0
  for i = 1, #entries do
    local id, bytes = match(entries[i], '^(%S+) (%d+)$')
    local r = id ~= but and stored.is_full(o, less) and record_of(id)
    if r then
      call('UNLINK', P .. 'a:' .. id)
      stored.leave_audio(o.name, entries[i], bytes)
      set(r, 'G', (r.G or '') .. 'u')
      n = n + 1
    end
  end
  return n
end

local function by_birth(a, b)
  return a.id < b.id
end

-- Ids of a band of the index, behind those that were looked at.
local function next_of_band(o, mark, code)
  local key, at = P .. 'i:' .. o.name, mark[code]
  at = at and call('ZRANK', key, at)
  if at then
    return call('ZRANGE', key, at + 1, at + LOOKED_AT)
  end
  local band = BAND_OF[code]
  return call('ZRANGE', key, format('%.0f', band), format('(%.0f', band + BAND), 'BYSCORE', 'LIMIT', 0, LOOKED_AT)
end

-- Tasks of the index that ended and were not looked at yet, some of each band: the oldest first.
local function candidates(o, mark)
  local found = {}
  for _, code in ipairs({ 'C', 'X', 'K' }) do
    local ids = next_of_band(o, mark, code)
    fetch_records(ids)
    for i = 1, #ids do
      local r = record_of(ids[i])
      if r and r.o == o.name and r.s == STATUS_OF[code] and not r.corrupt then
        r.band, found[#found + 1] = code, r
      end
    end
  end
  table.sort(found, by_birth)
  return found
end

local function drop_heavy(o, most, less, but)
  local mark, n = marks_of(o), 0
  local found = candidates(o, mark)
  mark.bare = not found[1] and o.seq
  for _, r in ipairs(found) do
    if n == most or not stored.is_full(o, less) then
      break
    end
    local free = r.id ~= but and drop_keys(r) or 0
    if free > 0 then
      uncount(o, stored.heavy_till(r.f), free)
      n = n + 1
    end
    mark[r.band] = r.id
  end
  return n
end

local function drop_light(o, most, less, but)
  local n, base = 0, stored.LIGHT + #o.name
  for _, kind in ipairs({ 'lc:', 'lx:', 'lk:' }) do
    local key = P .. kind .. o.name
    local entries = call('LRANGE', key, 0, -1)
    for i = #entries, 1, -1 do
      local id, bytes, slot = match(entries[i], '^(%S+) (%d+) (%d+)$')
      local r = id and bytes - base > LIGHT_SHORT and id ~= but and n < most and stored.is_full(o, less) and record_of(id)
      local free = r and drop_keys(r) or 0
      if free > 0 then
        call('LSET', key, i - #entries - 1, id .. ' ' .. text_of(bytes - free) .. ' ' .. slot)
        stored.change(o, slot + 0, -free)
        n = n + 1
      end
    end
  end
  return n
end

-- Does the steps while the owner is full. Where nothing could go, nothing can before he has another event.
local function drop(o, less, but)
  local mark, left = marks_of(o), DROPPED_MAX
  if mark.bare == o.seq then
    return
  end
  for _, step in ipairs({ drop_audio, drop_heavy, drop_light }) do
    left = left - (stored.is_full(o, less) and step(o, left, less, but) or 0)
  end
  mark.bare = mark.bare == o.seq and left == DROPPED_MAX and not but and o.seq == o.seq_was and o.seq
end

-- What is told of something new of an owner who keeps too much, after what could go went: nil if there is room. Done once
-- per call and owner. `less`: bytes that it would free; `but`: id of a task that it needs.
stored.refused = function(o, less, but)
  if not stored.is_full(o, less) then
    return nil
  end
  after.dropped = after.dropped or {}
  if not after.dropped[o.name] then
    after.dropped[o.name] = true
    drop(o, less, but)
  end
  return stored.is_full(o, less) and stored.refusal(o) or nil
end

end
