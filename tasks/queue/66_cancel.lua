-- What an owner (or an admin) does to a task: cancel and retry.

local NOT_FOUND, FORBIDDEN, STATE, INPUT_GONE, reach

do

NOT_FOUND, FORBIDDEN, STATE, INPUT_GONE = 5, 6, 7, 8 -- enum queue_code

-- The task if `owner` may touch it, else nil and the code.
reach = function(id, owner, any)
  local r = any_record(id)
  if not r then
    return nil, NOT_FOUND
  elseif r.o ~= owner and any ~= '1' then
    return nil, FORBIDDEN
  end
  return r
end

local function cancel_running(r)
  if not r.z then
    set(r, 'z', now_digits)
    set(r, 'g', 'cancelling')
    set(r, 'u', now_digits)
    emit_latest(r, 'P', {})
    tell_holder(r, 'cancel ' .. r.id .. ' ' .. r.a)
  end
  return { 0, r.s, 'cancelling', r.e }
end

-- args: retention, id, owner, any. Answer: {code, status, stage, seq}.
local function cancel(args)
  retention(args)
  local r, code = reach(args[5], args[6], args[7])
  if not r then
    return { code }
  elseif r.s == 'processing' then
    return cancel_running(r)
  elseif r.s == 'pending' then
    leave_place(r)
    tell_holder(r, 'cancel ' .. r.id .. ' ' .. (r.a or '0'))
    finish(r, 'K', {})
  elseif r.s ~= 'cancelled' then
    return { STATE, r.s, stage_of(r), r.e }
  end
  return { 0, r.s, stage_of(r), r.e }
end

-- The input of an ended task for a new one: its arguments, and its audio under the new name. False if any
-- of it is gone.
local function inherit_args(r)
  if r.fused then
    return r.args or ''
  end
  return has(r, 'a') and call('GET', P .. 'args:' .. r.id) or not has(r, 'a') and ''
end

local function inherit_audio(r, new)
  call('RENAME', P .. 'a:' .. r.id, P .. 'a:' .. new.id)
  call('PERSIST', P .. 'a:' .. new.id)
  set(new, 'A', r.A)
  set(new, 'E', '1')
end

-- args: user limit, global limit, id, owner, any, new id. Answer: {code, seq, status, retry ms, body of the
-- accepted event}.
local function retry(args)
  local r, code = reach(args[5], args[6], args[7])
  if not r then
    return { code }
  elseif r.s ~= 'failed' and r.s ~= 'cancelled' then
    return { STATE, r.e, r.s }
  end
  local input = inherit_args(r)
  if not input or r.stream and call('EXISTS', P .. 'a:' .. r.id) == 0 then
    return { INPUT_GONE }
  end
  local o = owner_of(r.o)
  local limit = limit_of(o, r.light, tonumber(args[3]), tonumber(args[4]))
  if limit then
    return { limit[1], 0, '', limit[4] }
  end
  local new = create({
    id = args[8],
    o = r.o,
    head = r.task .. ' ' .. r.queue .. ' ' .. r.priority .. ' ' .. r.max .. ' ' .. r.base .. ' ' .. r.cap .. ' ' .. r.flags,
    args = input,
    expires = 0,
    retry_of = r.id,
  })
  if r.stream then
    inherit_audio(r, new)
  end
  make_ready(new)
  new.hub_builds = from_hub
  local seq = emit(new, 'A', {})
  return { 0, seq, new.s, 0, body_of('A', new.id, new.task, new.o, new.s, stage_of(new), 0, 0, {}) }
end

export('cancel', { 'allow-oom' }, cancel)
export('retry', {}, retry)

end
