-- SPDX-License-Identifier: MIT
-- What is kept for a while. The set till names keys, scored by the running time until which they are kept; calls drop
-- those that are over, a slice each. So nothing goes early when Redis' clock is set forward, nor while nobody runs.
-- Each of these keys also expires by Redis' own clock, later: a safety net for what no call drops. A name is that of a
-- key without the prefix, or "y:<id>" for all keys of a task besides its record.

do

local NET_MS = 25 * 3600000 -- a day, and what summer time or a wrong zone adds
local GRID_MS = 4096 -- ended light tasks are kept until the next multiple: most find their hash noted already
local SLICE = 128

-- How long Redis may keep a key that is kept for so long.
kept.net = function(ms)
  return text_of(ms + NET_MS)
end

-- Lets the key go after so many ms. `name`: without the prefix.
kept.note = function(name, ms)
  put(batches['till+'] or batch_all('till+', 'ZADD', 'till'), text_of(run_ms + ms), name)
  after.sweep = (after.sweep or 0) + 2
end

-- The same for a key that may be there, with the safety net.
kept.expire = function(name, ms)
  if call('PEXPIRE', P .. name, kept.net(ms)) == 1 then
    kept.note(name, ms)
  end
end

-- The same for a hash of records that may be noted already, until a running time. Answer: whether that is news.
kept.note_later = function(name, till)
  till = till - till % GRID_MS + GRID_MS
  return call('ZADD', P .. 'till', 'GT', 'CH', text_of(till), name) == 1
end

-- Until when a hash of records is kept that was noted earlier: nil if it has active tasks.
local function till_of(name)
  local active, till = match(call('HGET', P .. name, '#') or '0 0', '^(%d+) (%d+)$')
  return active == '0' and till + 0 or nil
end

local function add_keys(words, name)
  local id = match(name, '^y:(.*)')
  if id then
    for _, head in pairs(EXTRA) do
      push(words, P .. head .. id)
    end
  else
    push(words, P .. name)
  end
end

-- An owner's log is dropped: its bytes count no more. Rows have been written by now.
local function forget_log(name)
  local o = owner_of(name)
  if o.logged > 0 then
    o.logged = 0
    o.row = row_text(o)
    call('HSET', P .. 'o', name, o.row)
  end
end

-- Drops up to `most` of what is over. flush() does it last: what the call writes again is noted again by then.
kept.sweep = function(most)
  local names = call('ZRANGE', P .. 'till', '-inf', format('(%d', run_ms), 'BYSCORE', 'LIMIT', 0, math.min(most, UNPACK / 8))
  local keys_gone, gone = { 'UNLINK' }, { 'ZREM', P .. 'till' }
  for i = 1, #names do
    local name = names[i]
    local till = not find(name, '^tl?:') and 0 or till_of(name)
    if till and till > run_ms then
      call('ZADD', P .. 'till', text_of(till), name)
    else
      push(gone, name)
      if till then
        add_keys(keys_gone, name)
      end
      if sub(name, 1, 2) == 'e:' then
        forget_log(sub(name, 3))
      end
    end
  end
  if #gone > 2 then
    call(unpack(gone))
  end
  if #keys_gone > 1 then
    call(unpack(keys_gone))
  end
end

-- Drops a slice at the end of a call that comes now and then.
kept.look = function()
  after.sweep = (after.sweep or 0) + SLICE
end

end
