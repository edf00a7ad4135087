-- SPDX-License-Identifier: MIT
-- What time alone brings about: leases that expired, delayed tasks that are due, tasks that expired before
-- their start. Done in bounded slices within ordinary calls, so no process is needed for it.

local wait_again, give_back, died, retention, sweep, sweep_late, sweep_streams, fail_stream, end_from_outside

do

local LEASES_SWEPT = 32
local DUE_SWEPT = 128
local EXPIRED_SWEPT = 64
local STREAMS_SWEPT = 16
local DEATHS_MAX = 2
local TRIM_EVERY = 4 -- on average, in calls
local LAPSES_MAX = 10
local DIED = { code = 'worker_lost', error = '"The worker died while it ran this task."' }
local SILENT = { code = 'worker_lost', error = '"The worker that held this task fell silent."' }

-- Makes a running task wait for its next lease, which continues this attempt (`same`) or begins another. The
-- caller puts it where it waits.
wait_again = function(r, why, same)
  set(r, 's', 'pending')
  set(r, 'g', 'retrying')
  set(r, 'w', '')
  r.same = same
  emit(r, 'R', why, why.code .. '\n' .. why.error)
end

-- Ends a task that waits or runs, with code and `e` of finish(); tells its holder to stop.
end_from_outside = function(r, code, e)
  leave_place(r)
  tell_holder(r, 'cancel ' .. r.id .. ' ' .. r.fence)
  finish(r, code, e)
end

-- Makes a leased task wait again, ahead of all others of its priority; the attempt continues. Here and below,
-- the caller has removed it from l. `why`: code and error, told to the owner if it ran.
give_back = function(r, why)
  if r.s == 'processing' then
    wait_again(r, why, true)
  else
    set(r, 'w', '')
    r.same = true
  end
  make_ready_first(r)
end

-- The holder's process is gone.
died = function(r)
  if r.s ~= 'processing' then
    give_back(r)
    return
  end
  local deaths = (r.d or 0) + 1
  set(r, 'd', text_of(deaths))
  if r.z then
    finish(r, 'K', NOTHING)
  elseif deaths >= DEATHS_MAX or r.a + 0 >= whole(r).max + 0 then
    finish(r, 'X', DIED)
  else
    wait_again(r, DIED, false)
    make_ready_first(r)
  end
end

-- Handles a lease that expired for no known reason.
local function lapsed(r)
  local lapses = (r.m or 0) + 1
  set(r, 'm', text_of(lapses))
  if r.z then
    finish(r, 'K', NOTHING)
  elseif lapses >= LAPSES_MAX then
    finish(r, 'X', SILENT)
  else
    give_back(r, SILENT)
  end
end

-- Removes up to `most` tasks whose time has come from a set, one by one; yields the records of those that
-- have not ended.
local function late_tasks(set, till, most)
  local ids, i = call('ZRANGE', P .. set, '-inf', format('%d', till), 'BYSCORE', 'LIMIT', 0, most), 0
  fetch_records(ids)
  return function()
    while i < #ids do
      i = i + 1
      call('ZREM', P .. set, ids[i])
      local r = record_of(ids[i])
      damage.mend(r)
      if r and not terminal(r) then
        return r
      end
    end
  end
end

-- After a step of the clock, first give the returning holders time to beat.
local function sweep_leases()
  if run_ms < clock.settled then
    return
  end
  for r in late_tasks('l', run_ms - 1, LEASES_SWEPT) do
    lapsed(r)
  end
end

local function sweep_expired()
  for r in late_tasks('x', run_ms, EXPIRED_SWEPT) do
    if r.s == 'pending' and r.b == '' then
      end_from_outside(r, 'X', { code = 'expired', error = '"The task expired before it could start."' })
    end
  end
end

-- Never refuses a task that comes due: its owner's limit was checked at submission.
local function sweep_due()
  for r in late_tasks('d', run_ms, DUE_SWEPT) do
    if delayed.leave(r) then
      set(r, 'D', '1')
      delayed.count_due(1)
    end
    make_ready(r)
  end
end

-- args 3 and 4, retention of heavy and light tasks, lead every call that can end a task. Such calls drop what
-- has expired now and then.
retention = function(args)
  keep_heavy, keep_light = tonumber(args[3]), tonumber(args[4])
  if now % TRIM_EVERY == 0 then
    local wanted = 2 * #args -- words, several per task
    after[#after + 1] = function()
      trim_index(P .. 'i', wanted)
    end
  end
end

-- Ends a stream's task from outside and frees its bytes.
fail_stream = function(r, code, error)
  r.audio_dropped = true
  end_from_outside(r, r.z and 'K' or 'X', r.z and NOTHING or { code = code, error = error })
end

-- Fails streams that wait for bytes although no hub keeps them any more: theirs died and nobody resumed them.
-- They are in as, scored by the time until which they were kept.
sweep_streams = function()
  flush_batches() -- so that what was swept before is in its place
  for r in late_tasks('as', run_ms, STREAMS_SWEPT) do
    if not r.E then
      fail_stream(r, 'abandoned', '"The stream was not resumed in time"')
    end
  end
end

-- Makes those of these tasks ready that wait in w or u. args: ids. Answer: how many became ready.
local function wake(args)
  local woken = 0
  for i = 3, #args do
    local r = record_of(args[i])
    if r and r.waits then
      leave_place(r)
      r.s = 'pending'
      make_ready_first(r)
      woken = woken + 1
    end
  end
  return woken
end

export('wake', { 'allow-oom' }, wake)

sweep = function()
  kept.look()
  sweep_expired()
  sweep_leases()
  sweep_due()
end

local SWEEP_MS = 5
local swept_at, swept = 0, '' -- last time this server did it, and for which prefix

-- The same for frequent calls: most find that it was just done, and only ask what is due. Answer: ms until
-- the next delayed task is due, 0 if none is.
sweep_late = function()
  if swept ~= P or run_ms < swept_at or run_ms - swept_at >= SWEEP_MS then
    swept_at, swept = run_ms, P
    sweep_expired()
    sweep_leases()
  end
  local first = call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')
  if first[1] and first[2] - run_ms <= 0 then
    sweep_due()
    first = call('ZRANGE', P .. 'd', 0, 0, 'WITHSCORES')
  end
  return first[1] and math.max(1, first[2] - run_ms) or 0
end

end
