-- SPDX-License-Identifier: MIT
-- Repair: mends what the auditor would find wrong in records, places and counters, a slice per call, small
-- enough that nobody has to wait. Hubs do a slice now and then, `taskhub check --audit --repair` does all.

do

local RECORDS = 64 -- looked at per call, about
local LOST_PLACE = { code = 'worker_lost', error = '"The task stood in no queue."' }

local ORPHANS = 4 -- owners searched for at a time
local ROUNDS = 4 -- rounds of counting
local ALL = 'g 1 - 1 0 0 0 0 -'

local orphans = {} -- damaged records that do not tell their owner
local mended, work -- findings mended, in the auditor's form; how many records this call may still look at

local function note(rule, id, what)
  mended[#mended + 1] = rule .. ' ' .. id .. ' ' .. what
end

local function mend_record(r, owner)
  damage.owned_by(r, owner or '')
  if r.corrupt and r.o ~= '' then
    note('record', r.id, 'was damaged; it has failed as corrupt')
    damage.mend(r)
  elseif r.corrupt and #orphans < ORPHANS then
    orphans[#orphans + 1] = r.id
  end
end

local function stands_somewhere(r)
  for _, key in ipairs(PLACES) do
    if call('ZSCORE', P .. key, r.id) then
      return true
    end
  end
end

local function give_place(r)
  note('place', r.id, 'stood nowhere; it is ready')
  if r.waits then
    set(r, 'w', '')
    r.waits, r.s = nil, 'pending'
  end
  give_back(r, LOST_PLACE)
end

-- Checks a task that its owner's index lists as active, and counts it; one that is mended is not counted.
local function check_active(o, id, count)
  local r = record_of(id)
  if r and r.corrupt then
    mend_record(r, o.name)
  elseif not r or r.o ~= o.name then
    note('index', id, 'was listed as active and ' .. (r and 'is of another owner' or 'had no record'))
    call('ZREM', P .. 'i:' .. o.name, id)
    return r and call('ZREM', P .. 'i', id)
  elseif terminal(r) then
    note('index', id, 'was listed as active and had ended')
    if r.light then
      call('ZREM', P .. 'i:' .. o.name, id)
      call('ZREM', P .. 'i', id)
    else
      place(o, id, r.s == 'cancelled' and 'K' or r.s == 'failed' and 'X' or 'C')
    end
  elseif not stands_somewhere(r) then
    give_place(r)
  else
    local later = not r.light and r.fence == '0' and call('ZSCORE', P .. 'd', id) ~= false
    count.act = count.act + ((r.light or later) and 0 or 1)
    count.later = count.later + (later and 1 or 0)
    count.run = count.run + (r.s == 'processing' and 1 or 0)
  end
end

local NAME = { act = 'active', run = 'running', later = 'delayed' }

local function set_counters(o, count)
  for field, name in pairs(NAME) do
    local wrong = count[field] - o[field]
    if wrong ~= 0 then
      note('counter', o.name, 'counted ' .. o[field] .. ' ' .. name .. ' tasks, has ' .. count[field])
      o[field], o.moved = count[field], true
      if field ~= 'later' then
        global[field], global.moved = math.max(0, global[field] + wrong), true
      end
    end
  end
end

-- Begins an owner's row anew where it, or what is left of it, cannot be true. `seq`: the number of an event that the log
-- must reach. Answer: whether it was so.
damage.mend_row = function(o, seq)
  if not o.log_lost and o.seq >= seq then
    return false
  end
  if not o.log_lost then
    damage.begin_row(o)
    o.seq_was = o.seq
  end
  o.moved = true
  note('owner', o.name, 'its row was damaged; its log begins anew')
  return true
end

-- Checks a slice of an owner's active tasks. `at`: {how many were looked at, act, run, later of these, digest
-- of the owner's row at the first}. A row that changed meanwhile makes the counts meaningless: they are left
-- for the next time. Answer: where to continue, nil at the end.
local function check_owner(name, at)
  local o = owner_of(name)
  local row = redis.sha1hex(rows[name] or call('HGET', P .. 'o', name) or '')
  local from = tonumber(at[1])
  local count, before = { act = tonumber(at[2]), run = tonumber(at[3]), later = tonumber(at[4]) }, #mended
  local ids = call('ZRANGE', P .. 'i:' .. name, '-inf', format('(%.0f', BAND), 'BYSCORE', 'LIMIT', from, RECORDS)
  work = work - #ids - 1
  fetch_records(ids)
  for i = 1, #ids do
    check_active(o, ids[i], count)
  end
  if from > 0 and row ~= at[5] then
    return nil
  elseif #mended > before then
    return { '0', '0', '0', '0', '-' } -- count again once this is written
  elseif #ids == RECORDS then
    return { text_of(from + #ids), text_of(count.act), text_of(count.run), text_of(count.later), row }
  end
  set_counters(o, count)
end

local START = '0 0 0 0 -'
local phases = {} -- letter of a cursor -> function that continues from there and answers the next cursor

-- A cursor is "o <cursor of HSCAN> <check_owner()'s five words> <owners left…>".
phases.o = function(cursor)
  local scan, at, left = match(cursor, '^(%d+) (%S+ %S+ %S+ %S+ %S+) ?(.*)$')
  local names, first = nil, 1
  names, scan = damage.next_owners(left, scan, 16)
  while names[first] and work > 0 do
    local words = {}
    for word in string.gmatch(at, '%S+') do
      words[#words + 1] = word
    end
    if words[1] == '0' then
      damage.mend_row(owner_of(names[first]), call('LLEN', P .. 'e:' .. names[first]))
    end
    local on = check_owner(names[first], words)
    at = on and concat(on, ' ') or START
    if on then
      break
    end
    first = first + 1
  end
  left = concat(names, ' ', first)
  return (left ~= '' or scan ~= '0') and 'o ' .. scan .. ' ' .. at .. ' ' .. left or 't 0'
end

-- Corrects a hash of records that needed no other repair: its count, and whether it goes.
local function check_bucket(key, active, light)
  local counted, till, wrong = damage.in_hash(key, active)
  local name = sub(key, #P + 1)
  if counted ~= active then
    note('counter', name, 'counted ' .. (counted or '?') .. ' active records, has ' .. active)
  elseif wrong then
    note('expiry', name, wrong)
  else
    return
  end
  till = math.max(till, run_ms + (light and keep_light or keep_heavy))
  call('HSET', key, '#', text_of(active) .. ' ' .. text_of(till))
  if active > 0 then
    call('PERSIST', key)
  else
    kept.expire(name, till - run_ms)
  end
end

-- The owner of a record whose last event his log has not reached: his row was damaged or lost.
damage.mend_owner = function(r)
  if r.o ~= '' and not r.corrupt and damage.mend_row(owner_of(r.o), r.e + 0) then
    check_owner(r.o, { '0', '0', '0', '0', '-' })
  end
end

-- Checks a slice of a hash of records. `within`: "<cursor of HSCAN>[,<active ones so far>,<digest of its count>]"; the
-- count changes with each task that begins or ends, so if it did not, so many are active. Answer: where to continue in it,
-- '0' at the end.
local function check_records(key, within)
  local from, active, digest = match(within, '^(%d+),?(%d*),?(%x*)$')
  local said, before, light = redis.sha1hex(call('HGET', key, '#') or ''), #mended, find(key, '^tl:', #P + 1) ~= nil
  local page = call('HSCAN', key, from, 'COUNT', RECORDS)
  for i = 1, #page[2], 2 do
    local id = page[2][i]
    if id ~= '#' then
      fetched[id], homes[id] = page[2][i + 1], bucket_of(id, light)
      mend_record(record_of(id))
      damage.mend_owner(record_of(id))
    end
  end
  local changed = #mended > before or orphans[1] or from ~= '0' and digest ~= said
  active = (tonumber(active) or 0) + damage.active_in(page[2])
  if page[1] ~= '0' then
    return concat({ page[1], active, changed and '0' or said }, ',')
  elseif not changed then
    check_bucket(key, active, light)
  end
  return '0'
end

-- Checks a slice of the records, listed or not. A cursor is "t <cursor of SCAN> [<that of check_records()> <keys
-- left…>]".
phases.t = function(cursor)
  local scan, within, left = match(cursor, '^(%d+) (%S+) (.+)$')
  if not left then
    local page, keys_found = call('SCAN', cursor, 'MATCH', string.gsub(P, '[%[%]*?\\]', '\\%0') .. 't*', 'COUNT', 64), {}
    for _, key in ipairs(page[2]) do
      keys_found[#keys_found + 1] = find(sub(key, #P + 1), '^tl?:') and key or nil
    end
    scan, within, left = page[1], '0', concat(keys_found, ' ')
  end
  local key, others = match(left, '^(%S+) ?(.*)$')
  if key then
    within = check_records(key, within)
    left = within ~= '0' and left or others
  end
  if left ~= '' then
    return 't ' .. scan .. ' ' .. within .. ' ' .. left
  end
  if scan ~= '0' then
    return 't ' .. scan
  end
  return orphans[1] and 'w 0' or 'b 0'
end

-- Searches a slice of the owners for those of the orphans. A cursor is "w <cursor of HSCAN>".
phases.w = function(cursor)
  local page = call('HSCAN', P .. 'o', cursor, 'COUNT', 16)
  for i = 1, #page[2], 2 do
    for k = #orphans, 1, -1 do
      local r = record_of(orphans[k])
      damage.owned_by(r or NOTHING, page[2][i])
      if not r or r.o ~= '' then
        table.remove(orphans, k)
        mend_record(r or NOTHING)
      end
    end
  end
  if page[1] ~= '0' then
    return 'w ' .. page[1]
  end
  orphans = {}
  return 'b 0'
end

-- Corrects the global counters once the tasks in all places have been counted: act, run, due.
local function set_global(wrong)
  for i, field in ipairs({ 'act', 'run', 'due' }) do
    if wrong[i] ~= 0 then
      note('counter', '*', 'counted ' .. global[field] .. ' tasks (' .. field .. '), has ' .. global[field] + wrong[i])
      global[field], global.moved = global[field] + wrong[i], true
    end
  end
end

-- Recounts a slice of the bytes that owners keep. A cursor is "b <that of stored.recount()>".
phases.b = function(cursor)
  local on = stored.recount(cursor, work, function(o, what, counts)
    note('bytes', o.name, 'counted ' .. what)
    stored.correct(o, counts)
  end)
  return on ~= '0' and 'b ' .. on or ALL
end

-- Counts a slice of the tasks in all places. A cursor is "g <round> <errors found in the round before>
-- <place> <rank> <act> <run> <due> <counters at the start>". Within one slice the counts are exact; over
-- several, tasks may move meanwhile: an error then counts only if it is the same twice.
phases.g = function(cursor)
  local round, before, place_at, rank, act, run, due, stamp = match(cursor, '^(%d+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+)$')
  local key = P .. PLACES[place_at + 0]
  local ids = call('ZRANGE', key, rank, rank + RECORDS - 1)
  fetch_records(ids)
  for i = 1, #ids do
    local r = record_of(ids[i])
    if r and not terminal(r) then
      local later = not r.light and r.fence == '0' and PLACES[place_at + 0] == 'd'
      act = act + ((r.light or later) and 0 or 1)
      run, due = run + (r.s == 'processing' and 1 or 0), due + (r.D and not r.light and 1 or 0)
    end
  end
  local counters = global.act .. ',' .. global.run .. ',' .. global.due
  local whole_slice = rank == '0' and stamp == '-'
  if not whole_slice and stamp ~= counters and stamp ~= '-' then
    return '0'
  end
  work = work - #ids
  local on = #ids == RECORDS and { place_at, rank + RECORDS } or PLACES[place_at + 1] and { place_at + 1, 0 }
  if on and work > 0 and #ids < RECORDS and stamp == '-' then
    return phases.g(concat({ round, before, on[1], on[2], act, run, due, '-' }, ' '))
  elseif on then
    return 'g ' .. concat({ round, before, on[1], on[2], act, run, due, counters }, ' ')
  end
  local wrong = { act - global.act, run - global.run, due - global.due }
  if whole_slice or concat(wrong, ',') == before then
    set_global(wrong)
  elseif round + 0 < ROUNDS and concat(wrong, ',') ~= '0,0,0' then
    return 'g ' .. round + 1 .. ' ' .. concat(wrong, ',') .. ' 1 0 0 0 0 -'
  end
  return '0'
end

local function slice(cursor)
  mended, work = {}, RECORDS
  local phase, rest = match(cursor, '^(%a) (.*)$')
  return phases[phase or 'o'](rest or '0 ' .. START)
end

-- args: retention, cursor, '0' at first. Answer: {next cursor, '0' at the end, what was mended}.
local function repair(args)
  retention(args)
  return { slice(args[5]), mended }
end

local rounds = {} -- prefix -> where its round stands

-- Does one more slice of the whole round.
damage.look = function()
  rounds[P] = slice(rounds[P] or '0')
  if #mended > 0 then
    redis.log(redis.LOG_WARNING, 'taskhub: mended: ' .. concat(mended, '; '))
  end
end

export('repair', { 'allow-oom' }, repair)

end
