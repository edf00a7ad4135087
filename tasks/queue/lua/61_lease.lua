-- SPDX-License-Identifier: MIT
-- The runner's side of leases: take, keep, get back what died.

local LOST

do

LOST = 9 -- enum queue_code: QUEUE_LOST
local BEAT_KEPT_MS = 60000

-- Gives one task to the caller, if it is there still: its id, its record and, if they do not stand there, its arguments.
local function lease_one(id, deadline, answer)
  local text = lease_text(id)
  if not text then
    return
  end
  local n = #answer
  answer[n + 1], answer[n + 2] = id, text
  if find(text, '\n\n', 1, true) and find(text, '^[^\n]*\n\n[^\n]* y=%a*a') then
    answer[n + 3] = call('GET', P .. 'args:' .. id) or ''
  end
  put(batches['l+'] or batch_all('l+', 'ZADD', 'l'), deadline, id)
end

-- The virtual time of a class goes on to the tag of the task leased last.
local function move_time(queue, score)
  local priority = 9 - floor(score / SPAN_OF_PRIORITY)
  call('HSET', P .. 'g', 'V:' .. queue .. priority, format('%.0f', score % SPAN_OF_PRIORITY))
end

-- Takes the first tasks out of a ready set. They seldom are of several priorities; so not all scores are asked for,
-- which Redis would print one by one.
local function take_first(queue, count)
  local key = P .. 'q:' .. queue
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
  records, fetched = emptied(records), emptied(fetched) -- what the sweep read may have changed
  local ids = take_first(queue, args[6] + 0)
  fetch_records(ids)
  for i = 1, #ids do
    lease_one(ids[i], deadline, answer)
  end
  return answer
end

-- args: lease ms, info (JSON), retention…, then per task: id, fence. Answer: {id and fence of each lease
-- that is lost, of each whose task is to be cancelled}.
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
  keys.drop()
  call('ZADD', P .. 'ws', now, origin)
  call('HSET', P .. 'wi', origin, info)
  local gone = call('ZRANGE', P .. 'ws', '-inf', now - BEAT_KEPT_MS, 'BYSCORE', 'LIMIT', 0, 16)
  for i = 1, #gone do
    call('ZREM', P .. 'ws', gone[i])
    call('HDEL', P .. 'wi', gone[i])
  end
  sweep()
  sweep_streams()
  return { lost, cancelled }
end

local RECLAIM_SLICE = 500

-- Gives back what earlier incarnations of the caller hold. args: retention, how many leases to skip.
-- Answer: where to go on, -1 at the end.
local function reclaim(args)
  retention(args)
  local from = tonumber(args[5])
  local ids = call('ZRANGE', P .. 'l', from, from + RECLAIM_SLICE - 1)
  local kept = 0
  fetch_records(ids)
  for i = 1, #ids do
    local r = record_of(ids[i])
    if r and not terminal(r) and r.w ~= holder and holder_name(r) == origin then
      call('ZREM', P .. 'l', ids[i])
      died(r)
    else
      kept = kept + 1
    end
  end
  return #ids < RECLAIM_SLICE and -1 or from + kept
end

export('lease', { 'allow-oom' }, lease)
export('beat', { 'allow-oom' }, beat)
export('reclaim', { 'allow-oom' }, reclaim)

end
