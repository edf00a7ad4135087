-- SPDX-License-Identifier: MIT
-- New tasks. Order of checks: idempotency key, then limits; a refused task leaves no trace.

local heads = {} -- text -> what head_of() made of it
local create, limit_of, set_limits, head_of

do

local WAITING = '\nu 0 0 ' -- as UNLEASED
local LIMIT_RETRY_MS = 1000
local STREAM_FIRST_MS = 120000 -- how long a new stream is kept without word from its hub
local DELAY_MAX_MS = 366 * 86400000 -- less than how long an owner's counters survive without an event

local USER_LIMIT, GLOBAL_LIMIT = 3, 4 -- enum queue_code

-- Parses a task's head, "task queue priority max base cap flags". Few distinct heads occur; they are kept.
local heads_count = 0
local HEADS_MAX = 500

head_of = function(text)
  local head = heads[text]
  if head then
    return head
  end
  local task, queue, priority, rest, flags = match(text, '^(%S+) (%S+) (%d) (%d+ %d+ %d+) (%S+)$')
  head = {
    task = task, queue = queue, priority = priority, flags = flags, class = queue .. priority,
    lead = ' ' .. task .. ' ' .. flags .. ' ', tail = ' ' .. queue .. ' ' .. priority .. ' ' .. rest .. '\n',
    light = find(flags, 'l', 1, true) ~= nil,
    stream = find(flags, 's', 1, true) ~= nil,
  }
  if heads_count == HEADS_MAX then
    heads, heads_count = {}, 0
  end
  heads[text], heads_count = head, heads_count + 1
  return head
end

-- The members that only some new tasks have, as record_of() reads them. `t`: expires (ms from now), effect,
-- retry_of, due, audio (bytes).
local function rare_text(t)
  return (t.effect and 'x=' .. t.effect .. ' ' or '') .. (t.retry_of and 'r=' .. t.retry_of .. ' ' or '')
    .. (t.due and 't=' .. format('%d', t.due) .. ' ' or '')
    .. (t.expires and 'X=' .. format('%d', run_ms + t.expires) .. ' ' or '')
    .. (t.audio and 'E=1 A=' .. t.audio .. ' ' or '')
end

-- Writes a new task's record, its accepted event and its index entries; the caller puts it where it waits.
-- `head` as of head_of(); `rare`: nil, or what rare_text() makes; `lease`: LEASED and the holder for one
-- leased at once, else UNLEASED. Answer: seq.
create = function(o, id, head, args, rare, lease)
  local entry = 'A 0 ' .. id .. at_now .. '0 ' .. head.task
  local seq = log_append(o, entry)
  local seq_text = text_of(seq)
  local more, bytes = rare and rare_text(rare) or '', stored.RECORD
  if rare then
    bytes = bytes + (rare.effect and stored.KEY or 0) + (rare.audio or 0)
  end
  if #args > SHORT then
    call('SET', P .. 'args:' .. id, args)
    bytes = bytes + #args + stored.EACH
    args, more = '', more .. 'y=a B=' .. text_of(#args + stored.EACH)
  elseif args == '{}' then
    args = ''
  end
  local bucket, score = bucket_of(id, head.light), place(o, id, 'A')
  local text = o.name .. head.lead .. score .. head.tail .. args .. lease .. ' 0 ' .. seq_text .. ' 0    ' .. more .. '\n'
  local at = #o.name + #head.lead + #score + #head.tail + #args + 1
  if more == '' and lease == UNLEASED then
    waiting.know(text, at)
  end
  bucket_put(bucket, id, text)
  o.living = o.living + bytes + at
  bucket.more = bucket.more + 1
  if rare and rare.expires then
    call('ZADD', P .. 'x', run_ms + rare.expires, id)
  end
  if not head.light then
    local count = rare and rare.due and lease == UNLEASED and delayed.count or count_active
    count(o, 1)
  end
  if o.who.told then
    say(o, from_hub, add_event, entry, seq_text, LOGGED, NOTHING)
  end
  return seq
end

local user_limit, global_limit, light_limit, delayed_limit -- of the call
local NEWCOMERS = 4 -- times the global limit: below this, an owner without active tasks is still admitted

-- A light task runs at once or its hub refuses it; only those waiting in Redis are counted here. `later`: a
-- delayed heavy task, which needs no place among the active ones, neither now nor when it comes due.
limit_of = function(o, light, later)
  if light then
    local active = call('ZCOUNT', P .. 'i:' .. o.name, '-inf', format('(%.0f', BAND)) + o.places / 2 - 1
    return active - o.act - o.later >= light_limit and { USER_LIMIT, '', '', LIMIT_RETRY_MS } or nil
  elseif later then
    return o.later >= delayed_limit and { USER_LIMIT, '', '', LIMIT_RETRY_MS } or nil
  elseif o.act >= user_limit then
    return { USER_LIMIT, '', '', LIMIT_RETRY_MS }
  elseif global.act >= global_limit and global.act - global.due >= (o.act > 0 and 1 or NEWCOMERS) * global_limit then
    return { GLOBAL_LIMIT, '', '', LIMIT_RETRY_MS }
  end
end

set_limits = function(user, all, light, later)
  user_limit, global_limit, light_limit, delayed_limit = user + 0, all + 0, light + 0, later + 0
end

-- Parses "lease retry_of delay expires effect".
local function read_options(options)
  local lease, retry_of, delay, expires, effect = match(options, '^(%w) (%S+) (%d+) (%d+) (%S+)$')
  return {
    lease = lease == '1',
    waits = lease == 'u',
    retry_of = retry_of ~= '-' and retry_of or nil,
    due = delay ~= '0' and run_ms + math.min(delay + 0, DELAY_MAX_MS) or nil,
    expires = expires ~= '0' and expires + 0 or nil,
    effect = effect ~= '-' and effect or nil,
  }
end

-- Submits a task with options; `field`, `key`: of its idempotency key. Answer: as submit(), per task.
local function submit_rare(o, id, head, args, rare, deadline, field, key)
  local refused = rare.effect and keys.earlier(o, field, key)
    or stored.refused(o) or not rare.lease and limit_of(o, head.light, rare.due and not rare.waits)
  if refused then
    return refused
  end
  if rare.effect then
    keys.put(field, key)
  end
  if rare.lease then
    rare.due = nil
    put(batch_all('l+', 'ZADD', 'l'), deadline, id)
    return create(o, id, head, args, rare, LEASED .. holder)
  elseif rare.waits then
    put(batch_all('w+', 'ZADD', 'w'), now_digits, id)
    return create(o, id, head, args, rare, WAITING)
  elseif rare.due then
    put(batch_all('d+', 'ZADD', 'd'), rare.due, id)
    return create(o, id, head, args, rare, UNLEASED)
  end
  put_ready(o, id, head)
  return create(o, id, head, args, rare, UNLEASED)
end

-- args: user limit, global limit, lease ms, light limit, delayed limit, keys (51_keys.lua), then per task: id, owner, head, arguments,
-- options ('' or "lease (1 = leased at once, u = waits for a unique key, else 0) retry_of delay expires effect", times in
-- ms, "-" and 0 = none). Answer per task: its seq, or {code, id, status, number} where the number is the log's head
-- (duplicate) or when to try again in ms (limits); behind them the time.
local function submit(args)
  local answer, names, taken, at = {}, {}, keys.fetch(args[8]), 1
  for i = 10, #args, 5 do
    names[#names + 1] = args[i]
  end
  fetch_owners(names)
  set_limits(args[3], args[4], args[6], args[7])
  local deadline = text_of(run_ms + args[5])
  for i = 9, #args, 5 do
    local id, o, head = args[i], owners[args[i + 1]] or owner_of(args[i + 1]), heads[args[i + 2]] or head_of(args[i + 2])
    local result
    if args[i + 4] ~= '' then
      local rare = read_options(args[i + 4])
      at = rare.effect and at + 2 or at
      result = submit_rare(o, id, head, args[i + 3], rare, deadline, taken[at], taken[at + 1])
    else
      result = stored.refused(o) or limit_of(o, head.light)
      if not result then
        put_ready(o, id, head)
        result = create(o, id, head, args[i + 3], nil, UNLEASED)
      end
    end
    if head.stream and type(result) == 'number' then
      put(batch_all('as+', 'ZADD', 'as'), run_ms + STREAM_FIRST_MS, id)
    end
    answer[#answer + 1] = result
  end
  answer[#answer + 1] = now
  return answer
end

export('submit', {}, submit)

end
