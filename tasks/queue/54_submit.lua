-- New tasks. Order of checks: idempotency key, then limits; a refused task leaves no trace.

local create, limit_of

do

local LIMIT_RETRY_MS = 1000
local STREAM_FIRST_MS = 120000 -- a new stream is kept so long without a word of its hub (80_audio.lua)
local DELAY_MAX_MS = 366 * 86400000 -- less than an owner's counters are kept without any event

local DUPLICATE, MISMATCH, USER_LIMIT, GLOBAL_LIMIT = 1, 2, 3, 4 -- enum queue_code

-- Writes a new task's record, its accepted event and where it is listed; putting it where it waits is the
-- caller's. `t`: id, o (owner), head ("task queue priority max base cap flags"), and of it task, queue, priority and
-- flags; args, expires (ms from now or 0), digest, retry_of, attempt and holder (leased at once). Answer: seq.
create = function(t)
  local o = owner_of(t.o)
  local id = t.id
  local expires = t.expires > 0 and now + t.expires or 0
  local entry = entry_of('A', '0', id, '0', t.task)
  local seq = log_append(o, entry)
  local fixed = t.head .. ' ' .. now_digits .. format(' %d', expires)
  local words = { 'HSET', P .. 't:' .. id, 'o', t.o, 'i', fixed, 'e', seq }
  local args = t.args
  if args ~= '' and args ~= '{}' then
    if #args <= SHORT then
      put(words, 'J', args)
    else
      call('SET', P .. 'args:' .. id, args)
      put(words, 'y', 'a')
    end
  end
  if t.digest then
    put(words, 'x', t.digest)
  end
  if t.retry_of ~= '' then
    put(words, 'r', t.retry_of)
  end
  if t.attempt then
    put(words, 'a', t.attempt)
    put(words, 'w', holder)
  end
  if t.audio then
    put(words, 'A', t.audio)
    put(words, 'E', '1')
  end
  if t.due then
    put(words, 't', t.due)
  end
  call(unpack(words))
  if expires > 0 then
    call('ZADD', P .. 'x', expires, id)
  end
  put(batch_of(o, 'ia+', 'ZADD', 'ia'), now, id)
  put(batch_all('ga+', 'ZADD', 'ga'), now, id)
  if not t.light then
    count_active(o, 1)
  end
  if heard(o, from_hub) then
    add_line(o, line_of(entry, format('%d', seq), '0', NOTHING), from_hub)
  end
  return seq
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

-- The key of an idempotency key, and the digest of what it was given with.
local function key_of(t)
  t.digest = redis.sha1hex(t.idempotency)
  return P .. 'k:' .. t.o .. ':' .. t.digest, redis.sha1hex(t.task .. '\n' .. t.args)
end

local function submit_one(t, limits)
  local o = owner_of(t.o)
  local key, digest
  t.task, t.queue, t.priority, t.flags = match(t.head, '^(%S+) (%S+) (%d) %d+ %d+ %d+ (%S+)$')
  t.light = t.flags ~= '-' and find(t.flags, 'l', 1, true) ~= nil
  if t.idempotency ~= '' then
    key, digest = key_of(t)
  end
  local refused = key and earlier(o, key, digest) or limit_of(o, t.light, limits.user, limits.all)
  if refused then
    return refused
  end
  if key then
    call('SET', key, t.id .. ' ' .. digest)
  end
  if t.lease then
    t.attempt = '1'
    put(batch_all('l+', 'ZADD', 'l'), now + limits.lease_ms, t.id)
  elseif t.delay ~= '0' then
    t.due = now + math.min(t.delay + 0, DELAY_MAX_MS)
    put(batch_all('d+', 'ZADD', 'd'), t.due, t.id)
  else
    put_ready(o, t.id, t.queue, t.priority)
  end
  if find(t.flags, 's', 1, true) then
    put(batch_all('as+', 'ZADD', 'as'), now + STREAM_FIRST_MS, t.id)
  end
  return create(t)
end

-- args: user limit, global limit, lease ms, then per task: id, owner, head, lease (0/1), arguments,
-- idempotency key, retry_of, delay ms, expires ms. Answer per task: its seq, or {code, id, status, number} where
-- the number is the log's head (duplicate) or when to try again in ms (limits); behind them the time.
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
      delay = args[i + 7],
      expires = args[i + 8] + 0,
    }, limits)
  end
  answer[#answer + 1] = now
  return answer
end

export('submit', {}, submit)

end
