-- Workers that wait. A lease call that finds less than its worker could take leaves a demand; the call that submits
-- a task then leases it to such a worker at once and tells it, so that nobody has to ask first. Tasks that wait in
-- the ready set come before: while there is any, new ones go behind it.
--
-- Hash w: field = queue, value = a line "holder connection given room seen" per worker. given = tasks leased to it
-- since this connection began, which tells how many it has not received yet; room = how many more it would take;
-- seen = when it said so last. Who has not said it for a while may hang; who listens no more is dropped.

local next_worker, hand_over, tell_workers, demand_of, leave_demand
local unlease -- 60_sweep.lua

do

local SEEN_MS = 6000
local AGAIN_MS = 4000 -- a demand that did not change is written again after so long: an idle server stays idle
local FORGOTTEN_MS = 60000
local ARGS_MAX = 4096 -- longer arguments are fetched by a lease
local LINE = '(%S+) (%S+) (%d+) (%d+) (%d+)\n'

-- The workers of a queue, read once per call; `at`: whose turn it is.
local function demand(queue)
  local d = demands[queue]
  if not d then
    d = { queue = queue, at = 1, changed = false }
    for name, connection, given, room, seen in string.gmatch(call('HGET', P .. 'w', queue) or '', LINE) do
      d[#d + 1] = { holder = name, connection = connection, given = given + 0, room = room + 0, seen = seen + 0 }
    end
    demands[queue] = d
  end
  return d
end

-- Writes what changed. Whoever comes next is the first.
local function keep_demand(queue)
  local d = demands[queue]
  if not d.changed then
    return
  end
  local lines = {}
  for i = 1, #d do
    local w = d[(d.at + i - 2) % #d + 1]
    if w.seen + FORGOTTEN_MS > now then
      lines[#lines + 1] = concat({ w.holder, w.connection, text_of(w.given), text_of(w.room), text_of(w.seen) }, ' ')
    end
  end
  d.changed = false
  if #lines > 0 then
    call('HSET', P .. 'w', queue, concat(lines, '\n') .. '\n')
  else
    call('HDEL', P .. 'w', queue)
  end
end

-- The worker that takes a new task with these arguments, nil if it has to wait. They take turns.
next_worker = function(queue, args)
  local d = demands[queue] or demand(queue)
  if d.none == nil then
    d.none = #d == 0 or call('ZCARD', P .. 'q:' .. queue) > 0
  end
  if d.none or #args > ARGS_MAX then
    return nil
  end
  for _ = 1, #d do
    local w = d[d.at]
    d.at = d.at % #d + 1
    if w.room > 0 and w.seen + SEEN_MS > now then
      return w
    end
  end
  d.none = true
  return nil
end

-- Gives the worker a new task that was created as leased to it: `text` is its record.
hand_over = function(queue, w, id, args, text)
  local message = w.message
  if not message then
    message = { 'lease ' .. queue .. ' ' .. w.holder }
    w.message = message
  end
  local n = #message
  message[n + 1] = id
  message[n + 2] = #args > SHORT and args or ''
  message[n + 3] = text
  w.given, w.room, demands[queue].changed = w.given + 1, w.room - 1, true
end

-- Nobody heard the message: its tasks wait like others.
local function take_back(message)
  flush_batches()
  flush_records()
  for i = 2, #message, 3 do
    call('ZREM', P .. 'l', message[i])
    unlease(record_of(message[i]))
  end
end

-- Ends a call that handed tasks over.
tell_workers = function()
  for queue, d in pairs(demands) do
    for i = 1, #d do
      local w = d[i]
      local message = w.message
      w.message = nil
      if message and call('PUBLISH', P .. 'ctl:' .. match(w.holder, '^(.*)/'), concat(message, '\n')) == 0 then
        w.room, w.seen = 0, 0
        take_back(message)
      end
    end
    keep_demand(queue)
  end
end

-- Finds the caller's line, or begins one; an earlier incarnation's goes.
local function own_line(d)
  for i = 1, #d do
    if d[i].holder == holder then
      return d[i]
    elseif match(d[i].holder, '^(.*)/') == origin then
      d[i].holder, d[i].connection = holder, ''
      return d[i]
    end
  end
  local w = { holder = holder, connection = '', given = 0, room = 0, seen = 0 }
  d[#d + 1] = w
  return w
end

-- The caller would take `wanted` tasks; over this connection it has received so many so far. Answer: its line, and
-- how many of the wanted ones are not on their way to it already.
demand_of = function(queue, connection, received, wanted)
  local d = demand(queue)
  local w = own_line(d)
  if w.connection ~= connection then
    w.connection, w.given, w.room, w.seen = connection, received, 0, 0
  end
  w.given = math.max(w.given, received)
  local free = wanted - (w.given - received)
  return w, free > 0 and free or 0
end

-- The caller was given tasks and would take some more.
leave_demand = function(queue, w, given, room)
  if given > 0 or room ~= w.room or now - w.seen > AGAIN_MS then
    w.given, w.room, w.seen = w.given + given, room, now
    demands[queue].changed = true
    keep_demand(queue)
  end
  return w.given + room
end

end
