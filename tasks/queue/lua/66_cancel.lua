-- SPDX-License-Identifier: MIT
-- What an owner or an admin does to a task: cancel and retry.

local NOT_FOUND, FORBIDDEN, STATE, reach

do

NOT_FOUND, FORBIDDEN, STATE = 5, 6, 7 -- enum queue_code
local INPUT_GONE = 8

-- The task if `owner` may act on it, else nil and the code.
reach = function(id, owner, any)
  local r = record_of(id)
  if not r then
    return nil, NOT_FOUND
  end
  damage.owned_by(r, owner)
  if r.o ~= owner and any ~= '1' then
    return nil, FORBIDDEN
  end
  return r
end

-- The task's state as an answer: {code, status, stage, seq, id}.
local function changed_as(r, code, stage)
  return { code, r.s, stage or stage_of(r), r.e, r.id }
end

local function cancel_running(r)
  if not r.z then
    set(r, 'z', now_digits)
    set(r, 'g', 'cancelling')
    set(r, 'u', now_digits)
    emit_latest(r, 'P', NOTHING)
    tell_holder(r, 'cancel ' .. r.id .. ' ' .. r.fence)
  end
  return changed_as(r, 0, 'cancelling')
end

-- args: retention, id, owner, any. Answer: {code, status, stage, seq, id}.
local function cancel(args)
  retention(args)
  local r, code = reach(args[5], args[6], args[7])
  if not r then
    return { code }
  end
  damage.mend(r)
  if r.s == 'processing' and not r.waits then
    return cancel_running(r)
  elseif not terminal(r) then
    end_from_outside(r, 'K', NOTHING)
  elseif r.s ~= 'cancelled' then
    return changed_as(r, STATE)
  end
  return changed_as(r, 0)
end

local function inherit_audio(old, new)
  call('RENAME', P .. 'a:' .. old.id, P .. 'a:' .. new)
  call('PERSIST', P .. 'a:' .. new)
  stored.leave_audio(old.o, old.id .. ' ' .. (old.A or '0'), old.A or 0)
end

local function encoded(byte)
  return format('%%%02X', string.byte(byte))
end

-- Whether the argument `name` of a task, a user id in its external form, is absent or equals `owner`.
local function names_own(input, name, owner)
  local known, args = pcall(cjson.decode, input)
  local named = known and type(args) == 'table' and args[name]
  return not named or string.gsub(tostring(named), '[^%w._@+-]', encoded) == owner
end

-- The task that an idempotency key already stands for, as retry() answers; nil if there is none.
local function retried_before(o, field, key)
  local first = field and keys.earlier(o, field, key)
  return first and { first[1], first[3], '', first[4], first[2], now_digits, 0 }
end

-- args: user limit, global limit, light limit, id, owner, any, new id, argument that must name the owner or '', effect id
-- or '', its key (51_keys.lua). Answer: {code, status, stage, seq, id, time, ms to try again[, bytes kept, most]}; for a key that was used
-- before, those of its task, and where the log stands.
local function retry(args)
  local r, code = reach(args[6], args[7], args[8])
  if not r then
    return { code }
  end
  local o, id, words = owner_of(r.o), args[9], keys.fetch(args[12] or '')
  local before = retried_before(o, words[3], words[4])
  if before then
    return before
  elseif r.s ~= 'failed' and r.s ~= 'cancelled' then
    return changed_as(r, STATE)
  end
  local input = args_of(r)
  if not input or r.stream and call('EXISTS', P .. 'a:' .. r.id) == 0 then
    return { INPUT_GONE }
  elseif args[10] and args[10] ~= '' and not names_own(input, args[10], args[7]) then
    return { FORBIDDEN }
  end
  set_limits(args[3], args[4], args[5], 0)
  local limit = stored.refused(o, r.stream and r.A or 0, r.id) or limit_of(o, r.light)
  if limit then
    return { limit[1], '', '', 0, r.id, now_digits, limit[4], limit[6], limit[7] }
  end
  if r.stream then
    inherit_audio(r, id)
  end
  whole(r)
  local head = head_of(concat({ r.task, r.queue, r.priority, r.max, r.base, r.cap, r.flags }, ' '))
  put_ready(o, id, head)
  local rare = { retry_of = r.id, audio = r.stream and r.A or nil }
  if words[3] then
    keys.put(words[3], words[4])
    rare.effect = args[11]
  end
  local seq = create(o, id, head, input, rare, UNLEASED)
  return { 0, 'pending', 'queued', seq, id, now_digits, 0 }
end

export('cancel', { 'allow-oom' }, cancel)
export('retry', {}, retry)

end
