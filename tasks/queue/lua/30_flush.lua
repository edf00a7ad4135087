-- SPDX-License-Identifier: MIT
-- The end of every call: records, the sets of this call, logs, indexes, feeds and rows are written, in this order;
-- then what can wait is done. Runs also when the call failed half-way, so that an owner's seq never falls behind its
-- log.

local flush_records -- 40_record.lua
local keep_owner, TOUCH_MS -- 35_index.lua
local TRIM_EVENTS = 256 -- of an owner, between two trims of what it has
local row_text -- an owner's row as it is stored
local flush

do

local function flush_logs()
  for i = 1, #touched do
    local o = touched[i]
    if o.logs > 2 then
      o.log = call_pooled(o.log, o.logs)
    end
    if o.places > 2 then
      o.index = call_pooled(o.index, o.places)
    end
    if o.ends > 2 then
      o.ended = call_pooled(o.ended, o.ends)
    end
    o.logs, o.places, o.ends = 2, 2, 2
  end
end

row_text = function(o)
  return pack(o.seq, o.act, o.run, o.touch, o.kinds, o.hubs, o.class, o.tag, o.tags, o.later)
end

-- Answer: the owners that keep_owner() is for.
local function flush_rows()
  local words, n, kept = nil, 2, {}
  for i = 1, #touched do
    local o = touched[i]
    if o.moved then
      local written = o.seq - o.seq_was -- and with them what the keys hold
      local old = written > 0 and now - o.touch > TOUCH_MS
      if old or o.seq % TRIM_EVENTS < written then
        kept[#kept + 1], o.renewed = o, old
      end
      if old then
        o.touch = now
      end
      if o.act < 0 then
        o.act = 0
      end
      o.moved = false
      words = words or { 'HSET', P .. 'o' }
      o.row = row_text(o)
      words[n + 1] = o.name
      words[n + 2] = o.row
      n = n + 2
    end
  end
  if words then
    call_words(words)
  end
  return kept
end

-- Nobody is subscribed there any more; attaching makes it right again.
local function forget_hub(hub)
  local name = ' ' .. hub .. ' '
  for i = 1, #touched do
    local o = touched[i]
    local from = find(o.hubs, name, 1, true)
    if from then
      local left = sub(o.hubs, 1, from) .. sub(o.hubs, from + #name)
      o.hubs, o.moved = left ~= ' ' and left or '', true
    end
  end
end

-- One message per hub that listens, and one for admins.
local function publish_lines()
  for hubs, who in pairs(heard_by) do
    if who.lines then
      local text = concat(who.lines, '\n')
      for hub in string.gmatch(hubs, '%S+') do
        if not (who.mine and hub == holder) and call('PUBLISH', P .. 'hub:' .. hub, text) == 0 then
          forget_hub(hub)
        end
      end
      who.lines = false
    end
  end
  if admin_lines then
    call('PUBLISH', P .. 'adm', concat(admin_lines, '\n'))
    admin_lines = false
  end
end

-- What can wait must not undo the rest: where it fails, a line in Redis' log says so.
local function look_after(what, with)
  local ok, why = pcall(what, with)
  if not ok then
    redis.log(redis.LOG_WARNING, 'taskhub: ' .. tostring(type(why) == 'table' and why.err or why))
  end
end

flush = function()
  flush_records()
  flush_batches()
  flush_logs()
  publish_lines()
  local kept = flush_rows()
  if global.moved then
    call('HSET', P .. 'g', 'act', math.max(0, global.act), 'run', global.run, 'due', global.due)
  end
  if clock.due then
    clock.write()
  end
  for i = 1, #after do
    look_after(after[i])
  end
  for i = 1, #kept do
    look_after(keep_owner, kept[i])
  end
end

end

-- After a call that failed half-way, whose lines may be incomplete: owner, seq behind which the caller has to read
-- the log, owner, …
local function missed()
  local out = {}
  for i = 1, #touched do
    local o = touched[i]
    if o.who.mine and o.seq > o.seq_was then
      out[#out + 1] = o.name
      out[#out + 1] = format('%d', o.seq_was)
    end
  end
  return out
end

-- The data set has a format that this library cannot read.
local function unreadable()
  return global.format > FORMAT or global.format < FORMAT - 1
end

-- Registers function th<n>_<name>. Arguments 1 and 2 are the caller's name and incarnation; the answer is {what run()
-- returns, lines of the events that a hub caused and delivers itself}, or of one that failed half-way {'', what was
-- missed, why}. Flags stand here and not in the first line of the library, since Redis 7.0 heeds them only here.
local function export(name, flags, run)
  local full_name = 'th' .. FORMAT .. '_' .. name
  redis.register_function({
    function_name = full_name,
    flags = flags,
    callback = function(keys, args)
      begin(keys, args)
      if unreadable() and name ~= 'join' then
        return { '', {}, full_name .. ': the data set has format ' .. global.format }
      end
      local ok, answer = pcall(run, args)
      if flags[1] ~= 'no-writes' then
        flush()
      end
      if not ok then
        return { '', missed(), full_name .. ': ' .. tostring(type(answer) == 'table' and answer.err or answer) }
      end
      return { answer, reply and concat(reply, '\n') or '' }
    end,
  })
end
