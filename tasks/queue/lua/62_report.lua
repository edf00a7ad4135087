-- SPDX-License-Identifier: MIT
-- The reports of runners on the attempts they hold: start, progress, end; all news of a task in one report.

local emit_latest

do

-- Makes an event that is not logged and that newer ones replace. Runners number theirs in steps of two, so the
-- number made here lies between two of theirs.
emit_latest = function(r, code, e)
  local o = owner_of(r.o)
  local rev = text_of(r.v + 1)
  set(r, 'v', rev)
  local stage = stage_of(r)
  local task = stage ~= 'started' and r.task .. ' ' .. stage or r.task
  say(o, false, add_event, entry_of(code, r.a, r.id, r.n, task), '0', ' ' .. rev .. ' ', e)
end

-- Clears what an earlier attempt reported.
local function forget_reports(r)
  set(r, 'n', '0')
  set(r, 'l', '')
  set(r, 'c', '')
  for _, letter in ipairs({ 'p', 'm', 't' }) do
    if has(r, letter) then
      stored.apart(r, -stored.size_of(r, letter))
      call('DEL', P .. EXTRA[letter] .. r.id)
    end
  end
end

-- Logs `started`. An attempt that ends with its first report needs no such event.
local function start(r, over)
  if r.b ~= '' then
    forget_reports(r)
  end
  r.s, r.b = 'processing', now_digits
  if r.z then
    set(r, 'g', 'cancelling')
  elseif r.g then
    set(r, 'g', 'started')
  end
  if r.X then
    call('ZREM', P .. 'x', r.id)
  end
  if not over then
    emit(r, 'S', NOTHING)
  end
end

local function keep_text(r, letter, text)
  if text ~= '' then
    stored.put(r, letter, text)
  end
end

-- Stores the last of several reports in the record and passes all of them to the owner's listeners: the runner has
-- made their lines. After a cancel was requested they are dropped.
local function progress(r, percent, stage, message, meta, rev, lines)
  if percent ~= r.n and percent + 0 > r.n + 0 then
    r.n = percent
  end
  if stage ~= '' and not r.z and stage ~= r.g then
    set(r, 'g', stage)
  end
  r.u = now_digits
  keep_text(r, 'm', message)
  keep_text(r, 't', meta)
  if rev + 0 <= r.v + 0 then
    return
  end
  r.v = rev
  if not r.z then
    say(owner_of(r.o), false, add_lines, lines)
  end
end

-- Full jitter: a random time between now and the exponential bound, so that tasks that failed together are not
-- retried together.
local function backoff(r)
  local bound = math.min(tonumber(whole(r).cap), r.base * 2 ^ (r.a - 1))
  math.randomseed(now % 2147483647 + #r.id + tonumber(sub(r.id, -6), 16))
  return floor(math.random() * bound)
end

local function try_again(r, e)
  keep_error(r, e, SHORT)
  wait_again(r, e, false)
  local wait = backoff(r)
  if wait > 0 then
    make_delayed(r, run_ms + wait)
  else
    make_ready(r)
  end
end

-- Lets the task wait for its children; nobody holds it meanwhile.
local function wait_for_children(r)
  make_waiting(r, 'w')
  emit_latest(r, 'P', NOTHING)
end

-- kind C X K, D (died), B (given back) or W (waits for children); `again`: another attempt if any is left
local function end_one(r, kind, again, text, code)
  push(batches['l-'] or batch_all('l-', 'ZREM', 'l'), r.id)
  if r.z then
    finish(r, 'K', NOTHING)
  elseif kind == 'C' then
    finish(r, 'C', { result = text })
  elseif kind == 'D' then
    died(r)
  elseif kind == 'W' then
    wait_for_children(r)
  elseif kind == 'B' then
    give_back(r, { code = code, error = text })
  elseif kind == 'X' and again and tonumber(r.a) < tonumber(whole(r).max) then
    try_again(r, { code = code, error = text })
  elseif kind == 'X' then
    finish(r, 'X', { code = code, error = text })
  else
    finish(r, 'K', NOTHING)
  end
end

-- Meaning of the verbs: s = start, p = progress (6 words follow), C = completed (1 word), X K D B W = the lease
-- ends (2 words), r = may be retried.
local VERBS = '^(s?)(p?)([CXKDBW]?)(r?)$'
local read_verbs = {} -- text of verbs -> their meaning

local function verbs_of(text)
  local verbs = read_verbs[text]
  if not verbs then
    local starts, reports, kind, again = match(text, VERBS)
    verbs = { starts = starts == 's', reports = reports == 'p', kind = kind ~= '' and kind, again = again == 'r' }
    verbs.words = 3 + (verbs.reports and 6 or 0) + (kind == 'C' and 1 or verbs.kind and 2 or 0)
    verbs.whole = verbs.starts and kind == 'C'
    if starts then
      read_verbs[text] = verbs
    end
  end
  return verbs
end

-- Ends the usual task, which is reported once, from start to end, and has only a result: its record need not be
-- parsed. `line`: pieces of its third line. Answer: whether the record is of this kind; the caller counts its end.
local function end_whole(args, i, verbs, owner, line)
  local id, at = args[i], i + 3
  local text = verbs.whole and args[i + 1] == '1' and not records[id] and fetched[id]
  local state = text and find(text, line.leased, 1, true)
  local flags = state and find(text, UNTOUCHED, -7, true) and find(text, ' ', #owner + 2, true)
  if not flags or sub(text, flags, flags + 2) ~= ' - ' then
    return false
  end
  local task = sub(text, #owner + 2, flags - 1)
  local percent, rev, ended = '0', '0', line.ended
  if verbs.reports then
    if args[at + 2] ~= '' or args[at + 3] ~= '' then
      return false
    end
    percent, rev, ended, at = args[at], args[at + 4], line.told, at + 6
  end
  local result, outcome = args[at], EMPTY
  if #result > SHORT then
    return false
  elseif result == '{}' then
    result = ''
  elseif result ~= '' then
    outcome = { result = result }
  end
  local o, home = owners[owner] or owner_of(owner), homes[id]
  if verbs.reports then
    local entry = entry_of('S', '1', id, '0', task)
    say(o, false, add_event, entry, text_of(log_append(o, entry)), LOGGED, NOTHING)
    say(o, false, add_lines, args[i + 8])
  end
  local entry = 'C 1 ' .. id .. at_now .. '100 ' .. task
  local seq = text_of(log_append(o, entry))
  say(o, false, add_event, entry, seq, LOGGED, outcome)
  text = sub(text, 1, state - 1) .. line.completed .. percent .. ' ' .. seq .. ' ' .. rev .. ended .. result
  fetched[id] = text
  bucket_put(home, id, text)
  count_in(home, -1, run_ms + keep_heavy)
  o.living, o.heavy = o.living - state - stored.RECORD, o.heavy + state + stored.RECORD
  place(o, id, 'C')
  count_active(o, -1)
  push(batches['l-'] or batch_all('l-', 'ZREM', 'l'), id)
  return true
end

-- Applies one task's reports. Answer: its code.
local function report_one(args, i, verbs)
  local r = record_of(args[i])
  local at = i + 3
  if not holds(r, args[i + 1]) then
    return LOST
  end
  touch(r)
  if r.s == 'pending' and (verbs.starts or verbs.kind == 'W') then
    start(r, verbs.kind and not verbs.reports)
  end
  if verbs.reports then
    if r.s == 'processing' then
      progress(r, args[at], args[at + 1], args[at + 2], args[at + 3], args[at + 4], args[at + 5])
    elseif not verbs.kind then
      return LOST
    end
    at = at + 6
  end
  if verbs.kind then
    end_one(r, verbs.kind, verbs.again, args[at], args[at + 1])
  end
  return 0
end

-- Reads the tasks named in the arguments of report(), and their owners. Answer: the owners' names, false for a task
-- that is gone.
local function fetch_all(args)
  local ids, names, i = {}, {}, 5
  while i <= #args do
    ids[#ids + 1] = args[i]
    i = i + (read_verbs[args[i + 2]] or verbs_of(args[i + 2])).words
  end
  fetch_records(ids)
  for n = 1, #ids do
    local text = fetched[ids[n]]
    names[n] = text and match(text, '^%S+')
  end
  fetch_owners(names)
  return names
end

-- args: retention, then per task: id, fence, verbs; with p: percent, stage, message, meta ('' = unchanged; texts as
-- JSON), rev, lines; with an end: C: result ('' = {}), else error as JSON and error code. Answer: number and code of
-- each task whose code is not 0.
local function report(args)
  retention(args)
  local names = fetch_all(args)
  local answer, i, whole = {}, 5, 0
  local line = {
    leased = LEASED .. holder .. ' 0 ', completed = '\nC 1 1 ' .. holder .. ' ',
    ended = at_now .. now_digits .. '  \n', told = at_now .. now_digits .. at_now .. '\n',
  }
  for n = 1, #names do
    local verbs = verbs_of(args[i + 2])
    if end_whole(args, i, verbs, names[n], line) then
      whole = whole + 1
    else
      local code = report_one(args, i, verbs)
      if code ~= 0 then
        put(answer, n, code)
      end
    end
    i = i + verbs.words
  end
  count_end('C', now_digits, whole)
  return answer
end

export('report', { 'allow-oom' }, report)

end
