-- Records of tasks. A task that was queued is a hash with few and small fields (so its encoding stays a
-- listpack):
--   o owner · i "task queue priority max base cap flags created expires" (never changes) · s status (absent =
--   pending) · g stage · n progress · a attempt · d deaths · w holder of the lease · b started · f ended · u
--   updated · e seq of its last event · v rev of its last unlogged event · l log lines of this attempt · c number
--   of its last numbered report · J arguments and R result, both only while they are short · y which other keys
--   exist · t due · z cancel asked · x digest of its idempotency key · r retry of · A bytes of audio · E audio has
--   ended
-- Flags of i: l light, s stream. Letters of y: a args: · r res: · e err: · m msg: · t meta: · p pcs:.

local function record_of(id)
  local r = records[id]
  if r ~= nil then
    return r
  end
  local v = call('HGETALL', P .. 't:' .. id)
  local n = #v
  if n == 0 then
    records[id] = false
    return false
  end
  -- All fields that come, so that the table is allocated once.
  r = {
    id = id, y = '', s = 'pending', o = '', i = '', e = '', a = '0', w = '', f = false, keep = 0, light = false,
    words = false, task = '', queue = '', priority = '', max = '', base = '', cap = '', flags = '', created = '',
    expires = '',
  }
  for i = 1, n, 2 do
    r[v[i]] = v[i + 1]
  end
  r.task, r.queue, r.priority, r.max, r.base, r.cap, r.flags, r.created, r.expires =
    match(r.i, '^(%S+) (%S+) (%d) (%d+) (%d+) (%d+) (%S+) (%d+) (%d+)$')
  if r.flags ~= '-' then
    r.light = find(r.flags, 'l', 1, true) ~= nil
    r.stream = find(r.flags, 's', 1, true) ~= nil
  end
  records[id] = r
  return r
end

-- Changes a field; written once at the end of the call.
local function set(r, field, value)
  r[field] = value
  local words = r.words
  if not words then
    words = { 'HSET', P .. 't:' .. r.id }
    r.words = words
    changed[#changed + 1] = r
  end
  local n = #words
  for i = 3, n, 2 do
    if words[i] == field then
      words[i + 1] = value
      return
    end
  end
  words[n + 1] = field
  words[n + 2] = value
end

-- Counts a heavy task in (1) or out (-1) of what is active.
local function count_active(o, n)
  local g = globals()
  o.act = math.max(0, o.act + n)
  o.moved = true
  g.act = math.max(0, g.act + n)
  g.moved = true
end

flush_records = function()
  for i = 1, #changed do
    call(unpack(changed[i].words))
    changed[i].words = false
  end
  changed = {}
end

-- Changes the status and keeps the count of running tasks.
local function set_status(r, status)
  local more = (status == 'processing' and 1 or 0) - (r.s == 'processing' and 1 or 0)
  if more ~= 0 then
    local o, g = owner_of(r.o), globals()
    o.run = math.max(0, o.run + more)
    g.run = math.max(0, g.run + more)
    o.moved, g.moved = true, true
  end
  set(r, 's', status)
end

local function terminal(r)
  return r.s ~= 'pending' and r.s ~= 'processing'
end

-- Whether the caller still holds this attempt: every write of a runner asks first.
local function holds(r, attempt)
  return r and r.w == holder and r.a == attempt and not terminal(r)
end

local function stage_of(r)
  if terminal(r) then
    return r.s
  end
  return r.g or (r.s == 'pending' and 'queued' or 'started')
end

local function has(r, letter)
  return find(r.y, letter, 1, true) ~= nil
end

local EXTRA = { a = 'args:', r = 'res:', e = 'err:', m = 'msg:', t = 'meta:', p = 'pcs:' }

-- Marks that one of the other keys exists now; returns its name.
local function extra(r, letter)
  if not has(r, letter) then
    set(r, 'y', r.y .. letter)
  end
  return P .. EXTRA[letter] .. r.id
end

local SHORT = 64 -- the longest value that keeps a small hash small

-- Keeps a text: a short one in the record, another in a key of its own.
local function keep_value(r, field, letter, text)
  if #text <= SHORT then
    set(r, field, text)
  else
    call('SET', extra(r, letter), text)
  end
end

-- A kept text, false if it is gone.
local function kept_value(r, field, letter)
  if r[field] then
    return r[field]
  end
  return not has(r, letter) and '' or call('GET', P .. EXTRA[letter] .. r.id)
end

-- Light tasks that were recorded only when they had ended (55_fused.lua): the field <id> in a hash per 4 s of
-- creation time, which the id (UUID version 7) holds in its first digits. The value is the task's entry in the log,
-- "code 1 id ended progress task created began owner seq", and behind a newline the result, or code, error and
-- arguments, one per line.
local function light_bucket(id)
  return P .. 'L:' .. sub(id, 1, 10)
end

local LIGHT_STATUS = { C = 'completed', X = 'failed' }

-- The record of such a task in the shape of record_of(), with its result, error and arguments at hand.
local function light_record(id)
  local v = call('HGET', light_bucket(id), id)
  if not v then
    return false
  end
  local r = { id = id, y = '', a = '1', light = true, fused = true, flags = '-l', queue = 'light', priority = '4',
    max = '3', base = '1000', cap = '60000', expires = '0', w = '' }
  local code, payload
  code, r.f, r.n, r.task, r.created, r.b, r.o, r.e, payload =
    match(v, '^(%u) 1 %S+ (%d+) (%d+) (%S+) (%d+) (%d+) (%S+) (%d+)\n?(.*)$')
  r.s = LIGHT_STATUS[code]
  if code == 'C' then
    r.result = payload ~= '' and payload or nil
  else
    r.code, r.error, r.args = match(payload, '^([^\n]*)\n([^\n]*)\n(.*)$')
  end
  return r
end

local function any_record(id)
  return record_of(id) or light_record(id)
end
