-- The end of a task, whoever causes it: record, event, indexes, counters, expiry of everything it owns.

local emit, finish, keep_heavy, keep_light

do


local STATUS = { C = 'completed', X = 'failed', K = 'cancelled' }
local AUDIO_KEPT_MS = 3600000 -- so long a failed or cancelled stream can be retried
local IDEMPOTENCY_MS = 86400000
local INDEX_SLACK_MS = 86400000

-- Writes an event of a task that has a record: to the log and to whoever listens.
emit = function(r, code, e, text)
  local o = owner_of(r.o)
  local attempt = r.a or '0'
  local progress = code == 'C' and '100' or r.n or '0'
  local seq = log_append(o, code, attempt, r.id, progress, r.task, text)
  set(r, 'e', seq)
  if heard(o, r.hub_builds) then
    add_line(o, code .. ' ' .. format('%d', seq) .. ' 0 ' .. attempt .. ' ' .. r.id .. ' '
      .. body_of(code, r.id, r.task, r.o, r.s, stage_of(r), progress, attempt, e), r.hub_builds)
  end
  return seq
end

-- Drops what an index still names although it has expired; a bounded slice at a time.
local function trim_index(key)
  local old = call('ZRANGE', key, '-inf', now - keep_heavy - INDEX_SLACK_MS, 'BYSCORE', 'LIMIT', 0, 32)
  for i = 1, #old do
    batch_remove(key, old[i])
  end
end

local function index_ended(r, code)
  local o = owner_of(r.o)
  batch_remove(P .. 'ia:' .. r.o, r.id)
  batch_remove(P .. 'ga', r.id)
  if r.light then
    local entry = string.lower(code) .. r.id
    local mine = o.light_list or batch('LPUSH', P .. 'il:' .. r.o)
    mine[#mine + 1] = entry
    local all = batch('LPUSH', P .. 'gl')
    all[#all + 1] = entry
    return
  end
  local kind = string.lower(code)
  local mine, all = P .. 'i' .. kind .. ':' .. r.o, P .. 'g' .. kind
  batch_add(mine, r.created, r.id)
  batch('ZADD', mine).keep = keep_heavy + INDEX_SLACK_MS
  batch_add(all, r.created, r.id)
  if now % 16 == 0 then
    trim_index(mine)
    trim_index(all)
  end
end

-- The stream's bytes: freed, or kept a while for task.retry.
local function retire_audio(r, code)
  if not r.stream then
    return
  end
  if code == 'C' or r.audio_dropped then
    call('UNLINK', P .. 'a:' .. r.id)
  else
    call('PEXPIRE', P .. 'a:' .. r.id, AUDIO_KEPT_MS)
  end
end

local function expire_all(r, keep)
  call('PEXPIRE', P .. 't:' .. r.id, keep)
  for i = 1, #r.y do
    call('PEXPIRE', P .. EXTRA[sub(r.y, i, i)] .. r.id, keep)
  end
end

-- Ends a task with code C, X or K. `e`: result, or code and error (JSON texts). The caller has taken it out
-- of its place.
finish = function(r, code, e)
  local o = owner_of(r.o)
  local keep = r.light and keep_light or keep_heavy
  set_status(r, STATUS[code])
  set(r, 'f', now_digits)
  if code == 'C' then
    r.n = '100'
    if e.result and e.result ~= '{}' then
      call('SET', extra(r, 'r'), e.result)
    end
    e.result = e.result or '{}'
  elseif e.code then
    call('SET', extra(r, 'e'), e.code .. '\n' .. (e.error or '""'))
  end
  if r.x then
    local left = math.max(1000, r.created + IDEMPOTENCY_MS - now)
    call('PEXPIRE', P .. 'k:' .. r.o .. ':' .. r.x, left)
    keep = math.max(keep, left)
  end
  if r.expires ~= '0' then
    call('ZREM', P .. 'x', r.id)
  end
  emit(r, code, e)
  index_ended(r, code)
  retire_audio(r, code)
  if not r.light then
    o.act = math.max(0, o.act - 1)
    globals().act = math.max(0, globals().act - 1)
  end
  count_end(r.s, tonumber(r.b or 0), now)
  after[#after + 1] = function()
    expire_all(r, keep)
  end
end

end
