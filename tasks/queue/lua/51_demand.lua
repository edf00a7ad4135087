-- Workers that wait. A lease call that finds less than its worker could take leaves a demand; the call that submits
-- a task then leases it to such a worker at once and tells it, so that nobody has to ask first. Tasks that wait in
-- the ready set come before: while there is any, new ones go behind it.
--
-- Hash w: field = "queue worker", value = "incarnation connection given room seen unheard lease". given = tasks leased
-- to it since this connection began, which tells how many it has not received yet; room = how many more it would
-- take; seen = when it said so last; unheard = since when some of the given ones are not known to be received, 0 =
-- they all are; lease in ms. Who has been silent for a while may hang and gets nothing. Sorted set wr:<queue>: those
-- with room, in the order of their turns.

local next_worker, hand_over, tell_workers, demand_of, leave_demand, drop_demands
local give_back -- 60_sweep.lua

do

local QUEUES = { 'default', 'live' } -- those that workers drain
local SEEN_MS = 6000
local UNHEARD_MS = 750 -- a worker asks at least twice a second
local AGAIN_MS = 4000 -- a demand that did not change is written again after so long: an idle server stays idle
local ARGS_MAX = 4096 -- longer arguments are fetched by a lease
local TURNS = 8 -- workers looked at per call
local LINE = '^(%S+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+)$'

local function read_line(queue, name, text)
  local w = { queue = queue, name = name, field = queue .. ' ' .. name, moved = false, message = false }
  local incarnation, connection, given, room, seen, unheard, lease = match(text or '- - 0 0 0 0 0', LINE)
  w.incarnation, w.connection, w.given, w.room = incarnation, connection, given + 0, room + 0
  w.seen, w.unheard, w.lease = seen + 0, unheard + 0, lease + 0
  w.holder = name .. '/' .. incarnation
  return w
end

local function write_lines(workers)
  local words = { 'HSET', P .. 'w' }
  for i = 1, #workers do
    local w = workers[i]
    put(words, w.field, concat({ w.incarnation, w.connection, text_of(w.given), text_of(w.room), text_of(w.seen),
      text_of(w.unheard), text_of(w.lease) }, ' '))
  end
  if #words > 2 then
    call(unpack(words))
  end
end

-- The workers that may get new tasks of a queue, read once per call; `at`: whose turn it is.
local function waiting(queue)
  local d = { at = 1 }
  demands[queue] = d
  local names = call('ZCARD', P .. 'q:' .. queue) == 0 and call('ZRANGE', P .. 'wr:' .. queue, 0, TURNS - 1) or {}
  if #names > 0 then
    local words = { 'HMGET', P .. 'w' }
    for i = 1, #names do
      words[i + 2] = queue .. ' ' .. names[i]
    end
    local lines = call(unpack(words))
    for i = 1, #names do
      d[i] = read_line(queue, names[i], lines[i])
    end
  end
  d.left = #d
  return d
end

local function may_take(w)
  return w.room > 0 and w.seen + SEEN_MS > now and (w.unheard == 0 or w.unheard + UNHEARD_MS > now)
end

-- The worker that takes a new task with these arguments, nil if it has to wait; then all behind it wait, too. They
-- take turns.
next_worker = function(queue, args)
  local d = demands[queue] or waiting(queue)
  if #args > ARGS_MAX then
    d.left = 0
  end
  while d.left > 0 do
    local w = d[d.at]
    d.at = d.at % #d + 1
    if may_take(w) then
      return w
    elseif not w.out then
      w.out, w.moved, d.left = true, true, d.left - 1
    end
  end
  return nil
end

-- Gives the worker a new task that was created as leased to it: `text` is its record.
hand_over = function(w, id, args, text)
  local message = w.message
  if not message then
    message = { 'lease ' .. w.queue .. ' ' .. w.holder }
    w.message = message
  end
  local n = #message
  message[n + 1] = id
  message[n + 2] = #args > SHORT and args or ''
  message[n + 3] = text
  w.given, w.room, w.moved = w.given + 1, w.room - 1, true
  if w.unheard == 0 then
    w.unheard = now
  end
end

-- Nobody heard the message: its tasks wait like others.
local function take_back(message)
  flush_batches()
  flush_records()
  for i = 2, #message, 3 do
    call('ZREM', P .. 'l', message[i])
    give_back(record_of(message[i]))
  end
end

-- Behind all whose turn came before: microseconds, since a millisecond sees several calls.
local function last_turn()
  return format('%.0f', clock[1] * 1000000 + clock[2])
end

-- Writes what became of a worker's demand; `order`, `moved`: commands that the caller runs.
local function settle(w, order, moved)
  if w.message and call('PUBLISH', P .. 'ctl:' .. w.name, concat(w.message, '\n')) == 0 then
    call('HDEL', P .. 'w', w.field)
    call('ZREM', P .. 'wr:' .. w.queue, w.name)
    take_back(w.message)
    return
  end
  if w.message then
    push(moved, w)
  end
  if w.room > 0 and not w.out then
    put(order, last_turn(), w.name)
  else
    call('ZREM', P .. 'wr:' .. w.queue, w.name)
  end
end

-- Ends a call that handed tasks over.
tell_workers = function()
  local moved = {}
  for queue, d in pairs(demands) do
    local order = { 'ZADD', P .. 'wr:' .. queue }
    for i = 1, #d do
      if d[i].moved then
        settle(d[i], order, moved)
      end
    end
    if #order > 2 then
      call(unpack(order))
    end
  end
  write_lines(moved)
end

-- The caller would take `wanted` tasks; over this connection it has received so many so far. Answer: its line, and
-- how many of the wanted ones are not on their way to it already.
demand_of = function(queue, connection, received, wanted, lease_ms)
  local w = read_line(queue, origin, call('HGET', P .. 'w', queue .. ' ' .. origin))
  local before = w.unheard
  if w.holder ~= holder or w.connection ~= connection then
    w.holder, w.incarnation, w.connection, w.given, w.room, w.seen = holder, sub(holder, #origin + 2), connection,
      received, 0, 0
  end
  w.given = math.max(w.given, received)
  w.unheard = w.given > received and now or 0
  w.moved = w.unheard ~= before or w.lease ~= lease_ms
  w.lease = lease_ms
  local free = wanted - (w.given - received)
  return w, free > 0 and free or 0
end

-- The caller was given tasks and would take some more. Answer: how many it will have received by then.
leave_demand = function(w, given, room)
  if given > 0 then
    w.unheard = now
  end
  if room == 0 and w.room > 0 then
    call('ZREM', P .. 'wr:' .. w.queue, w.name)
  elseif room > 0 then
    call('ZADD', P .. 'wr:' .. w.queue, 'NX', last_turn(), w.name)
  end
  if given > 0 or room ~= w.room or w.moved or now - w.seen > AGAIN_MS then
    w.given, w.room, w.seen = w.given + given, room, now
    write_lines({ w })
  end
  return w.given + room
end

-- A process of this name is gone, or begins anew.
drop_demands = function(name)
  for i = 1, #QUEUES do
    call('HDEL', P .. 'w', QUEUES[i] .. ' ' .. name)
    call('ZREM', P .. 'wr:' .. QUEUES[i], name)
  end
end

end
