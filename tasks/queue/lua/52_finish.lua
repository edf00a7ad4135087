-- SPDX-License-Identifier: MIT
-- The end of a task, whoever causes it: record, event, indexes, counters, and expiry of everything that
-- belongs to it.

local emit, keep_error, finish
local EMPTY = { result = '{}', rest = '\tr{}' }

do

local STATUS = { C = 'completed', X = 'failed', K = 'cancelled' }
local AUDIO_KEPT_MS = 3600000 -- how long a failed or cancelled stream can be retried …
local AUDIO_KEPT_BYTES, AUDIO_KEPT = 67108864, 100 -- … and how many bytes and streams an owner may keep

-- Writes an event of a task that has a record: to the log and to all listeners. The log names the stage of a
-- running task behind the type, unless it is the usual one; other stages follow from the code.
emit = function(r, code, e, text)
  local o = owners[r.o] or owner_of(r.o)
  local task = r.task
  if r.s == 'processing' and r.g and r.g ~= 'started' then
    task = task .. ' ' .. r.g
  end
  local entry = entry_of(code, r.a, r.id, code == 'C' and '100' or r.n, task)
  local seq = text_of(log_append(o, text and entry .. '\t' .. text or entry))
  if not r.counted then
    touch(r)
  end
  r.e = seq
  say(o, false, add_event, entry, seq, LOGGED, e)
  return o
end

local function list_ended_light(o, r, code)
  push(batch('ZREM', P .. 'i:' .. o.name), r.id)
  push(batch_all('i-', 'ZREM', 'i'), r.id)
  list_light(o, code, r.id, (r.B or 0) + (#r.R > SHORT and #r.R or 0))
end

-- Takes audio out of that of an owner's ended streams.
stored.leave_audio = function(owner, entry, bytes)
  local key = P .. 'ra:' .. owner
  local till = call('ZSCORE', key, entry)
  if till then
    call('ZREM', key, entry)
    stored.change(owner_of(owner), stored.hour_of(till) + 1, -bytes)
  end
end

-- Drops the oldest audio of an owner's failed and cancelled streams when there is too much.
-- The set ra:<owner> has "id bytes" of all that is kept, by when it is dropped; it may name more of this hour.
local function keep_audio(r)
  local key, total = P .. 'ra:' .. r.o, 0
  call('ZREMRANGEBYSCORE', key, '-inf', format('%d', stored.hour * stored.HOUR_MS - 1))
  call('ZADD', key, text_of(run_ms + AUDIO_KEPT_MS), r.id .. ' ' .. r.A)
  kept.expire('ra:' .. r.o, AUDIO_KEPT_MS + stored.HOUR_MS)
  stored.change(owner_of(r.o), stored.hour_of(run_ms + AUDIO_KEPT_MS) + 1, r.A + 0)
  local all = call('ZRANGE', key, text_of(run_ms), '+inf', 'BYSCORE', 'WITHSCORES')
  for i = #all - 1, 1, -2 do
    local id, bytes = match(all[i], '^(%S+) (%d+)$')
    total = total + bytes
    if i < #all - 1 and total > AUDIO_KEPT_BYTES or (#all - 1 - i) / 2 >= AUDIO_KEPT then
      call('UNLINK', P .. 'a:' .. id)
      stored.leave_audio(r.o, all[i], bytes)
    end
  end
end

-- Frees the stream's bytes, or keeps them a while for task.retry.
local function retire_audio(r, code)
  if code == 'C' or r.audio_dropped or not r.A then
    call('UNLINK', P .. 'a:' .. r.id)
  else
    kept.expire('a:' .. r.id, AUDIO_KEPT_MS)
    keep_audio(r)
  end
end

-- Lets all keys of an ended task go together. Their expiry waits for the end of the call, which may still write some
-- of them.
local function expire(r, keep)
  count_in(homes[r.id], -1, run_ms + keep)
  if not r.y then
    return
  end
  kept.note('y:' .. r.id, keep)
  after[#after + 1] = function()
    for i = 1, #r.y do
      call('PEXPIRE', P .. EXTRA[sub(r.y, i, i)] .. r.id, kept.net(keep))
    end
  end
end

-- Keeps a result or an error: in the record, or in a key of its own if long.
local function keep_text(r, letter, text, short)
  if #text <= short then
    r.R = text
  else
    stored.put(r, letter, text)
    r.R = ''
  end
end

keep_error = function(r, e, short)
  keep_text(r, 'e', e.code .. '\n' .. (e.error or '""'), short)
end

-- Keeps the outcome of a task; answer: what its event tells of it.
local function keep_outcome(r, code, e)
  local short, result = r.light and LIGHT_SHORT or SHORT, e.result
  if code == 'X' then
    keep_error(r, e, short)
  elseif code == 'K' or not result or result == '' or result == '{}' then
    r.R = ''
  else
    keep_text(r, 'r', result, short)
    return e
  end
  return code == 'C' and EMPTY or e
end

-- Ends a task with code C, X or K. `e`: result, or code and error (JSON texts). The caller has removed it
-- from its place.
finish = function(r, code, e)
  local keep = r.light and keep_light or keep_heavy
  if not r.counted then
    touch(r)
  end
  r.s, r.f = STATUS[code], now_digits
  if r.g then
    r.g, r.more = nil, false
  end
  e = keep_outcome(r, code, e)
  if r.x then
    keys.release(r, code)
    r.x, r.more = nil, false
  end
  if r.X then
    call('ZREM', P .. 'x', r.id)
  end
  local o = emit(r, code, e)
  o.living = o.living - stored.charge(r) - (r.A or 0)
  if r.light then
    list_ended_light(o, r, code)
  else
    o.heavy = o.heavy + stored.charge(r)
    place(o, r.id, code)
    count_active(o, -1)
    if r.D then
      delayed.count_due(-1)
    end
  end
  if r.stream then
    call('ZREM', P .. 'as', r.id)
    retire_audio(r, code)
  end
  count_end(code, r.light and '' or r.b)
  expire(r, keep)
end

-- Writes the stand-in for a damaged record: the task leaves its places, and if it was active its owner is
-- told that it failed. Counts still include it until they are recounted (92_repair.lua). Without an owner it
-- only leaves its places.
damage.mend = function(r)
  if not r or not r.corrupt then
    return
  end
  flush_batches() -- the call may have placed it only there
  for _, key in ipairs({ 'q:default', 'q:live', 'q:light', 'd', 'l', 'w', 'x', 'as' }) do
    call('ZREM', P .. key, r.id)
  end
  if r.o == '' then
    return
  end
  local score = call('ZSCORE', P .. 'i:' .. r.o, r.id)
  touch(r)
  r.corrupt, r.counted = false, 'failed'
  r.fixed = concat({ r.o, r.task, r.flags, r.created, r.queue, r.priority, r.max, r.base, r.cap }, ' ') .. '\n\n'
  kept.expire('a:' .. r.id, AUDIO_KEPT_MS)
  if score and score + 0 < BAND then
    finish(r, 'X', { code = match(r.R, '^%w+'), error = match(r.R, '\n(.*)$') })
  elseif score then
    place(owner_of(r.o), r.id, 'X')
  end
end

end
