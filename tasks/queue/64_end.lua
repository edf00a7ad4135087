-- How an attempt ends, as its runner reports it.

do

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
  emit(r, 'R', e, e.code .. '\n' .. e.error)
end

-- kind C X K or D (died); flags s (its start comes with it), r (another attempt if any is left)
local function end_one(r, kind, flags, text, code)
  push(batch_all('l-', 'ZREM', 'l'), r.id)
  if r.s == 'pending' and find(flags, 's', 1, true) then
    start(r)
  end
  if r.z then
    finish(r, 'K', NOTHING)
  elseif kind == 'C' then
    finish(r, 'C', { result = text })
  elseif kind == 'D' then
    lapse(r)
  elseif kind == 'X' and find(flags, 'r', 1, true) and tonumber(r.a) < tonumber(r.max) then
    try_again(r, { code = code, error = text })
  elseif kind == 'X' then
    finish(r, 'X', { code = code, error = text })
  else
    finish(r, 'K', NOTHING)
  end
end

-- args: retention, then per task: id, attempt, kind, flags, text (C: result, '' = {}; X: error as JSON), error code.
-- Answer: one code per task.
local function end_tasks(args)
  retention(args)
  local answer = {}
  for i = 5, #args, 6 do
    local r = record_of(args[i])
    local code = LOST
    if holds(r, args[i + 1]) then
      code = 0
      end_one(r, args[i + 2], args[i + 3], args[i + 4], args[i + 5])
    end
    answer[#answer + 1] = code
  end
  return answer
end

export('end', { 'allow-oom' }, end_tasks)

end
