-- SPDX-License-Identifier: MIT
-- Lists of tasks, newest first, of one owner or of all. Merges several sorted sources: active tasks, ended
-- ones (one set per status), and light tasks. A page looks at no more than WALK_MAX entries.

local totals_of

do

local WALK_MAX = 1000
local ALL_TIME = 2 ^ 47
local CHUNK = 64
local KINDS_OF_STATUS = { completed = 'c', failed = 'x', cancelled = 'k' }

-- Whether (score, id) comes after the cursor in the order of the list.
local function behind(score, id, from)
  return not from.score or score < from.score or score == from.score and id < from.id
end

-- A source returns its next entry as score, id; nil at its end.
local function index_source(key, band, f)
  local offset, chunk, i = 0, {}, 1
  local top = f.untill
  if f.from.score and f.from.score < top then
    top = f.from.score
  end
  local function step()
    if i > #chunk then
      chunk = call('ZRANGE', key, format('%.0f', band + top), format('%.0f', band + f.since), 'BYSCORE', 'REV', 'LIMIT',
        offset, CHUNK, 'WITHSCORES')
      offset, i = offset + CHUNK, 1
      if #chunk == 0 then
        return nil
      end
    end
    local id, score = chunk[i], chunk[i + 1] - band
    i = i + 2
    if behind(score, id, f.from) then
      return score, id
    end
    return step()
  end
  return step
end

local function newer(a, b)
  return a.score > b.score or a.score == b.score and a.id > b.id
end

-- The list of light tasks is ordered by their ends, which is nearly the order of creation: enough entries for
-- the page are taken from its head and sorted. When only tasks of one type are wanted, that is a whole walk.
local function light_source(key, f)
  local enough = (f.task == '' and 2 * f.limit or WALK_MAX) + CHUNK
  local found, offset, list = {}, 0, nil
  repeat
    list = call('LRANGE', key, offset, offset + 4 * CHUNK - 1)
    offset = offset + #list
    f.cost = f.cost + #list / 8
    for i = 1, #list do
      local id = sub(list[i], 1, 36)
      local score = born(id)
      if score <= f.untill and score >= f.since and behind(score, id, f.from) then
        push(found, { score = score, id = id })
      end
    end
  until #list == 0 or #found >= enough
  table.sort(found, newer)
  local i = 0
  return function()
    i = i + 1
    if found[i] then
      return found[i].score, found[i].id
    end
  end
end

local function merge(steps)
  local heads = {}
  for i = 1, #steps do
    local score, id = steps[i]()
    heads[i] = id and { score = score, id = id } or false
  end
  return function()
    local best
    for i = 1, #heads do
      if heads[i] and (not best or newer(heads[i], heads[best])) then
        best = i
      end
    end
    if not best then
      return nil
    end
    local head = heads[best]
    local score, id = steps[best]()
    heads[best] = id and { score = score, id = id } or false
    return head
  end
end

local function index_key(owner)
  return owner == '' and P .. 'i' or P .. 'i:' .. owner
end

local function light_key(kind, owner)
  return owner == '' and P .. 'gl' .. kind or P .. 'l' .. kind .. ':' .. owner
end

-- The sources that can hold tasks of this status ('' = any; 'ended' = any terminal one).
local function sources(owner, status, f)
  local steps = {}
  local all = owner == '' -- there completed tasks are among the active ones
  if status == '' or status == 'pending' or status == 'processing' or all and status == 'completed' then
    steps[1] = index_source(index_key(owner), 0, f)
  end
  for name, kind in pairs(KINDS_OF_STATUS) do
    if status == '' or status == 'ended' or status == name then
      steps[#steps + 1] = index_source(index_key(owner), BAND_OF[string.upper(kind)], f)
      steps[#steps + 1] = light_source(light_key(kind, owner), f)
    end
  end
  return merge(steps)
end

-- Appends rows to `rows` until there are f.limit. Answer: the cursor to continue from, '' at the end.
local function collect(rows, step, f, status)
  local walked, last = 0, nil
  while true do
    if #rows >= f.limit or walked >= WALK_MAX then
      local more = last and step()
      return more and format('%.0f', last.score) .. '-' .. last.id or ''
    end
    local head = step()
    if not head then
      return ''
    end
    last, walked = head, walked + 1
    f.cost = f.cost + 1
    local r = record_of(head.id)
    if r then
      damage.owned_by(r, f.owner)
    end
    if r and (f.owner == '' or r.o == f.owner) and (f.task == '' or r.task == f.task) and (status == '' or status == 'ended' or r.s == status) then
      rows[#rows + 1] = row_of(r, f.budget)
    end
  end
end

-- Counts the entries of a list of light tasks whose records are kept; the list is ordered by time.
local function count_light(key)
  local low, high = 0, call('LLEN', key)
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if call('EXISTS', P .. 'tl:' .. sub(call('LINDEX', key, middle - 1), 1, 10)) == 1 then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

local function count_band(owner, code)
  local band = BAND_OF[code]
  return call('ZCOUNT', index_key(owner), format('%.0f', band), format('(%.0f', band + BAND))
end

-- Counts the tasks that have not ended: each is in exactly one of these.
local function count_waiting()
  local n = 0
  for _, key in ipairs(PLACES) do
    n = n + call('ZCARD', P .. key)
  end
  return n
end

-- Counts the kept tasks: pending, processing, completed, failed, cancelled.
totals_of = function(owner)
  local run = owner == '' and global.run or owner_of(owner).run
  local first = count_band(owner, 'A')
  local active = owner == '' and count_waiting() or first
  local out = { math.max(0, active - run), run }
  for i, kind in ipairs({ 'c', 'x', 'k' }) do
    out[i + 2] = count_band(owner, string.upper(kind)) + count_light(light_key(kind, owner))
  end
  out[3] = out[3] + first - active
  return out
end

local function filter_of(owner, task, limit, budget)
  return { owner = owner, from = {}, since = 0, untill = ALL_TIME, task = task, limit = limit, budget = { left = budget }, cost = 0 }
end

-- args: owner ('' = all), status, task, since, until (-1 = open), cursor, limit, budget in
-- bytes. Answer: {0, totals, next cursor, rows, rows it looked at}
local function list(args)
  local f = filter_of(args[3], args[5], tonumber(args[9]), tonumber(args[10]))
  f.since = math.max(0, tonumber(args[6]))
  f.untill = tonumber(args[7]) >= 0 and tonumber(args[7]) or f.untill
  local score, id = match(args[8], '^(%d+)-(%S+)$')
  f.from = { score = tonumber(score), id = id }
  local rows = {}
  local cursor = collect(rows, sources(args[3], args[4], f), f, args[4])
  return { 0, totals_of(args[3]), cursor, rows, math.ceil(f.cost) }
end

-- All active tasks, then the newest that ended. args: owner, count, budget. Answer: {0, rows, rows it looked at}
local function snapshot(args)
  local f = filter_of(args[3], '', tonumber(args[4]), tonumber(args[5]))
  local rows = {}
  collect(rows, merge({ index_source(index_key(args[3]), 0, f) }), f, '')
  collect(rows, sources(args[3], 'ended', f), f, 'ended')
  return { 0, rows, math.ceil(f.cost) }
end

export('list', { 'no-writes' }, list)
export('snapshot', { 'no-writes' }, snapshot)

end
