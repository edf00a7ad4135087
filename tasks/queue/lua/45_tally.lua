-- Counts for statistics: one hash per day with what ended (done:<status>, ran: tasks with a duration, run_ms:
-- its sum, slot:<n>: failures per five minutes). Summed up during a call, added once at its end.

local count, count_end, DAY_MS, SLOT_MS

do

DAY_MS = 86400000
SLOT_MS = 300000
local DAYS_KEPT = 40

-- What to add to the day's fields at the end of this call.
local function tallied()
  local tally = after.tally
  if not tally then
    tally = { ran = 0, run_ms = 0 }
    after.tally = tally
    after[#after + 1] = function()
      local day = P .. 'day:' .. floor(now / DAY_MS)
      for field, n in pairs(tally) do
        if n > 0 and call('HINCRBY', day, field, n) == n then
          call('PEXPIRE', day, DAYS_KEPT * DAY_MS)
        end
      end
    end
  end
  return tally
end

count = function(field, n)
  local t = tallied()
  t[field] = (t[field] or 0) + n
end

local DONE = { completed = 'done:completed', failed = 'done:failed', cancelled = 'done:cancelled' }

-- Counts an end that happens now; `began` in ms as text, '' if it never ran.
count_end = function(status, began)
  local t, done = after.tally or tallied(), DONE[status]
  t[done] = (t[done] or 0) + 1
  if began ~= '' then
    t.ran = t.ran + 1
    if began ~= now_digits then
      t.run_ms = t.run_ms + math.max(0, now - began)
    end
  end
  if status == 'failed' then
    count('slot:' .. floor(now % DAY_MS / SLOT_MS), 1)
  end
end

end
