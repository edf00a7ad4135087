-- SPDX-License-Identifier: MIT
-- Which formats the processes of this data set can read, and which one is written. The set fm holds "number
-- name" of processes, scored by their last beat.

local note_reader

do

local LIVE_MS = 120000 -- a process that beat within this time may come back and continue
local USED_MS = 86400000 -- how long a library is kept after its last process is gone

-- The lowest format that live processes read, each by its newest entry; this library's if there is no other
-- process.
local function lowest_live()
  local names = call('ZRANGE', P .. 'fm', run_ms - LIVE_MS, '+inf', 'BYSCORE')
  local numbers, lowest = {}, FORMAT
  for i = 1, #names do
    local number, name = match(names[i], '^(%d+) (.*)$')
    numbers[name] = number + 0
  end
  for _, number in pairs(numbers) do
    lowest = math.min(lowest, number)
  end
  return lowest
end

-- Notes that this process lives. The first process to find that all can read a newer format raises the one
-- that is written.
note_reader = function()
  call('ZADD', P .. 'fm', run_ms, FORMAT .. ' ' .. origin)
  if global.format ~= FORMAT or call('HEXISTS', P .. 'g', 'format') == 0 then
    local lowest = lowest_live()
    if lowest > global.format or lowest == FORMAT then
      global.format = lowest
      call('HSET', P .. 'g', 'format', lowest)
    end
  end
end

-- A process starts, or found the library lost. Answer: {the format, whether this library can read it (0/1),
-- numbers of the libraries used within a day…}.
local function join()
  call('ZREMRANGEBYSCORE', P .. 'fm', '-inf', run_ms - USED_MS)
  local numbers = {}
  for _, name in ipairs(call('ZRANGE', P .. 'fm', 0, -1)) do
    numbers[match(name, '^%d+')] = true
  end
  if unreadable() then
    return { global.format, 0 }
  end
  note_reader()
  local answer = { global.format, 1 }
  for number in pairs(numbers) do
    answer[#answer + 1] = number
  end
  return answer
end

export('join', { 'allow-oom' }, join)

end
