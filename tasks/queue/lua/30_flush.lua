-- SPDX-License-Identifier: MIT
-- The end of every call: writes records, the sets of this call, logs, indexes, feeds and rows, in this order;
-- then does what can wait. Also runs when the call failed half-way, so that an owner's seq never falls behind
-- the log.

local flush_records -- 40_record.lua
local kept = {} -- 43_kept.lua
local keep_owner, TOUCH_MS -- 35_index.lua
local TRIM_EVENTS = 256 -- events of an owner between two trims of the owner's keys
local row_text -- an owner's row as it is stored
local flush

do

local function flush_logs()
  for i = 1, #touched do
    local o = touched[i]
    if o.log_lost then
      call('DEL', P .. 'e:' .. o.name)
      o.log_lost, o.moved = false, true
    end
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
  return pack(o.seq, o.act, o.run, o.touch, o.kinds, o.hubs, o.class, o.tag, o.tags, o.later, o.hour, o.living,
    o.logged, o.light, o.heavy, o.keyed, o.slotted, o.slots)
end

-- Answer: the owners that need keep_owner(), and whether any row was written.
local function flush_rows(writes)
  local words, n, found = nil, 4, {}
  for i = 1, #touched do
    local o = touched[i]
    if o.moved then
      local written = o.seq - o.seq_was -- and with them the keys
      local old = written > 0 and now - o.touch > TOUCH_MS
      if old or o.seq % TRIM_EVENTS < written then
        found[#found + 1], o.renewed = o, old
      end
      if old then
        o.touch = now
      end
      if o.act < 0 then
        o.act = 0
      end
      o.moved = false
      words = words or { 'HSET', P .. 'o', NOTE, writes }
      o.row = row_text(o)
      words[n + 1] = o.name
      words[n + 2] = o.row
      n = n + 2
    end
  end
  if words then
    call_words(words)
  end
  return found, words ~= nil
end

-- Forgets a hub whose channel has no subscriber; it attaches its owners again when it is back.
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

-- Publishes one message per listening hub, and one for admins.
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

-- Runs what can wait. A failure here must not undo the rest; it is only noted in Redis' log.
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
  history.writes = history.writes + 1
  local writes = text_of(history.writes)
  local renewed, counted = flush_rows(writes)
  if global.moved then
    call('HSET', P .. 'g', 'writes', writes, 'act', math.max(0, global.act), 'run', global.run, 'due', global.due)
  elseif not counted and not clock.due then
    call('HSET', P .. 'g', 'writes', writes)
  end
  if clock.due then
    clock.write(writes)
  end
  for i = 1, #after do
    look_after(after[i])
  end
  for i = 1, #renewed do
    look_after(keep_owner, renewed[i])
  end
  if after.sweep then
    look_after(kept.sweep, after.sweep)
  end
end

end

-- After a call that failed half-way, whose lines may be incomplete: {owner, seq after which the caller has to
-- read the log, owner, …}.
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

-- Whether the data set has a format that this library cannot read.
local function unreadable()
  return global.format > FORMAT or global.format < FORMAT - 1
end

-- Registers function th<n>_<name>. Arguments 1 and 2 are the caller's name and incarnation. The answer is
-- {what run() returns, lines of the events that a hub caused and delivers itself}, with the two of history.note() if it
-- may write; or after a failure half-way {'', what was missed, why}. Flags are set here and not in the library's first line, since Redis
-- 7.0 honours them only here.
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
      local writes = flags[1] ~= 'no-writes'
      if writes and global.server ~= history.server then
        history.note(NOTE)
      end
      local ok, answer = pcall(run, args)
      if writes then
        flush()
      end
      if not ok then
        return { '', missed(), full_name .. ': ' .. tostring(type(answer) == 'table' and answer.err or answer) }
      end
      local lines = reply and concat(reply, '\n') or ''
      if not writes then
        return { answer, lines }
      end
      return { answer, lines, history.writes, global.server }
    end,
  })
end
