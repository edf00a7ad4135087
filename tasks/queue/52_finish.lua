-- The end of a task, whoever causes it: record, event, indexes, counters, expiry of everything it owns.

local emit, finish, list_light, keep_heavy, keep_light

do

-- keep_heavy, keep_light: retention in ms, arguments of every call that can end a task.

local STATUS = { C = 'completed', X = 'failed', K = 'cancelled' }
local OWN_INDEX = { C = 'ic', X = 'ix', K = 'ik' }
local ALL_INDEX = { C = 'gc', X = 'gx', K = 'gk' }
local EMPTY = { result = '{}' }
local AUDIO_KEPT_MS = 3600000 -- so long a failed or cancelled stream can be retried
local IDEMPOTENCY_MS = 86400000
local INDEX_SLACK_MS = 86400000

-- Writes an event of a task that has a record: to the log and to whoever listens. The stage of a running task stands
-- in the log behind its type, unless it is the usual one; that of others follows from the code.
emit = function(r, code, e, text)
  local o = owner_of(r.o)
  local attempt = r.a or '0'
  local progress = code == 'C' and '100' or r.n or '0'
  local stage = stage_of(r)
  local task = r.s == 'processing' and stage ~= 'started' and r.task .. ' ' .. stage or r.task
  local entry = entry_of(code, attempt, r.id, progress, task)
  local seq = log_append(o, entry, text)
  set(r, 'e', seq)
  if heard(o) then
    add_line(o, line_of(entry, format('%d', seq), '0', e))
  end
  return seq
end

-- Drops what an index still names although it has expired; a bounded slice at a time.
local function trim_index(key)
  local old = call('ZRANGE', key, '-inf', now - keep_heavy - INDEX_SLACK_MS, 'BYSCORE', 'LIMIT', 0, 32)
  for i = 1, #old do
    push(batch('ZREM', key), old[i])
  end
end

-- Names a light task that ended in its owner's list and in that of everybody, which is cut now and then.
list_light = function(o, code, id)
  local own, every = OWN_LIGHT[code], ALL_LIGHT[code]
  local all = batch_all(every, 'LPUSH', every)
  push(batch_of(o, own, 'LPUSH', own), id)
  push(all, id)
  if now % 16 == 0 then
    all.most = LIGHT_ALL
  end
end

local function index_ended(r, code)
  local o = owner_of(r.o)
  push(batch_of(o, 'ia-', 'ZREM', 'ia'), r.id)
  push(batch_all('ga-', 'ZREM', 'ga'), r.id)
  if r.light then
    list_light(o, code, r.id)
    return
  end
  local own, every = OWN_INDEX[code], ALL_INDEX[code]
  put(batch_of(o, own, 'ZADD', own), r.created, r.id)
  put(batch_all(every, 'ZADD', every), r.created, r.id)
  local kind = sub(own, 2)
  if not find(o.kinds, kind, 1, true) then
    o.kinds, o.moved, o.renew = o.kinds .. kind, true, true
  end
  if now % 64 == 0 and not after.trimmed then
    after.trimmed = true
    trim_index(P .. own .. ':' .. r.o)
    trim_index(P .. every)
  end
end

-- The stream's bytes: freed, or kept a while for task.retry.
local function retire_audio(r, code)
  if code == 'C' or r.audio_dropped then
    call('UNLINK', P .. 'a:' .. r.id)
  else
    call('PEXPIRE', P .. 'a:' .. r.id, AUDIO_KEPT_MS)
  end
end

-- Everything of a task that ended goes at the same time.
local function expire_all(r)
  call('PEXPIRE', P .. 't:' .. r.id, r.keep)
  for i = 1, #r.y do
    call('PEXPIRE', P .. EXTRA[sub(r.y, i, i)] .. r.id, r.keep)
  end
end

local function note_ended(r, keep)
  r.keep = keep
  if not after.ended then
    local list = {}
    after.ended = list
    after[#after + 1] = function()
      for i = 1, #list do
        expire_all(list[i])
      end
    end
  end
  push(after.ended, r)
end

-- How long the idempotency key goes on standing for an ended task, at least as long as its record.
local function release_key(r)
  local left = math.max(1000, r.created + IDEMPOTENCY_MS - now)
  call('PEXPIRE', P .. 'k:' .. r.o .. ':' .. r.x, left)
  return left
end

-- Ends a task with code C, X or K. `e`: result, or code and error (JSON texts). The caller has taken it out
-- of its place.
finish = function(r, code, e)
  local keep = r.light and keep_light or keep_heavy
  set_status(r, STATUS[code])
  set(r, 'f', now_digits)
  if code == 'C' then
    if e.result and e.result ~= '' and e.result ~= '{}' then
      keep_value(r, 'R', 'r', e.result)
    else
      e = EMPTY
    end
  elseif e.code then
    call('SET', extra(r, 'e'), e.code .. '\n' .. (e.error or '""'))
  end
  if r.x then
    keep = math.max(keep, release_key(r))
  end
  if r.expires ~= '0' then
    call('ZREM', P .. 'x', r.id)
  end
  emit(r, code, e)
  index_ended(r, code)
  if r.stream then
    call('ZREM', P .. 'as', r.id)
    retire_audio(r, code)
  end
  if not r.light then
    count_active(owner_of(r.o), -1)
  end
  count_end(r.s, r.b and r.b + 0 or 0, now)
  note_ended(r, keep)
end

end
