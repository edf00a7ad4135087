-- SPDX-License-Identifier: MIT
-- Records of tasks. A record is a text, a field of a hash that holds those of all tasks made within the same 4 s:
-- t:<first digits of the id>, or tl:… of light ones, which are kept for a shorter time. Its lines:
--   owner task flags created queue priority max base cap
--   arguments, while they are short; these two never change
--   status attempt fence holder progress seq rev began ended updated, then letter=value of what only some tasks have
--   result, while it is short; error code and error, a line each, of one that failed or will be tried again
-- created is the time in the id, when a hub took the task; seq is that of its last event, rev that of its last unlogged
-- one. Status q is pending, too: a lease of such a task goes on with its attempt, one of a task in p begins another.
-- Status w and u: it waits for children, for a unique key; from outside processing and pending, stage waiting.
-- The fence rises with every lease. Flags: l light, s stream. Letters: g stage · d deaths · m lapses · l log lines of
-- this attempt · c number of its last numbered report · y which other keys exist · t due (run_ms) · z cancel asked · x effect,
-- of one with an idempotency key · r retry of · X expires before its start · A bytes of audio · E audio has ended ·
-- H hub that resumed it · D was delayed when it came, and came due. Letters of y: a args: · r res: · e err: · m msg: · t meta: · p pcs:.
--
-- The hash's field # counts its active tasks and says when the last of the others expires; the hash goes as a whole.
-- tasks/queue/attempt.c reads the text of a leased task.

local STATUS_OF = { p = 'pending', q = 'pending', u = 'pending', s = 'processing', w = 'processing', C = 'completed',
  X = 'failed', K = 'cancelled' }
local WAITS = { w = 'w', u = 'u' }
local UNLEASED, LEASED = '\np 0 0 ', '\np 1 1 ' -- how the third line of a new task begins
local FIXED = '^(%S+) (%S+) (%S+) %d+ %S+ %d %d+ %d+ %d+\n[^\n]*\n()'
local PLAIN = '^p (%d+) (%d+) (%S*) 0 (%d+) 0    \n$' -- the same of most: nothing happened yet but a lease
local STATE = '^(%a) (%d+) (%d+) (%S*) (%d+) (%d+) (%d+) (%d*) (%d*) (%d*) ()'
local damage = {} -- what other files call: of records whose text is none
local RARE = { 'g', 'd', 'm', 'l', 'c', 'y', 't', 'z', 'x', 'r', 'X', 'A', 'E', 'H', 'D' }
local IS_RARE = {}
for i = 1, #RARE do
  IS_RARE[RARE[i]] = true
end

-- Buckets ---------------------------------------------------------------------------------------------

-- A hash of records: what is written to it; `more`: by how much the number of its active tasks changes, `till`: until when
-- those that ended now are kept; `ended`: the same of tasks that are written only now that they have ended.
local function bucket_of(id, light)
  local known, time = light and light_buckets or heavy_buckets, sub(id, 1, 10)
  local bucket = known[time]
  if not bucket then
    bucket = { key = P .. (light and 'tl:' or 't:') .. time, wanted = false, words = false,
      more = 0, till = 0, ended = false, light = light }
    known[time] = bucket
    buckets[#buckets + 1] = bucket
  end
  return bucket
end

local function count_in(bucket, more, till)
  bucket.more = bucket.more + more
  if till > bucket.till then
    bucket.till = till
  end
end

-- The words that write to it.
local function words_of(bucket)
  local words = bucket.words
  if not words then
    words = { 'HSET', bucket.key }
    bucket.words = words
  end
  return words
end

local function bucket_put(bucket, field, text)
  local words = bucket.words or words_of(bucket)
  local n = #words
  words[n + 1] = field
  words[n + 2] = text
end

local flush_buckets

do

local DAMAGED = 1000000 -- such a count is never 0: the hash stays until it is recounted

-- Writes what is new in a hash; whether it goes or stays follows from its counts.
local function flush_bucket(bucket)
  local was, till, active
  if bucket.more ~= 0 or bucket.till > 0 then
    was, till = match(call('HGET', bucket.key, '#') or '0 0', '^(%d+) (%d+)$')
    was, till = was or DAMAGED, till or 0
    active, till = math.max(0, was + bucket.more), math.max(bucket.till, till + 0)
    bucket_put(bucket, '#', text_of(active) .. ' ' .. text_of(till))
  end
  if bucket.words then
    call_words(bucket.words)
  end
  if active == 0 then
    call('PEXPIREAT', bucket.key, text_of(till))
  elseif active and was == '0' and (till > 0 or bucket.light) then
    call('PERSIST', bucket.key)
  elseif not active and bucket.ended and find(call('HGET', bucket.key, '#') or '0', '^0') then
    call('PEXPIREAT', bucket.key, text_of(bucket.ended))
  end
  bucket.words, bucket.more, bucket.till, bucket.ended = false, 0, 0, false
end

flush_buckets = function()
  for i = 1, #buckets do
    flush_bucket(buckets[i])
  end
end

end

-- Reading -----------------------------------------------------------------------------------------------

-- Reads the records of several tasks, one command per hash.
local function fetch_records(ids, light)
  local missing, asked = false, {}
  local time, bucket
  for i = 1, #ids do
    local id = ids[i]
    if records[id] == nil and not fetched[id] then
      if sub(id, 1, 10) ~= time then
        time, bucket = sub(id, 1, 10), bucket_of(id, light)
      end
      local words = bucket.wanted
      if not words then
        words = { 'HMGET', bucket.key }
        bucket.wanted = words
        asked[#asked + 1] = bucket
      end
      words[#words + 1] = id
    end
  end
  for i = 1, #asked do
    local bucket = asked[i]
    local words = bucket.wanted
    local texts = fetch_words(words)
    for k = 1, #texts do
      local id, text = words[k + 2], texts[k]
      fetched[id] = text
      if text then
        homes[id] = bucket
      else
        missing = true
      end
    end
    bucket.wanted = false
  end
  if missing and not light then
    fetch_records(ids, true)
  end
end

do

local NO_NUMBER = '%f[%a][dmlctzXAED]=%d*[^%d ]' -- one of these letters, whose values are numbers, has another
local STATE_END = '^ %d+ %d+ %d+ %d* %d* %d* ([^\n]*)\n' -- of a third line, behind the holder
local CORRUPT = 'corrupt\n"What was stored of this task is damaged."'

-- Whether this owner's index or lists name the task. What a damaged record says of its owner counts for nothing.
damage.is_of = function(id, owner)
  if call('ZSCORE', P .. 'i:' .. owner, id) then
    return true
  end
  for _, list in ipairs({ 'lc:', 'lx:', 'lk:' }) do
    if call('LPOS', P .. list .. owner, id) then
      return true
    end
  end
  return false
end

-- Who is told what a damaged record's owner may be told.
damage.owned_by = function(r, owner)
  if r.corrupt and r.o == '' and owner ~= '' and damage.is_of(r.id, owner) then
    r.o = owner
  end
end

-- What stands for a damaged record: a failed task. It is written when a call meets it that may write (damage.mend()).
damage.record_of = function(id, text, light)
  local owner, task = match(text, '^([%w._@+%%-]+) ([%w_]+) ')
  local born_at = text_of(born(id))
  local r = {
    id = id, o = '', task = task or 'unknown', flags = light and '-l' or '-', light = light, s = 'failed', corrupt = true,
    counted = false, a = '0', fence = '0', w = '', n = '0', e = '0', v = '0', b = '', f = born_at, u = '', more = false,
    R = CORRUPT, y = 'a', created = born_at, queue = 'default', priority = '4', max = '1', base = '1', cap = '1', J = '',
  }
  damage.owned_by(r, owner or '')
  return r
end

-- Whether the letters of a record's third line have values that they cannot have.
damage.in_letters = function(more)
  return more ~= '' and find(more, NO_NUMBER) ~= nil
end

-- The same of what stands behind the holder.
damage.behind_holder = function(text)
  local more = match(text, STATE_END)
  return not more or damage.in_letters(more)
end

end

local function record_of(id)
  local r = records[id]
  if r ~= nil then
    return r
  end
  if fetched[id] == nil then
    fetch_records({ id })
  end
  local text = fetched[id]
  if not text then
    records[id] = false
    return false
  end
  local owner, task, flags, at = match(text, FIXED)
  local a, fence, w, e = match(text, PLAIN, at)
  local status, n, v, b, f, u, more, result = 'p', '0', '0', '', '', '', '', ''
  if not a then
    local rest
    status, a, fence, w, n, e, v, b, f, u, rest = match(text, STATE, at)
    local line_end = rest and find(text, '\n', rest, true)
    if not at or not line_end or not STATUS_OF[status] then
      r = damage.record_of(id, text, homes[id].light)
      records[id] = r
      return r
    end
    more, result = sub(text, rest, line_end - 1), sub(text, line_end + 1)
  end
  r = {
    id = id, o = owner, task = task, flags = flags, s = STATUS_OF[status], same = status == 'q' or status == 'w',
    waits = WAITS[status], counted = false, a = a, fence = fence, w = w, n = n, e = e, v = v, b = b, f = f, u = u, more = more, R = result,
    fixed = sub(text, 1, at - 1),
  }
  if flags ~= '-' then
    r.light = find(flags, 'l', 1, true) ~= nil
    r.stream = find(flags, 's', 1, true) ~= nil
  end
  if more ~= '' then
    for letter, value in string.gmatch(more, '(%a)=(%S+)') do
      -- Letters of another format are turned into those of this one here.
      r[letter] = value
    end
    if damage.in_letters(more) then
      r = damage.record_of(id, text, homes[id].light)
    end
  end
  records[id] = r
  return r
end

-- The record with the rest of what never changes: created, queue, priority, max, base, cap, J (short arguments).
local function whole(r)
  if not r.queue then
    r.created, r.queue, r.priority, r.max, r.base, r.cap, r.J =
      match(r.fixed, '^%S+ %S+ %S+ (%d+) (%S+) (%d) (%d+) (%d+) (%d+)\n([^\n]*)')
  end
  return r
end

-- Writing -----------------------------------------------------------------------------------------------

-- The record will be written at the end of the call. Call it before the status changes; whoever changes a field of
-- `more` clears that.
local function touch(r)
  if not r.counted then
    r.counted = r.s
    changed[#changed + 1] = r
  end
end

-- Changes a field.
local function set(r, field, value)
  touch(r)
  r[field] = value
  if IS_RARE[field] then
    r.more = false
  end
end

do

local LETTER_OF = { pending = 'p', processing = 's', completed = 'C', failed = 'X', cancelled = 'K' }

local function more_of(r)
  local words = {}
  for i = 1, #RARE do
    local letter, value = RARE[i], r[RARE[i]]
    if value and value ~= '' then
      -- Where g.format is lower, letters of that format are written here.
      words[#words + 1] = letter .. '=' .. value
    end
  end
  return concat(words, ' ')
end

local function text_of_record(r)
  local status = r.waits or r.same and r.s == 'pending' and 'q' or LETTER_OF[r.s]
  return r.fixed .. status .. ' ' .. r.a .. ' ' .. r.fence .. ' ' .. r.w .. ' ' .. r.n .. ' ' .. r.e .. ' ' .. r.v
    .. ' ' .. r.b .. ' ' .. r.f .. ' ' .. r.u .. ' ' .. (r.more or more_of(r)) .. '\n' .. r.R
end

-- Keeps the counts of running tasks.
local function count_running(r)
  local more = (r.s == 'processing' and 1 or 0) - (r.counted == 'processing' and 1 or 0)
  if more ~= 0 then
    local o, g = owner_of(r.o), global
    o.run = math.max(0, o.run + more)
    if o.run == 0 then
      turns.settled = nil
    end
    g.run = math.max(0, g.run + more)
    o.moved, g.moved = true, true
  end
end

flush_records = function()
  for i = 1, #changed do
    local r = changed[i]
    if r.s ~= r.counted and (r.s == 'processing' or r.counted == 'processing') then
      count_running(r)
    end
    bucket_put(homes[r.id], r.id, text_of_record(r))
    r.counted = false
  end
  changed = emptied(changed)
  flush_buckets()
end

end

local UNTOUCHED = ' 0    \n' -- how the record of a task ends that nothing happened to yet but a lease
local lease_text

do

local FIXED_BEGIN = '^%S+ %S+ %S+ %d+ %S+ %d '
local WAITING = '^[^\n]*\n[^\n]*()\n([pq]) (%d+) (%d+) %S*( .*)$'

-- Leases a task that waits, without a look at what it is: its new text, nil if it does not wait any more or is damaged.
lease_text = function(id)
  local text = fetched[id]
  if not text or not find(text, FIXED_BEGIN) then
    return nil
  end
  local at, state, rest = find(text, UNLEASED, 1, true), LEASED, nil
  if at then
    rest = sub(text, at + #UNLEASED)
  else
    local status, attempt, fence, others
    at, status, attempt, fence, others = match(text, WAITING)
    if not status then
      return nil
    end
    state, rest = '\np ' .. (status == 'p' and text_of(attempt + 1) or attempt) .. ' ' .. text_of(fence + 1) .. ' ', others
  end
  if sub(rest, -7) ~= UNTOUCHED and damage.behind_holder(rest) then
    return nil
  end
  text = sub(text, 1, at - 1) .. state .. holder .. rest
  bucket_put(homes[id], id, text)
  return text
end

end

-- Counts a heavy task in (1) or out (-1) of what is active, of an owner whose row is written anyway. Where the row and g are
-- written, a sum below 0 heals.
local function count_active(o, n)
  local g = global
  o.act, g.act, g.moved = o.act + n, g.act + n, true
end

-- Heavy tasks that are delayed from their submission on: not active before they come due.
local delayed = {} -- what other files call; Lua bounds the number of locals

-- Counts one in (1) or out (-1).
delayed.count = function(o, n)
  local later = o.later + n
  o.later, o.moved = later > 0 and later or 0, true
end

-- The same of one that came due (1) or ended since (-1): it holds no place in the global limit.
delayed.count_due = function(n)
  local g = global
  local due = g.due + n
  g.due, g.moved = due > 0 and due or 0, true
end

-- A task was taken out of d: if it was such a one, it is active from now on. Answer: whether it was.
delayed.leave = function(r)
  local first = r.fence == '0' and not r.light
  if first then
    local o = owner_of(r.o)
    delayed.count(o, -1)
    count_active(o, 1)
  end
  return first
end

local function terminal(r)
  return r.s ~= 'pending' and r.s ~= 'processing'
end

-- Whether the caller still has this lease: every write of a runner asks first.
local function holds(r, fence)
  return r and r.w == holder and r.fence == fence and not terminal(r)
end

local function stage_of(r)
  if terminal(r) then
    return r.s
  elseif r.waits and not r.z then
    return 'waiting'
  end
  return r.g or (r.s == 'pending' and 'queued' or 'started')
end

local function has(r, letter)
  return r.y and find(r.y, letter, 1, true) ~= nil
end

local EXTRA = { a = 'args:', r = 'res:', e = 'err:', m = 'msg:', t = 'meta:', p = 'pcs:' }

-- Marks that one of the other keys exists now; returns its name.
local function extra(r, letter)
  if not has(r, letter) then
    set(r, 'y', (r.y or '') .. letter)
  end
  return P .. EXTRA[letter] .. r.id
end

local SHORT = 200 -- the longest value that every change of a record writes again …
local LIGHT_SHORT = 4096 -- … and that of a light task that ended, which changes no more

-- The arguments, false if they are gone.
local function args_of(r)
  if has(r, 'a') then
    return call('GET', P .. EXTRA.a .. r.id)
  end
  return whole(r).J
end

-- Those of the ids that have no record any more.
expired_of = function(ids)
  local gone = {}
  fetch_records(ids)
  for i = 1, #ids do
    if not record_of(ids[i]) then
      gone[#gone + 1] = ids[i]
    end
  end
  return gone
end
