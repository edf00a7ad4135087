-- How an attempt ends, as its runner reports it.

do

local KIND = { C = 'C', X = 'X', K = 'K' }

-- Full jitter: anywhere between now and the exponential bound, so that tasks that failed together do not
-- come back together.
local function backoff(r)
  local bound = math.min(tonumber(r.cap), r.base * 2 ^ (r.a - 1))
  math.randomseed(now % 2147483647 + #r.id + tonumber(sub(r.id, -6), 16))
  return floor(math.random() * bound)
end

local function try_again(r, e)
  set_status(r, 'pending')
  set(r, 'g', 'retrying')
  set(r, 'w', '')
  call('SET', extra(r, 'e'), e.code .. '\n' .. e.error)
  local wait = backoff(r)
  if wait > 0 then
    make_delayed(r, now + wait)
  else
    make_ready(r)
  end
  emit(r, 'R', e)
end

local function end_one(r, t)
  batch_remove(P .. 'l', r.id)
  if t.started and r.s == 'pending' then
    start(r)
  end
  if r.z then
    finish(r, 'K', {})
  elseif t.kind == 'D' then
    lapse(r)
  elseif t.kind == 'X' and t.retry and tonumber(r.a) < tonumber(r.max) then
    try_again(r, { code = t.code, error = t.error })
  elseif t.kind == 'C' then
    finish(r, 'C', { result = t.text ~= '' and t.text or nil })
  elseif t.kind == 'X' then
    finish(r, 'X', { code = t.code, error = t.error })
  else
    finish(r, 'K', {})
  end
end

-- args: retention, then per task: id, attempt, kind C X K or D (died), flags s (its start is reported with
-- it) r (retry if any attempt is left), text (C: result; X: error as JSON), error code. Answer: one code per
-- task.
local function end_tasks(args)
  retention(args)
  local answer = {}
  for i = 5, #args, 6 do
    local r = record_of(args[i])
    local code = LOST
    if holds(r, args[i + 1]) then
      code = 0
      local flags = args[i + 3]
      end_one(r, {
        kind = args[i + 2],
        started = find(flags, 's', 1, true),
        retry = find(flags, 'r', 1, true),
        text = args[i + 4],
        error = args[i + 4],
        code = args[i + 5],
      })
    end
    answer[#answer + 1] = code
  end
  return answer
end

export('end', { 'allow-oom' }, end_tasks)

end
