-- SPDX-License-Identifier: MIT
-- Reading one task: rows that C turns into JSON (tasks/queue/read.c knows their order).

local row_of, result_of, error_of, live_workers

do

local PIECES_BYTES = 262144 -- bytes of final pieces in one task object
local PIECES_READ = 16

-- Reads an optional text of a task from its own key. `budget.left` bounds the bytes of a list's optional
-- parts (nil = no bound). Answer: nil when the bound would be exceeded or the text has gone before its
-- record.
local function within(budget, size)
  if budget then
    if size > budget.left then
      return false
    end
    budget.left = budget.left - size
  end
  return true
end

local function value_of(r, letter, budget)
  if not has(r, letter) then
    return ''
  end
  local key = P .. EXTRA[letter] .. r.id
  if budget and not within(budget, call('STRLEN', key)) then
    return nil
  end
  return call('GET', key) or nil
end

result_of = function(r, budget)
  if r.s ~= 'completed' then
    return ''
  elseif r.G and find(r.G, 'r', 1, true) then
    return nil
  elseif has(r, 'r') then
    return value_of(r, 'r', budget)
  end
  return within(budget, #r.R) and r.R or nil
end

-- Code and text of the last failure; none for a task that succeeded or was cancelled in the end.
error_of = function(r)
  if r.s == 'completed' or r.s == 'cancelled' then
    return '', ''
  end
  return match(r.R ~= '' and r.R or has(r, 'e') and call('GET', P .. EXTRA.e .. r.id) or '\n', '^([^\n]*)\n(.*)$')
end

-- The newest pieces within the bounds, oldest first, and how many older ones there are.
local function pieces_of(r, budget)
  if not has(r, 'p') then
    return {}, 0
  end
  local key = P .. 'pcs:' .. r.id
  local newest, left = {}, { left = math.min(PIECES_BYTES, budget and budget.left or PIECES_BYTES) }
  local count = call('LLEN', key)
  for last = count - 1, 0, -PIECES_READ do
    local slice = call('LRANGE', key, math.max(0, last - PIECES_READ + 1), last)
    local i = #slice
    while i > 0 and within(left, #slice[i]) do
      newest[#newest + 1] = slice[i]
      within(budget, #slice[i])
      i = i - 1
    end
    if i > 0 then
      break
    end
  end
  local pieces, n = {}, #newest
  for i = 1, n do
    pieces[i] = newest[n - i + 1]
  end
  return pieces, count - n
end

-- id, owner, task, status, stage, progress, attempt, created, started, ended, updated, seq, priority, retry_of,
-- max attempts, result, error code, error, message, meta, result left out (0/1), pieces, older pieces left out,
-- letters of what was dropped
row_of = function(r, budget)
  whole(r)
  local code, message = error_of(r)
  local result = result_of(r, budget)
  local said, meta = value_of(r, 'm', budget), value_of(r, 't', budget)
  local pieces, omitted = pieces_of(r, budget)
  return {
    r.id, r.o, r.task, r.s, stage_of(r), r.s == 'completed' and '100' or r.n or '0', r.a or '0',
    r.created, r.b, r.f, r.u, r.e or '0', r.priority, r.r or '', r.max,
    result or '', code, message, said or '', meta or '', result and '0' or '1', pieces, omitted, r.G or '',
  }
end

-- args: id, owner, any. Answer: {code, row}.
local function get(args)
  local r, code = reach(args[3], args[4], args[5])
  if not r then
    return { code }
  end
  return { 0, row_of(r) }
end

live_workers = function()
  local n = 0
  local names = call('ZRANGE', P .. 'ws', run_ms - 20000, '+inf', 'BYSCORE')
  for i = 1, #names do
    if byte(names[i], 1) == 119 then
      n = n + 1
    end
  end
  return n
end

-- Why a task is where it is. args: id, owner, any. Answer: {code, status, stage, place, queue, position in the
-- ready set, its size, due, live workers, holder, lease deadline, attempt, max, started, cancel asked, error
-- code, id}
local function why(args)
  local r, code = reach(args[3], args[4], args[5])
  if not r then
    return { code }
  end
  whole(r)
  local place, position, size = 'ended', -1, 0
  if not terminal(r) then
    size = call('ZCARD', P .. 'q:' .. r.queue)
    position = call('ZRANK', P .. 'q:' .. r.queue, r.id) or -1
    place = position >= 0 and 'ready' or r.waits and 'waiting' or r.w ~= '' and 'leased' or 'delayed'
  end
  local deadline = place == 'leased' and clock.wall_of(call('ZSCORE', P .. 'l', r.id)) or '0'
  return {
    0, r.s, stage_of(r), place, r.queue, position, size, r.t and clock.wall_of(r.t) or '0', live_workers(),
    args[6] ~= '0' and r.w ~= '' and holder_name(r) or '', deadline, r.a, r.max, r.b, r.z and 1 or 0,
    (error_of(r)), r.id,
  }
end

export('get', { 'no-writes' }, get)
export('why', { 'no-writes' }, why)

end
