-- The runner's side of leases: take, begin, keep, give back.

local LOST, start

do

LOST = 9 -- enum queue_code: QUEUE_LOST
local BEAT_KEPT_MS = 60000

-- Milliseconds until a delayed task is due, 0 if none is.
local function next_due()
  local first = call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')
  return first[1] and math.max(1, first[2] - now) or 0
end

-- Gives one task to the caller: {id, owner, task, attempt, max attempts, flags s (stream), arguments}; nil if
-- there is none any more.
local function lease_one(id, deadline)
  local key = P .. 't:' .. id
  local v = call('HMGET', key, 'o', 'i', 'a', 's', 'J', 'y')
  if not v[1] or v[4] and v[4] ~= 'pending' then
    return nil
  end
  local task, priority, max, flags = match(v[2], '^(%S+) %S+ (%d) (%d+) %d+ %d+ (%S+)')
  local attempt = format('%d', (v[3] or 0) + 1)
  call('HSET', key, 'a', attempt, 'w', holder)
  put(batch_all('l+', 'ZADD', 'l'), deadline, id)
  local args = v[5] or ''
  if v[6] and find(v[6], 'a', 1, true) then
    args = call('GET', P .. 'args:' .. id) or ''
  end
  return { id, v[1], task, attempt, max, flags == '-' and '' or flags, args }, priority
end

-- args: retention, queue, count, lease ms. Answer: {ms until the next delayed task, rows…}.
local function lease(args)
  retention(args)
  local queue, wanted, deadline = args[5], args[6] + 0, now + args[7]
  sweep()
  flush_batches()
  flush_records()
  records = {}
  local answer = { 0 }
  local popped = wanted > 0 and call('ZPOPMIN', P .. 'q:' .. queue, wanted) or {}
  local times = {}
  for i = 1, #popped, 2 do
    local row, priority = lease_one(popped[i], deadline)
    if row then
      answer[#answer + 1] = row
      times[priority] = popped[i + 1]
    end
  end
  for priority, score in pairs(times) do
    call('HSET', P .. 'g', 'V:' .. queue .. priority, score % SPAN_OF_PRIORITY)
  end
  answer[1] = next_due()
  return answer
end

-- What an attempt reported is no news of the next one.
local function forget_reports(r)
  set(r, 'n', '0')
  set(r, 'l', '0')
  if r.c then
    set(r, 'c', '0')
  end
  for _, letter in ipairs({ 'p', 'm', 't' }) do
    if has(r, letter) then
      call('DEL', P .. EXTRA[letter] .. r.id)
    end
  end
end

-- The task runs: event started.
start = function(r)
  if r.b then
    forget_reports(r)
  end
  set_status(r, 'processing')
  set(r, 'b', now_digits)
  if r.z then
    set(r, 'g', 'cancelling')
  elseif r.g then
    set(r, 'g', 'started')
  end
  if r.expires ~= '0' then
    call('ZREM', P .. 'x', r.id)
  end
  emit(r, 'S', NOTHING)
end

-- args: then per task: id, attempt. Answer: one code per task.
local function started(args)
  local answer = {}
  for i = 3, #args, 2 do
    local r = record_of(args[i])
    local code = LOST
    if holds(r, args[i + 1]) then
      code = 0
      if r.s == 'pending' then
        start(r)
      end
    end
    answer[#answer + 1] = code
  end
  return answer
end

-- args: lease ms, info (JSON), retention…, then per task: id, attempt. Answer: {lost ids, cancelled ids}.
local function beat(args)
  retention(args)
  local lease_ms, info = tonumber(args[5]), args[6]
  local lost, cancelled = {}, {}
  for i = 7, #args, 2 do
    local r = record_of(args[i])
    if not holds(r, args[i + 1]) then
      lost[#lost + 1] = args[i]
    else
      put(batch_all('l+', 'ZADD', 'l'), now + lease_ms, r.id)
      if r.z then
        cancelled[#cancelled + 1] = r.id
      end
    end
  end
  flush_batches()
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

-- args: then per task: id, attempt.
local function release(args)
  local answer = {}
  for i = 3, #args, 2 do
    local r = record_of(args[i])
    local code = LOST
    if holds(r, args[i + 1]) and r.s == 'pending' then
      code = 0
      call('ZREM', P .. 'l', r.id)
      unlease(r)
    end
    answer[#answer + 1] = code
  end
  return answer
end

local RECLAIM_SLICE = 500

-- Gives back what earlier incarnations of the caller hold. args: retention, how many leases to skip.
-- Answer: where to go on, -1 at the end.
local function reclaim(args)
  retention(args)
  local from = tonumber(args[5])
  local ids = call('ZRANGE', P .. 'l', from, from + RECLAIM_SLICE - 1)
  local kept = 0
  for i = 1, #ids do
    local r = record_of(ids[i])
    if r and not terminal(r) and r.w ~= holder and holder_name(r) == origin then
      call('ZREM', P .. 'l', ids[i])
      lapse(r)
    else
      kept = kept + 1
    end
  end
  return #ids < RECLAIM_SLICE and -1 or from + kept
end

export('lease', { 'allow-oom' }, lease)
export('started', { 'allow-oom' }, started)
export('beat', { 'allow-oom' }, beat)
export('release', { 'allow-oom' }, release)
export('reclaim', { 'allow-oom' }, reclaim)

end
