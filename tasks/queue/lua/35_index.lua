-- SPDX-License-Identifier: MIT
-- Where tasks are listed. Queued ones: in the index of their owner, i:<owner>, and in the index of all, i,
-- sorted sets by status and time of creation. Ended light tasks: in lists, newest first, lc, lx, lk of their
-- owner and glc, glx, glk of all.

local trim_light -- 55_recorded_once.lua
local expired_of -- 40_record.lua
local trim_index, place, light_lists, list_light

-- Scores of an index: the band of the status, and within it the time of creation in ms.
local BAND = 281474976710656 -- 2^48
local BAND_OF = { A = 0, C = BAND, X = 2 * BAND, K = 3 * BAND }

-- Retention in ms; arguments of every call that can end a task.
local keep_heavy, keep_light

TOUCH_MS = 600000 -- how often it is renewed how long an owner's keys are kept

-- The time of a task's creation, from the first 48 bits of its id.
local function born(id)
  return tonumber(sub(id, 1, 8) .. sub(id, 10, 13), 16)
end

-- The score of a task in an index, as text. Remembers the last one: the tasks of a call mostly share it.
local function score_of(id, code)
  local known, time = scores[code], sub(id, 1, 13)
  local score = known[time]
  if not score then
    score = format('%.0f', BAND_OF[code] + born(id))
    known[time] = score
  end
  return score
end

do

local LIGHT_ALL = 2000 -- of all owners, for admins
local OWN_LIGHT = { C = 'lc', X = 'lx', K = 'lk' }
local ALL_LIGHT = { C = 'glc', X = 'glx', K = 'glk' }

-- Notes that an owner has an index of this kind, so that it gets renewed.
local function note_kind(o, kind)
  if not find(o.kinds, kind, 1, true) then
    o.kinds, o.touch = o.kinds .. kind, 0
  end
end

-- Places a queued task in the indexes: code A = active; C, X, K = ended. In the index of all, a successful
-- task keeps its active score: there are many, and few readers. Answer: its score.
place = function(o, id, code)
  local index, n, score = o.index, o.places, score_of(id, code)
  if o.indexed ~= o.kinds then
    note_kind(o, 'i')
    o.indexed, o.moved = o.kinds, true
  end
  index[n + 1] = score
  index[n + 2] = id
  o.places = n + 2
  if code ~= 'C' then
    local all = batches.i or batch_all('i', 'ZADD', 'i')
    n = #all
    all[n + 1] = score
    all[n + 2] = id
  end
  return score
end

-- The words for the owner's list of light tasks that ended with this code, how many there are, and the words
-- for the list of all owners, which is trimmed now and then.
light_lists = function(o, code)
  local own, n, list = o.ended, o.ends, ALL_LIGHT[code]
  if code ~= 'C' then
    own = batch('LPUSH', P .. OWN_LIGHT[code] .. ':' .. o.name)
    n = #own
  end
  if n == 2 then
    note_kind(o, sub(OWN_LIGHT[code], 2))
  end
  local all = batch_all(list, 'LPUSH', list)
  if now % 16 == 0 then
    all.most = LIGHT_ALL
  end
  return own, n, all
end

-- What is kept of an ended light task is counted by its entry in its owner's list: that is the id, or where more is kept
-- than of most, or it did not begin in this hour, "id bytes slot". `more`: bytes beyond those.
list_light = function(o, code, id, more)
  local own, n, all = light_lists(o, code)
  local bytes = stored.LIGHT + #o.name + more
  o.light, o.moved = o.light + bytes, true
  if more > 0 or stored.hour_of(born(id)) ~= stored.hour then
    own[n + 1] = id .. ' ' .. text_of(bytes) .. ' ' .. text_of(stored.light_slot)
  else
    own[n + 1] = id
  end
  if code == 'C' then
    o.ends = n + 1
  end
  push(all, id)
end

end

do

local LOG_KEEP_MS = 86400000
local LOG_EVENTS = 10000
local HEAVY_KEEP_MS = 30 * 86400000 -- until a hub has passed the configured time
local INDEX_SLACK_MS = 86400000
local INDEX_TRIMMED = 1000 -- at most, per band and call

-- Drops index entries of tasks that have expired, i.e. that were made before a time (ms); a slice of about
-- `wanted`, a different one each time. Answer: how many.
trim_index = function(key, wanted, before)
  local dropped = 0
  before = before or now - (keep_heavy or HEAVY_KEEP_MS) - INDEX_SLACK_MS
  wanted = math.min(wanted, INDEX_TRIMMED)
  for _, band in pairs(BAND_OF) do
    local from, to = format('%.0f', band), format('%.0f', band + before)
    local count = call('ZCOUNT', key, from, to)
    local first = count > 0 and call('ZCOUNT', key, '-inf', '(' .. from)
    local skip = count > wanted and floor(now / 64) * wanted % count or 0
    local old = first and call('ZRANGE', key, first + skip, first + math.min(skip + wanted, count) - 1) or {}
    local gone = expired_of(old)
    if #gone > 0 then
      dropped = dropped + call('ZREM', key, unpack(gone))
    end
  end
  return dropped
end

-- Keeps one of an owner's keys for so long; `words`: the command that notes it. Answer: whether it is there.
local function renew_key(o, key, ms, words)
  local name = key .. ':' .. o.name
  if call('PEXPIRE', P .. name, kept.net(ms)) == 0 then
    return false
  end
  put(words, text_of(run_ms + ms), name)
  return true
end

-- The same for an index. One that is gone is noted again, and renewed, when it is next written.
local function renew_kind(o, key, kind, ms, words)
  if not renew_key(o, key, ms, words) then
    o.kinds = string.gsub(o.kinds, kind, '')
  end
end

-- Renews how long an owner's keys are kept, which exceeds what is promised by two periods. While tasks are active
-- the index is kept.
local function renew(o)
  local idle = 2 * TOUCH_MS
  local keep = call('HMGET', P .. 'g', 'keep_heavy', 'keep_light')
  local index = (keep[1] or HEAVY_KEEP_MS) + LOG_KEEP_MS + idle
  local kinds, words = o.kinds, { 'ZADD', P .. 'till' }
  renew_key(o, 'e', LOG_KEEP_MS + idle, words)
  for kind in string.gmatch(kinds, '%a') do
    if kind == 'i' then
      renew_kind(o, 'i', 'i', o.act + o.later > 0 and math.max(OWNER_KEEP_MS, index) or index, words)
    else
      renew_kind(o, 'l' .. kind, kind, math.max(LOG_KEEP_MS, keep[2] or 0) + idle, words)
    end
  end
  if words[3] then
    call(unpack(words))
  end
  if o.kinds ~= kinds then
    call('HSET', P .. 'o', o.name, row_text(o))
  end
end

-- Drops the oldest events of a log. Their texts are read only where some are long.
local function trim_log(o)
  local key = P .. 'e:' .. o.name
  local count = call('LLEN', key)
  local over, bytes = math.max(0, count - LOG_EVENTS), 0
  if over > 0 and o.logged > count * stored.event(0) then
    for _, entry in ipairs(call('LPOP', key, over)) do
      bytes = bytes + stored.event(#entry)
    end
  elseif over > 0 then
    call('LTRIM', key, -LOG_EVENTS, -1)
    bytes = over * stored.event(0)
  end
  o.logged, o.moved = math.max(0, o.logged - bytes), true
end

-- The occasional upkeep of an owner, after the log was written. Trims more of an index than it grew by.
keep_owner = function(o)
  if o.renewed then
    renew(o)
  end
  if o.seq % TRIM_EVENTS < o.seq - o.seq_was then
    trim_log(o)
    trim_light(o)
    trim_index(P .. 'i:' .. o.name, TRIM_EVENTS + 2 * (o.seq - o.seq_was))
  end
  if o.moved then
    o.moved, o.row = false, row_text(o)
    call('HSET', P .. 'o', o.name, o.row)
  end
end

end
