-- SPDX-License-Identifier: MIT
-- Where a task waits. A non-terminal task is in exactly one of: q:<queue> (ready), d (delayed, score = due),
-- l (leased, score = deadline; both by run_ms), w (waits for other tasks, score = since when); and, as
-- active, in the indexes of 35_index.lua. It is also in x while it may expire before its start.
--
-- The ready set is ordered by priority and then fairly between owners (start-time fair queueing): a task's
-- tag is one more than the later of its owner's last tag and the queue's virtual time, which is the tag of
-- the task leased last. So an owner with a thousand tasks waits behind one who brings a first; and while some
-- owners wait for their first, those with a running task wait whatever their tag and priority (61_lease.lua).
-- Tags and virtual time are kept per queue and priority ("class"): in the owner's row, and as fields
-- V:<class> of g.

local PLACES = { 'q:default', 'q:live', 'q:light', 'd', 'l', 'w' }
local SPAN_OF_PRIORITY, put_ready, make_ready, make_ready_first, make_delayed
local leave_place, make_waiting, holder_name, tell_holder, virtual_time

do

SPAN_OF_PRIORITY = 1e12 -- between the scores of two priorities
local DIGITS = 12

-- Scores are built as text, which costs less than printing large numbers.
local zeros = { [DIGITS] = '' } -- by the length of the digits behind them
for i = DIGITS - 1, 1, -1 do
  zeros[i] = zeros[i + 1] .. '0'
end

local function score_text(priority, tag)
  local text = text_of(tag)
  return digits[9 - priority] .. zeros[#text] .. text
end

local function class_of(r)
  whole(r)
  return r.queue .. r.priority
end

virtual_time = function(class)
  local time = global.times[class]
  if not time then
    time = tonumber(call('HGET', P .. 'g', 'V:' .. class) or 0)
    global.times[class] = time
  end
  return time
end

-- Makes the owner's last tag in this class the row's own; the one there before moves to the others: "live9=3
-- ".
local function turn_to(o, class)
  if o.class ~= '' then
    o.tags = o.tags .. o.class .. '=' .. text_of(o.tag) .. ' '
  end
  o.class, o.tag = class, (match(o.tags, class .. '=(%d+) ') or 0) + 0
  o.tags = string.gsub(o.tags, class .. '=%d+ ', '')
end

-- The owner's next tag in a class.
local function next_tag(o, class)
  local time = global.times[class] or virtual_time(class)
  if o.class ~= class then
    turn_to(o, class)
  end
  o.tag, o.moved = (o.tag > time and o.tag or time) + 1, true
  return o.tag
end

-- Announces work in a queue that had none; otherwise whoever has room knows already. Once per call and queue.
local function ring(queue)
  local rung = after.rung
  if not rung then
    rung = {}
    after.rung = rung
    after[#after + 1] = function()
      for name in pairs(rung) do
        call('PUBLISH', P .. 'bell:' .. name, name)
      end
    end
  end
  rung[queue] = true
end

local function ready_set(queue)
  local words = batches[queue]
  if not words then
    words = batch_all(queue, 'ZADD', 'q:' .. queue)
    words.grows = true
    if not (after.rung and after.rung[queue]) and call('ZCARD', words[2]) == 0 then
      ring(queue)
    end
  end
  return words
end

-- Puts a task into the ready set of its class (`where` knows class, queue and priority).
put_ready = function(o, id, where)
  local words = batches[where.queue] or ready_set(where.queue)
  local n = #words
  words[n + 1] = score_text(where.priority, next_tag(o, where.class))
  words[n + 2] = id
  if o.run == 0 then
    turns.settled = nil
  end
end

make_ready = function(r)
  r.class = class_of(r)
  put_ready(owner_of(r.o), r.id, r)
end

-- The same, but ahead of all ready tasks of its priority: this task has waited before.
make_ready_first = function(r)
  local class = class_of(r)
  turns.settled = nil
  put(ready_set(r.queue), score_text(r.priority, virtual_time(class)), r.id)
end

make_delayed = function(r, due)
  set(r, 't', due)
  put(batch_all('d+', 'ZADD', 'd'), due, r.id)
end

-- Makes a task wait until wake() makes it ready; `waits`: status w or u.
make_waiting = function(r, waits)
  touch(r)
  r.waits, r.w, r.same = waits, '', waits == 'w'
  put(batch_all('w+', 'ZADD', 'w'), now_digits, r.id)
end

-- Removes a task from its place.
leave_place = function(r)
  if r.waits then
    touch(r)
    r.waits = nil
    call('ZREM', P .. 'w', r.id)
  elseif r.w ~= '' then
    call('ZREM', P .. 'l', r.id)
  elseif call('ZREM', P .. 'q:' .. whole(r).queue, r.id) == 0 and call('ZREM', P .. 'd', r.id) == 1 then
    delayed.leave(r)
  end
end

-- The name of the holder's process.
holder_name = function(r)
  return match(r.w, '^(.*)/[^/]*$')
end

tell_holder = function(r, text)
  if r.w ~= '' then
    call('PUBLISH', P .. 'ctl:' .. r.w, text)
  end
end

end
