-- SPDX-License-Identifier: MIT
-- Figures of the whole data set, and the register of processes.

do

local ALIVE_MS = 20000 -- a process with a beat within this time counts as alive

-- The counts of ended tasks per day, newest first: day number and its fields.
local function days(n)
  local out = {}
  local today = floor(now / DAY_MS)
  for day = today, today - n + 1, -1 do
    local fields = call('HGETALL', P .. 'day:' .. day)
    if #fields > 0 then
      out[#out + 1] = { format('%.0f', day * DAY_MS), fields }
    end
  end
  return out
end

-- Failures of the last hour, by the slots of five minutes.
local function failed_last_hour()
  local n = 0
  for i = 0, 11 do
    local time = now - i * SLOT_MS
    local slot = floor(time % DAY_MS / SLOT_MS)
    n = n + (call('HGET', P .. 'day:' .. floor(time / DAY_MS), 'slot:' .. slot) or 0)
  end
  return n
end

-- Answer: {0, totals, heavy active, {queue, ready, …}, delayed, leased, live workers,
-- live hubs, failed in the last hour, days}
local function stats()
  local queues = {}
  for _, name in ipairs({ 'default', 'live', 'light' }) do
    queues[#queues + 1] = name
    queues[#queues + 1] = call('ZCARD', P .. 'q:' .. name)
  end
  return {
    0,
    totals_of(''),
    global.act,
    queues,
    call('ZCARD', P .. 'd'),
    call('ZCARD', P .. 'l'),
    live_workers(),
    call('ZCOUNT', P .. 'hs', run_ms - ALIVE_MS, '+inf'),
    failed_last_hour(),
    days(14),
  }
end

-- Answer: {0, per process: {name, time of its last beat, alive (0/1), its own info (JSON)}}.
local function workers()
  local out = {}
  local names = call('ZRANGE', P .. 'ws', 0, -1, 'WITHSCORES')
  for i = 1, #names, 2 do
    local alive = names[i + 1] + ALIVE_MS > run_ms
    out[#out + 1] = { names[i], clock.wall_of(names[i + 1]), alive and 1 or 0, call('HGET', P .. 'wi', names[i]) or '{}' }
  end
  return { 0, out }
end

-- Checks whether Redis accepts what a submission writes and publishes; leaves nothing behind. args: queues.
-- Answer: {0, bytes of memory that Redis uses, its maxmemory (0 = none), number of processes that listen to the bell of
-- each}.
local function probe(args)
  call('SET', P .. 'probe', now_digits)
  call('DEL', P .. 'probe')
  call('PUBLISH', P .. 'probe', '')
  local bells = {}
  for i = 3, #args do
    bells[#bells + 1] = P .. 'bell:' .. args[i]
  end
  local memory = call('INFO', 'memory')
  local used, most = match(memory, '\nused_memory:(%d+)'), match(memory, '\nmaxmemory:(%d+)')
  local answer, counts = { 0, used or '0', most or '0' }, call('PUBSUB', 'NUMSUB', unpack(bells))
  for i = 2, #counts, 2 do
    answer[#answer + 1] = counts[i]
  end
  return answer
end

export('probe', {}, probe) -- must fail when memory is full, as submissions do
export('stats', { 'no-writes' }, stats)
export('workers', { 'no-writes' }, workers)

end
