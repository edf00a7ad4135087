-- SPDX-License-Identifier: MIT
-- Records of tasks. A record is a text, a field of a hash that holds the records of all tasks made within the
-- same 4 s: t:<first digits of the id>; light tasks, which are kept for less time, are in tl:…. Its lines:
--   owner task flags created queue priority max base cap
--   arguments, if short; these two lines never change
--   status attempt fence holder progress seq rev began ended updated, then letter=value for rarer members
--   result, if short; error code and error, a line each, of a task that failed or will be retried
-- created is the time in the id, when a hub took the task; seq is that of its last event, rev that of its last
-- unlogged one. Status q is pending, like p, but the lease of a task in q continues its attempt, while one of a
-- task in p begins another. Status w and u: it waits for children, for a unique key; from outside processing
-- and pending, stage waiting. The fence rises with every lease. Flags: l light, s stream. Letters: g stage ·
-- d deaths · m lapses · l log lines of this attempt · c number of its last numbered report · y which other keys
-- exist · t due (run_ms) · z cancel asked · x effect of its idempotency key · r retry of · X expires before its
-- start · A bytes of audio · E audio has ended · H hub that resumed it · D was submitted with a delay, and came
-- due · B bytes of its other keys · G which of them were dropped (57_drop.lua), u =
-- its audio. Letters of y: a args: · r res: · e err: · m msg: · t meta: · p pcs:.
--
-- The hash's field # counts its active tasks and says until when (run_ms) the last of the others is kept; the hash
-- goes as a whole. tasks/queue/attempt.c reads the text of a leased task.

local STATUS_OF = { p = 'pending', q = 'pending', u = 'pending', s = 'processing', w = 'processing', C = 'completed',
  X = 'failed', K = 'cancelled' }
local WAITS = { w = 'w', u = 'u' }
local UNLEASED, LEASED = '\np 0 0 ', '\np 1 1 ' -- the start of a new task's third line
local FIXED = '^(%S+) (%S+) (%S+) %d+ %S+ %d %d+ %d+ %d+\n[^\n]*\n()'
local PLAIN = '^p (%d+) (%d+) (%S*) 0 (%d+) 0    \n$' -- the usual third line: nothing has happened yet but a lease
local STATE = '^(%a) (%d+) (%d+) (%S*) (%d+) (%d+) (%d+) (%d*) (%d*) (%d*) ()'
local RARE = { 'g', 'd', 'm', 'l', 'c', 'y', 't', 'z', 'x', 'r', 'X', 'A', 'E', 'H', 'D', 'B', 'G' }
local IS_RARE = {}
for i = 1, #RARE do
  IS_RARE[RARE[i]] = true
end

-- Buckets ---------------------------------------------------------------------------------------------

-- What is written to a hash of records. `more`: change of its number of active tasks; `till`: until when (run_ms)
-- those that ended in this call are kept; `ended`: the same for tasks that are written only now, already
-- ended.
local function bucket_of(id, light)
  local known, time = light and light_buckets or heavy_buckets, sub(id, 1, 10)
  local bucket = known[time]
  if not bucket then
    local name = (light and 'tl:' or 't:') .. time
    bucket = { name = name, key = P .. name, wanted = false, words = false, more = 0, till = 0, ended = false, light = light }
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

-- The words of the command that writes to it.
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

local DAMAGED = 1000000 -- keeps the count above 0: the hash stays until it is recounted

-- Keeps a hash for tasks that were written to it already ended.
local function keep_ended(bucket)
  if kept.note_later(bucket.name, bucket.ended) and find(call('HGET', bucket.key, '#') or '0', '^0') then
    call('PEXPIRE', bucket.key, kept.net(bucket.ended - run_ms))
  end
end

-- Writes the changes of a hash; its counts decide whether it goes some day or stays.
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
    kept.expire(bucket.name, till - run_ms)
  elseif active and was == '0' and (till > 0 or bucket.light) then
    call('PERSIST', bucket.key)
  elseif not active and bucket.ended then
    keep_ended(bucket)
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

local NO_NUMBER = '%f[%a][dmlctzXAEDB]=%d*[^%d ]' -- a letter that needs a number has something else
local STATE_END = '^ %d+ %d+ %d+ %d* %d* %d* ([^\n]*)\n' -- the third line behind the holder
local CORRUPT = 'corrupt\n"What was stored of this task is damaged."'

-- Whether this owner's index or lists name the task. The owner a damaged record names is not trusted.
damage.is_of = function(id, owner)
  if call('ZSCORE', P .. 'i:' .. owner, id) then
    return true
  end
  for _, list in ipairs({ 'lc:', 'lx:', 'lk:' }) do
    for _, entry in ipairs(call('LRANGE', P .. list .. owner, 0, -1)) do
      if sub(entry, 1, 36) == id then
        return true
      end
    end
  end
  return false
end

-- Sets the owner who may read a damaged record.
damage.owned_by = function(r, owner)
  if r.corrupt and r.o == '' and owner ~= '' and damage.is_of(r.id, owner) then
    r.o = owner
  end
end

-- The stand-in for a damaged record: a failed task. It is written by the next call that meets it and may
-- write (damage.mend()).
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

-- Whether a letter of a record's third line has a value that it cannot have.
damage.in_letters = function(more)
  return more ~= '' and find(more, NO_NUMBER) ~= nil
end

-- The same for all that follows the holder.
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
  local broken = not at
  if not a then
    local rest
    status, a, fence, w, n, e, v, b, f, u, rest = match(text, STATE, at)
    local line_end = rest and find(text, '\n', rest, true)
    broken = broken or not line_end or not STATUS_OF[status]
    more, result = broken or sub(text, rest, line_end - 1), broken or sub(text, line_end + 1)
  end
  if broken or not in_shard_of(id, owner) then
    r = damage.record_of(id, text, homes[id].light)
    records[id] = r
    return r
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
      -- Convert letters of another format to this one's here.
      r[letter] = value
    end
    if damage.in_letters(more) then
      r = damage.record_of(id, text, homes[id].light)
    end
  end
  records[id] = r
  return r
end

-- Adds to the record the rest of what never changes: created, queue, priority, max, base, cap, J (short
-- arguments).
local function whole(r)
  if not r.queue then
    r.created, r.queue, r.priority, r.max, r.base, r.cap, r.J =
      match(r.fixed, '^%S+ %S+ %S+ (%d+) (%S+) (%d) (%d+) (%d+) (%d+)\n([^\n]*)')
  end
  return r
end

-- Writing -----------------------------------------------------------------------------------------------

-- Marks the record to be written at the end of the call. Call it before the status changes; whoever changes a
-- field of `more` clears that.
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
      -- Where g.format is lower, write the letters of that format here.
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

local UNTOUCHED = ' 0    \n' -- the end of a record whose task has only been leased

-- Counts a heavy task in (1) or out (-1) of the active ones of an owner whose row is written anyway. A sum
-- below 0 heals when the row and g are written.
local function count_active(o, n)
  local g = global
  o.act, g.act, g.moved = o.act + n, g.act + n, true
end

-- Heavy tasks that were submitted with a delay: not active before they come due.
local delayed = {} -- called by other files; in a table since Lua limits the number of locals

-- Counts one in (1) or out (-1). The owner's index has to be kept as long.
delayed.count = function(o, n)
  if n > 0 then
    o.touch = 0
  end
  local later = o.later + n
  o.later, o.moved = later > 0 and later or 0, true
end

-- The same for one that came due (1) or has ended since (-1): it takes no place in the global limit.
delayed.count_due = function(n)
  local g = global
  local due = g.due + n
  g.due, g.moved = due > 0 and due or 0, true
end

-- Call when a task was taken out of d: a task submitted with a delay is active from now on. Answer: whether
-- it was one.
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

-- Marks that one of the task's other keys exists; returns its name.
local function extra(r, letter)
  if not has(r, letter) then
    set(r, 'y', (r.y or '') .. letter)
  end
  return P .. EXTRA[letter] .. r.id
end

-- Counts bytes of the task's other keys (22_stored.lua).
stored.apart = function(r, more)
  if more ~= 0 then
    local bytes, o = (r.B or 0) + more, owner_of(r.o)
    set(r, 'B', bytes > 0 and text_of(bytes) or nil)
    o.living, o.moved = o.living + more, true
  end
end

-- Writes one of them.
stored.put = function(r, letter, text)
  local was = call('SET', extra(r, letter), text, 'GET')
  stored.apart(r, #text + stored.EACH - (was and #was + stored.EACH or 0))
end

local SHORT = 200 -- the longest value kept in a record, which each change writes again …
local LIGHT_SHORT = 4096 -- … and in that of an ended light task, which changes no more

-- A task's arguments, false if they are gone.
local function args_of(r)
  if r.G and find(r.G, 'a', 1, true) then
    return false
  end
  if has(r, 'a') then
    return call('GET', P .. EXTRA.a .. r.id)
  end
  return whole(r).J
end

-- The ids among these that no longer have a record.
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
