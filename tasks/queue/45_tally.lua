-- Counts for statistics: one hash per day with what ended (done:<status>, ran: tasks with a duration, run_ms:
-- its sum, slot:<n>: failures per five minutes). Summed up during a call, added once at its end.

local count, count_end, DAY_MS, SLOT_MS

do

DAY_MS = 86400000
SLOT_MS = 300000
local DAYS_KEPT = 40

local tally -- field -> what to add, nil while nothing ended in this call

local function flush_tally()
  local day = P .. 'day:' .. floor(now / DAY_MS)
  for field, n in pairs(tally) do
    if call('HINCRBY', day, field, n) == n then
      call('PEXPIRE', day, DAYS_KEPT * DAY_MS)
    end
  end
  tally = nil
end

count = function(field, n)
  if not tally then
    tally = {}
    after[#after + 1] = flush_tally
  end
  tally[field] = (tally[field] or 0) + n
end

local DONE = { completed = 'done:completed', failed = 'done:failed', cancelled = 'done:cancelled' }

-- Counts one end; `began` and `ended` in ms, began = 0 if it never ran.
count_end = function(status, began, ended)
  count(DONE[status], 1)
  if status == 'failed' then
    count('slot:' .. floor(now % DAY_MS / SLOT_MS), 1)
  end
  if began > 0 then
    count('ran', 1)
    count('run_ms', math.max(0, ended - began))
  end
end

end
