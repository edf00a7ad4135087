-- SPDX-License-Identifier: MIT
-- The runner's side of leases: taking, keeping, and taking back those of dead holders.

local LOST

local holders = {} -- functions on the set hb for other files

-- Takes back leases held by dead processes, among `count` leases from a position on. Answer: the position to
-- continue at, nil at the end.
holders.bury = function(from, count, is_dead)
  local ids = call('ZRANGE', P .. 'l', from, from + count - 1)
  local kept = 0
  fetch_records(ids)
  for i = 1, #ids do
    local r = record_of(ids[i])
    if r and not terminal(r) and is_dead(r) then
      call('ZREM', P .. 'l', ids[i])
      died(r)
    else
      kept = kept + 1
    end
  end
  return #ids == count and from + kept or nil
end

-- All other processes by their names: holders of hb and the running times of their last heartbeats.
holders.by_name = function()
  local all, found = call('ZRANGE', P .. 'hb', 0, -1, 'WITHSCORES'), {}
  for i = 1, #all, 2 do
    if all[i] ~= holder then
      local name = match(all[i], '^(.*)/')
      found[name] = found[name] or {}
      put(found[name], all[i], all[i + 1] + 0)
    end
  end
  return found
end

-- Those of this name.
holders.namesakes = function(name)
  return holders.by_name()[name] or {}
end

-- How long the leases of holders are, by a list as of namesakes(); `other`: of one that is not known.
holders.leases = function(found, other)
  local words = { 'HMGET', P .. 'hl' }
  for i = 1, #found, 2 do
    push(words, found[i])
  end
  local known = found[1] and call(unpack(words)) or {}
  for i = 1, #known do
    known[i] = (known[i] or other) + 0
  end
  return known
end

-- Notes how long the caller's leases are.
holders.note_lease = function(ms)
  call('HSET', P .. 'hl', holder, ms)
end

-- Forgets a holder.
holders.drop = function(name)
  call('ZREM', P .. 'hb', name)
  call('HDEL', P .. 'hl', name)
end

-- The time of the caller's last heartbeat; nil if it counts as dead or is unknown.
holders.beaten = function()
  local beaten = call('ZSCORE', P .. 'hb', holder)
  return beaten and byte(beaten) ~= 45 and beaten or nil
end

-- Records a heartbeat of the caller. Answer: 1 if another process may have its name, because the caller was
-- declared dead and another one of that name has started; else 0.
holders.beat = function()
  if not holders.beaten() and holders.namesakes(origin)[1] then
    return 1
  end
  call('ZADD', P .. 'hb', run_ms, holder)
  return 0
end

do

LOST = 9 -- enum queue_code: QUEUE_LOST
local BEAT_KEPT_MS = 60000

-- Leases one task to the caller if it still exists. Answer: its id, its record and, if they are not in the record,
-- its arguments.
local function lease_one(id, deadline, answer)
  local text = waiting.lease(id)
  if not text then
    damage.mend(record_of(id))
    return
  end
  local n = #answer
  answer[n + 1], answer[n + 2] = id, text
  if find(text, '\n\n', 1, true) and find(text, '^[^\n]*\n\n[^\n]* y=%a*a') then
    answer[n + 3] = call('GET', P .. 'args:' .. id) or ''
  end
  local leases = batches['l+'] or batch_all('l+', 'ZADD', 'l')
  leases.grows = true
  put(leases, deadline, id)
end

-- Advances the virtual time of a class to the tag of the task leased last.
local function move_time(queue, score)
  local priority = 9 - floor(score / SPAN_OF_PRIORITY)
  call('HSET', P .. 'g', 'V:' .. queue .. priority, format('%.0f', score % SPAN_OF_PRIORITY))
end

local LOOK_FIRST, LOOK_MIN, LOOK_PER_RUNNING, LOOK_MAX = 4, 12, 4, 256 -- tasks
local SETTLED_MS = 1000

-- Caches the owners of tasks: a task that was passed over is seen again and again.
local known, known_count = {}, 0 -- id -> owner
local KNOWN_MAX = 4000

local function names_of(ids)
  local names, unknown = {}, {}
  for i = 1, #ids do
    unknown[#unknown + 1] = not known[ids[i]] and ids[i] or nil
  end
  fetch_records(unknown)
  if known_count + #unknown > KNOWN_MAX then
    known, known_count, unknown = {}, 0, ids
    fetch_records(ids)
  end
  for i = 1, #unknown do
    local text = fetched[unknown[i]]
    known[unknown[i]] = text and match(text, '^%S+') or nil
  end
  known_count = known_count + #unknown
  for i = 1, #ids do
    names[i] = known[ids[i]] or false
  end
  return names
end

-- Whether an owner has no running task. One whose row is damaged keeps nobody waiting.
local function is_idle(name)
  local known, _, _, run = pcall(unpack_values, rows[name] or '')
  return not known or not run or run == 0
end

-- Sorts tasks of a ready set: one task of each owner without a running task goes into `firsts`, the rest into
-- `others`.
local function sort_by_turn(ids, turn)
  local names, firsts, others = names_of(ids), turn.firsts, turn.others
  fetch_owners(names)
  for i = 1, #ids do
    local id, name = ids[i], names[i]
    if not turn.ids[id] then
      local first = not name or not turn.names[name] and is_idle(name)
      turn.ids[id], turn.names[name or ''] = true, true
      push(first and firsts or others, id)
    end
  end
end

-- The part of a ready set after the virtual time of the class of `id`.
local function behind_time(key, queue, id, most)
  local priority = 9 - floor(call('ZSCORE', key, id) / SPAN_OF_PRIORITY)
  local from = format('%.0f', (9 - priority) * SPAN_OF_PRIORITY + virtual_time(queue .. priority))
  return call('ZRANGE', key, from, '+inf', 'BYSCORE', 'LIMIT', 0, most)
end

-- Returns tasks in turn: an owner with a running task waits while others wait for their first. Looks only at the
-- front of the set and at the part after the virtual time, which contains the tasks that came while earlier ones
-- were passed over.
local function look_for_turns(key, queue, count)
  local turn = { firsts = {}, others = {}, ids = {}, names = {} }
  local most = math.max(count, math.min(count + LOOK_MIN + LOOK_PER_RUNNING * global.run, LOOK_MAX))
  local from, wanted, ids = 0, count + LOOK_FIRST, nil
  repeat
    ids = call('ZRANGE', key, from, math.min(from + wanted, most) - 1)
    sort_by_turn(ids, turn)
    from, wanted = from + wanted, 2 * wanted
  until #turn.firsts >= count or from >= most
  if #turn.firsts < count and #ids > 0 then
    sort_by_turn(behind_time(key, queue, ids[#ids], count + LOOK_MIN + global.run), turn)
  end
  if #turn.firsts == 0 then
    turns.settled, turns.at = key, now
  end
  return turn
end

local function take_turns(key, queue, count)
  local turn, ids, last = look_for_turns(key, queue, count), {}, {}
  for _, tasks in ipairs({ turn.firsts, turn.others }) do
    for i = 1, math.min(#tasks, count - #ids) do
      push(ids, tasks[i])
    end
  end
  local scores = call('ZMSCORE', key, unpack(ids))
  for i = 1, #ids do
    local priority = 9 - floor(scores[i] / SPAN_OF_PRIORITY)
    last[priority] = math.max(last[priority] or 0, scores[i])
  end
  for priority, score in pairs(last) do
    if score % SPAN_OF_PRIORITY > virtual_time(queue .. priority) then
      move_time(queue, score)
    end
  end
  call('ZREM', key, unpack(ids))
  return ids
end

-- Whether owners may have to take turns: a task is running, not all waiting tasks can be taken, and no call has
-- found just now that no owner waits for his first.
local function want_turns(key, count)
  local settled = turns.settled == key and now - turns.at < SETTLED_MS and now >= turns.at
  return global.run > 0 and not settled and call('ZCARD', key) > count
end

-- Takes the first tasks out of a ready set. They rarely have several priorities, so most scores are not read: Redis
-- would print each of them.
local function take_first(queue, count)
  local key = P .. 'q:' .. queue
  if count > 0 and want_turns(key, count) then
    return take_turns(key, queue, count)
  end
  local ids = count > 0 and call('ZRANGE', key, 0, count - 1) or {}
  if #ids == 0 then
    return ids
  end
  local last = call('ZSCORE', key, ids[#ids])
  local first = #ids > 1 and call('ZSCORE', key, ids[1]) or last
  if floor(first / SPAN_OF_PRIORITY) < floor(last / SPAN_OF_PRIORITY) then
    local scores = call('ZRANGE', key, 0, count - 1, 'WITHSCORES')
    for i = 2, #scores, 2 do
      move_time(queue, scores[i])
    end
  else
    move_time(queue, last)
  end
  call('ZREMRANGEBYRANK', key, 0, #ids - 1)
  return ids
end

-- args: retention, queue, count, lease ms. Answer: {ms until the next delayed task, then per task its id, its record
-- and, if they are long, its arguments}.
local function lease(args)
  retention(args)
  local queue, deadline = args[5], format('%d', run_ms + args[7])
  local answer = { sweep_late() }
  flush_batches()
  flush_records()
  records, fetched = emptied(records), emptied(fetched) -- the sweep may have changed them
  local ids = take_first(queue, args[6] + 0)
  fetch_records(ids)
  for i = 1, #ids do
    lease_one(ids[i], deadline, answer)
  end
  return answer
end

-- args: lease ms, info (JSON), retention…, then per task: id, fence. Answer: {id and fence of each lease
-- that is lost, of each whose task is to be cancelled, holders.beat()}.
local function beat(args)
  retention(args)
  local lease_ms, info = tonumber(args[5]), args[6]
  local lost, cancelled = {}, {}
  local ids = {}
  for i = 7, #args, 2 do
    ids[#ids + 1] = args[i]
  end
  fetch_records(ids)
  for i = 7, #args, 2 do
    local r = record_of(args[i])
    if not holds(r, args[i + 1]) then
      put(lost, args[i], args[i + 1])
    else
      put(batch_all('l+', 'ZADD', 'l'), format('%d', run_ms + lease_ms), r.id)
      if r.z then
        put(cancelled, r.id, r.fence)
      end
    end
  end
  flush_batches()
  note_reader()
  local unnamed = holders.beat()
  if unnamed == 0 then
    holders.note_lease(args[5])
  end
  call('ZADD', P .. 'ws', run_ms, origin)
  call('HSET', P .. 'wi', origin, info)
  local gone = call('ZRANGE', P .. 'ws', '-inf', run_ms - BEAT_KEPT_MS, 'BYSCORE', 'LIMIT', 0, 16)
  for i = 1, #gone do
    call('ZREM', P .. 'ws', gone[i])
    call('HDEL', P .. 'wi', gone[i])
  end
  sweep()
  sweep_streams()
  return { lost, cancelled, unnamed }
end

local RECLAIM_SLICE = 500

-- Takes back the leases of earlier incarnations of the caller, which owns the name. args: retention, how many
-- leases to skip. Answer: where to continue, -1 at the end.
local function reclaim(args)
  retention(args)
  return holders.bury(tonumber(args[5]), RECLAIM_SLICE, function(r)
    return r.w ~= holder and holder_name(r) == origin
  end) or -1
end

export('lease', { 'allow-oom' }, lease)
export('beat', { 'allow-oom' }, beat)
export('reclaim', { 'allow-oom' }, reclaim)

end
