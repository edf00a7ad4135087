-- Where a task waits. One that is not terminal stands in exactly one of: q:<queue> (ready), d (delayed, score
-- = due), l (leased, score = deadline); and in ia:<owner> and ga, the lists of what is active. In x it stands
-- besides while it may expire before its start.
--
-- The ready set is ordered by priority and then fairly between owners (start-time fair queueing): a task's
-- tag is one more than the later of its owner's last tag and the queue's virtual time, which is the tag of
-- the task leased last. So an owner with a thousand tasks waits behind one that brings its first. Tags and
-- virtual time are kept per queue and priority ("class"): in the owner's field tags, and as fields V:<class>.

local SPAN_OF_PRIORITY, class_of, ring, put_ready, make_ready, make_ready_first, make_delayed
local leave_place, holder_name, tell_holder

do

SPAN_OF_PRIORITY = 281474976710656 -- 2^48: the score is an integer below 2^53

local rung -- queues that have to be told, as a set and a list

class_of = function(r)
  return r.queue .. r.priority
end

local function virtual_time(class)
  local g = globals()
  if not g.times[class] then
    g.times[class] = tonumber(call('HGET', P .. 'g', 'V:' .. class) or 0)
  end
  return g.times[class]
end

-- An owner's tags stand in one field: "default4=17 live9=3 "; write_fields() puts the new ones there.
local function next_tag(o, class)
  local new = o.new_tags
  if not new then
    new = {}
    o.new_tags = new
    o.moved = true
  end
  local tag = math.max(new[class] or match(o.tags, class .. '=(%d+) ') or 0, virtual_time(class)) + 1
  new[class] = tag
  return tag
end

-- Tells that a queue has work; once per call and queue.
ring = function(queue)
  if not rung then
    rung = {}
    after[#after + 1] = function()
      for name in pairs(rung) do
        call('PUBLISH', P .. 'bell:' .. name, name)
      end
      rung = nil
    end
  end
  rung[queue] = true
end

-- Puts a task into the ready set of its class.
put_ready = function(o, id, queue, priority)
  local score = (9 - priority) * SPAN_OF_PRIORITY + next_tag(o, queue .. priority)
  put(batch('ZADD', P .. 'q:' .. queue), score, id)
  ring(queue)
end

make_ready = function(r)
  put_ready(owner_of(r.o), r.id, r.queue, r.priority)
end

-- The same before everything of its priority that is ready: the task had waited already.
make_ready_first = function(r)
  local score = (9 - r.priority) * SPAN_OF_PRIORITY + virtual_time(class_of(r))
  put(batch('ZADD', P .. 'q:' .. r.queue), score, r.id)
  ring(r.queue)
end

make_delayed = function(r, due)
  set(r, 't', due)
  put(batch_all('d+', 'ZADD', 'd'), due, r.id)
end

-- Takes a waiting or leased task out of the place where it stands.
leave_place = function(r)
  local removed = r.w and call('ZREM', P .. 'l', r.id) or 0
  if removed == 0 then
    removed = call('ZREM', P .. 'q:' .. r.queue, r.id)
  end
  if removed == 0 then
    removed = call('ZREM', P .. 'd', r.id)
  end
  if removed == 0 then
    call('ZREM', P .. 'l', r.id)
  end
end

-- The holder's process, as its control channel names it.
holder_name = function(r)
  return match(r.w, '^(.*)/[^/]*$')
end

tell_holder = function(r, text)
  if r.w and r.w ~= '' then
    call('PUBLISH', P .. 'ctl:' .. holder_name(r), text)
  end
end

end
