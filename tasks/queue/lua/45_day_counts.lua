-- SPDX-License-Identifier: MIT
-- Counts for statistics: one hash per day with what ended (done:<status>; ran: tasks with a duration; run_ms:
-- their sum; slot:<n>: failures per five minutes). Summed during a call, added once at its end.

local count_end, count_ends, DAY_MS, SLOT_MS

do

DAY_MS = 86400000
SLOT_MS = 300000
local DAYS_KEPT = 40

-- What to add to the day's fields at the end of this call.
local function counts_of_day()
  local counts = after.day_counts
  if not counts then
    counts = { ran = 0, run_ms = 0 }
    after.day_counts = counts
    after[#after + 1] = function()
      local day = P .. 'day:' .. floor(now / DAY_MS)
      for field, n in pairs(counts) do
        if n > 0 and call('HINCRBY', day, field, n) == n then
          call('PEXPIRE', day, DAYS_KEPT * DAY_MS)
        end
      end
    end
  end
  return counts
end

local DONE = { C = 'done:completed', X = 'done:failed', K = 'done:cancelled' }

local function add(counts, code, n)
  counts[DONE[code]] = (counts[DONE[code]] or 0) + n
  if code == 'X' and n > 0 then
    local slot = 'slot:' .. floor(now % DAY_MS / SLOT_MS)
    counts[slot] = (counts[slot] or 0) + n
  end
end

-- Counts n ends (default 1) that happen now. `began` in ms as text; '' if the task never ran, or is a light
-- one: there are many of those, and their durations say nothing about the others.
count_end = function(code, began, n)
  local counts = after.day_counts or counts_of_day()
  n = n or 1
  add(counts, code, n)
  if began ~= '' then
    counts.ran = counts.ran + n
    if began ~= now_digits then
      counts.run_ms = counts.run_ms + math.max(0, now - began)
    end
  end
end

-- Light tasks: how many by code.
count_ends = function(done)
  local counts = counts_of_day()
  for code, n in pairs(done) do
    add(counts, code, n)
  end
end

end
