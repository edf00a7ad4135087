-- New tasks. Order of checks: idempotency key, then limits; a refused task leaves no trace.

local create, limit_of

do

local LIMIT_RETRY_MS = 1000

local DUPLICATE, MISMATCH, USER_LIMIT, GLOBAL_LIMIT = 1, 2, 3, 4 -- enum queue_code

-- Writes a new task's record and puts it where it waits. `t`: id, o, head ("task queue priority max base cap
-- flags"), args, due (ms or 0), expires (ms from now or 0), digest, retry_of.
create = function(t)
  local expires = t.expires > 0 and now + t.expires or 0
  local r = { id = t.id, o = t.o, y = '', s = 'pending' }
  r.task, r.queue, r.priority, r.max, r.base, r.cap, r.flags =
    match(t.head, '^(%S+) (%S+) (%d) (%d+) (%d+) (%d+) (%S+)$')
  r.light = find(r.flags, 'l', 1, true) ~= nil
  r.stream = find(r.flags, 's', 1, true) ~= nil
  r.created, r.expires = now, format('%d', expires)
  records[t.id] = r
  set(r, 'o', t.o)
  set(r, 'i', t.head .. ' ' .. now_digits .. ' ' .. r.expires)
  if t.args ~= '' and t.args ~= '{}' then
    call('SET', extra(r, 'a'), t.args)
  end
  if t.digest then
    set(r, 'x', t.digest)
  end
  if t.retry_of ~= '' then
    set(r, 'r', t.retry_of)
  end
  if expires > 0 then
    call('ZADD', P .. 'x', expires, t.id)
  end
  batch_add(P .. 'ia:' .. t.o, now, t.id)
  batch_add(P .. 'ga', now, t.id)
  if not r.light then
    local o = owner_of(t.o)
    o.act = o.act + 1
    globals().act = globals().act + 1
  end
  return r
end

-- The task that an idempotency key stands for already: {code, id, status, head of the log}; nil if none.
local function earlier(o, key, digest)
  local v = call('GET', key)
  if not v then
    return nil
  end
  local id, same = match(v, '^(%S+) (%S+)$')
  if same ~= digest then
    return { MISMATCH, id, '', 0 }
  end
  local r = record_of(id)
  return { DUPLICATE, id, r and r.s or 'completed', o.seq }
end

limit_of = function(o, light, user_limit, global_limit)
  if light then
    return nil
  elseif o.act >= user_limit then
    return { USER_LIMIT, '', '', LIMIT_RETRY_MS }
  elseif globals().act >= global_limit then
    return { GLOBAL_LIMIT, '', '', LIMIT_RETRY_MS }
  end
end

-- Gives a task that was just made to the calling hub, which runs it at once.
local function lease_new(r, lease_ms)
  set(r, 'a', '1')
  set(r, 'w', holder)
  batch_add(P .. 'l', now + lease_ms, r.id)
end

local function submit_one(t, limits)
  local o = owner_of(t.o)
  local light = match(t.head, '(%S+)$')
  light = find(light, 'l', 1, true) ~= nil
  local key, digest
  if t.idempotency ~= '' then
    t.digest = redis.sha1hex(t.idempotency)
    key = P .. 'k:' .. t.o .. ':' .. t.digest
    digest = redis.sha1hex(match(t.head, '^%S+') .. '\n' .. t.args)
  end
  local refused = key and earlier(o, key, digest) or limit_of(o, light, limits.user, limits.all)
  if refused then
    return refused
  end
  if key then
    call('SET', key, t.id .. ' ' .. digest)
  end
  local r = create(t)
  if t.lease then
    lease_new(r, limits.lease_ms)
  elseif t.delay > 0 then
    make_delayed(r, now + t.delay)
  else
    make_ready(r)
  end
  r.hub_builds = from_hub
  return emit(r, 'A', {})
end

-- args: user limit, global limit, lease ms, then per task: id, owner, head, lease (0/1), arguments,
-- idempotency key, retry_of, delay ms, expires ms. Answer per task: its seq, or {code, id, status, number}
-- where the number is the log's head (duplicate) or when to try again in ms (limits).
local function submit(args)
  local limits = { user = tonumber(args[3]), all = tonumber(args[4]), lease_ms = tonumber(args[5]) }
  local answer = {}
  for i = 6, #args, 9 do
    answer[#answer + 1] = submit_one({
      id = args[i],
      o = args[i + 1],
      head = args[i + 2],
      lease = args[i + 3] == '1',
      args = args[i + 4],
      idempotency = args[i + 5],
      retry_of = args[i + 6],
      delay = tonumber(args[i + 7]),
      expires = tonumber(args[i + 8]),
    }, limits)
  end
  return answer
end

export('submit', {}, submit)

end
