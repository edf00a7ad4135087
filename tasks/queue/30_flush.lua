-- The end of every call: owners, feeds and the sets of this call are written. Runs also when the call
-- failed half-way, so that an owner's seq never falls behind its log.

local trim_light -- 55_fused.lua
local flush_records -- 40_record.lua

-- Light tasks that ended: one list per owner and status, newest first, and how many are kept.
local LIGHT_MAX = { lc = 700, lx = 250, lk = 50 }
local LIGHT_ALL = 2000 -- of everybody, for admins
local OWN_LIGHT = { C = 'lc', X = 'lx', K = 'lk' }
local ALL_LIGHT = { C = 'glc', X = 'glx', K = 'glk' }

-- Renews what an owner owns, seldom; its keys' expiry is longer than promised by two periods.
local function touch_owner(o)
  local idle = 2 * TOUCH_MS
  local keep = call('HMGET', P .. 'g', 'keep_heavy', 'keep_light')
  call('PEXPIRE', o.key, OWNER_KEEP_MS)
  call('PEXPIRE', P .. 'e:' .. o.name, LOG_KEEP_MS + idle)
  for kind in pairs(LIGHT_MAX) do
    call('PEXPIRE', P .. kind .. ':' .. o.name, math.max(LOG_KEEP_MS, keep[2] or 0) + idle)
  end
  for kind in string.gmatch(o.kinds, '%l') do
    call('PEXPIRE', P .. 'i' .. kind .. ':' .. o.name, (keep[1] or HEAVY_KEEP_MS) + LOG_KEEP_MS + idle)
  end
end

local function tags_of(o)
  local text = o.tags
  for class, tag in pairs(o.new_tags or NOTHING) do
    text = string.gsub(text, class .. '=%d+ ', '') .. class .. format('=%d ', tag)
  end
  return text
end

-- Writes an owner's counters; nearly always that is seq alone.
local function write_fields(o, seq, renew)
  if not renew and not o.moved then
    call('HSET', o.key, 'seq', seq)
    return
  end
  local fields = { 'HSET', o.key, 'seq', seq }
  if o.moved then
    put(fields, 'act', o.act)
    put(fields, 'run', o.run)
    put(fields, 'tags', tags_of(o))
    put(fields, 'kinds', o.kinds)
  end
  if renew then
    put(fields, 'touch', now_digits)
  end
  call(unpack(fields))
end

local function flush_owner(o)
  local words = o.words
  if not words and not o.moved then
    return
  end
  local seq = format('%d', o.seq)
  local renew = now - o.touch > TOUCH_MS or o.renew
  if words then
    words[3] = seq .. '-0'
    call(unpack(words))
  end
  write_fields(o, seq, renew)
  if renew then
    touch_owner(o)
  end
  if floor(o.seq / 64) ~= floor(o.seq_was / 64) then
    call('XTRIM', P .. 'e:' .. o.name, 'MINID', '~', format('%d-0', math.max(0, o.seq - LOG_EVENTS)))
    trim_light(o)
  end
end

-- One message per owner: the caller's name, then the lines.
local function publish_lines(o)
  local text = table.concat(o.lines, '\n')
  if o.others and call('PUBLISH', P .. 'ev:' .. o.name, origin .. '\n' .. text) == 0 then
    call('HDEL', o.key, 'hubs') -- nobody is subscribed any more; attaching makes it right again
  end
  if watched() then
    call('PUBLISH', P .. 'adm', o.name .. '\n' .. text)
  end
end

local function flush()
  flush_records()
  for i = 1, #after do
    after[i]()
  end
  flush_batches()
  for i = 1, #touched do
    local o = touched[i]
    flush_owner(o)
    if o.lines then
      publish_lines(o)
    end
  end
  if global and global.moved then
    call('HSET', P .. 'g', 'act', global.act, 'run', global.run)
  end
end

-- The lines a hub caused and has to deliver itself: owner, lines, owner, lines, …
local function caused()
  local out = {}
  for i = 1, #touched do
    local o = touched[i]
    if o.reply then
      out[#out + 1] = o.name
      out[#out + 1] = table.concat(o.reply, '\n')
    end
  end
  return out
end

-- The same after a call that failed half-way, whose lines may be incomplete: owner, seq behind which the caller
-- has to read the log, owner, …
local function missed()
  local out = {}
  for i = 1, #touched do
    local o = touched[i]
    if o.mine and o.seq > o.seq_was then
      out[#out + 1] = o.name
      out[#out + 1] = format('%d', o.seq_was)
    end
  end
  return out
end

-- Registers function th1_<name>. Arguments 1 and 2 are the caller's name and incarnation; the answer is
-- {what run() returns, lines caused}, or of one that failed half-way {'', what was missed, why}. Flags stand here and not in the first line of the library, since
-- Redis 7.0 heeds them only here.
local function export(name, flags, run)
  redis.register_function({
    function_name = 'th1_' .. name,
    flags = flags,
    callback = function(keys, args)
      begin(keys, args)
      local ok, answer = pcall(run, args)
      if flags[1] ~= 'no-writes' then
        flush()
      end
      if not ok then
        return { '', missed(), 'th1_' .. name .. ': ' .. tostring(type(answer) == 'table' and answer.err or answer) }
      end
      return { answer, caused() }
    end,
  })
end
