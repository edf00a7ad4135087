-- SPDX-License-Identifier: MIT
-- Who listens to an owner's events, and what the log holds. A listening hub is named in the owner's row ("
-- h:one/4f2a… h:two/91cc… "); hubs report now and then that they live (set hs), so that the names of dead
-- ones can be removed.

do

local HUB_DEAD_MS = 120000
local HUB_FORGOTTEN_MS = 86400000
local WATCH_MS = 15000

local function say_alive()
  call('ZADD', P .. 'hs', run_ms, origin)
end

-- The names in `hubs` whose hubs live, without the caller's. A name includes the hub's incarnation. `known`:
-- answers for other texts in this call.
local function live_names(hubs, known)
  local kept = known[hubs]
  if kept then
    return kept
  end
  kept = ''
  for name in string.gmatch(hubs, '%S+') do
    local seen = name ~= holder and call('ZSCORE', P .. 'hs', match(name, '^(.*)/'))
    if seen and seen + HUB_DEAD_MS > run_ms then
      kept = kept .. ' ' .. name
    end
  end
  known[hubs] = kept
  return kept
end

-- What C makes the mark of: an entry without what follows the tab. '' = it is not in the log any more.
local function marked(entry)
  return entry and match(entry, '^[^\t]*') or ''
end

-- args: owner, a word for a data set that has no epoch yet, further owners… Answer: {epoch, of each the seq of the newest
-- event and marked() of it}.
local function attach(args)
  local word, known, answer = table.remove(args, 4), {}, {}
  fetch_owners({ unpack(args, 3) })
  say_alive()
  call('HSETNX', P .. 'o', NOTE, NOTE)
  answer[1] = history.epoch(word)
  for i = 3, #args do
    local o = owner_of(args[i])
    o.hubs, o.moved = live_names(o.hubs, known) .. ' ' .. holder .. ' ', true
    answer[2 * i - 4] = o.seq
    answer[2 * i - 3] = marked(call('LINDEX', P .. 'e:' .. o.name, -1))
  end
  return answer
end

-- args: owners…
local function detach(args)
  local known = {}
  fetch_owners({ unpack(args, 3) })
  for i = 3, #args do
    local o = owner_of(args[i])
    local kept = live_names(o.hubs, known)
    o.hubs, o.moved = kept ~= '' and kept .. ' ' or '', true
  end
  return 0
end

-- Writes were lost when this server began. args: the server as it was answered, a word for the new epoch. Answer: the
-- epoch.
local function renew(args)
  return history.renew(args[3], args[4])
end

-- Notes that the hub lives. Sweeps here, too, so that it happens where no worker is left. args: retention, most bytes that
-- an owner keeps.
local function alive(args)
  retention(args)
  say_alive()
  note_reader()
  call('ZREMRANGEBYSCORE', P .. 'hs', '-inf', run_ms - HUB_FORGOTTEN_MS)
  call('HSET', P .. 'g', 'keep_heavy', keep_heavy, 'keep_light', keep_light,
    'owner_bytes', args[5] or stored.limit)
  damage.look() -- before anything is staged that it would count twice
  sweep()
  sweep_streams()
  return 0
end

-- Asks for every owner's events on the channel adm during the next 15 s.
local function watch()
  call('HSET', P .. 'g', 'watch', run_ms + WATCH_MS)
  return WATCH_MS
end

-- Result, error code and error of a task whose terminal event is replayed.
local function outcome(code, id)
  local r = record_of(id)
  if not r or code == 'C' and r.s ~= 'completed' then
    return { 0 }
  elseif code == 'C' then
    local budget = { left = RESULT_INLINE }
    local result = result_of(r, budget)
    return result and { 1, result ~= '' and result or '{}' } or { 0 }
  end
  local word, message = error_of(r)
  return { 1, word, message }
end

local REPLAY_BYTES = 1048576

-- Logged events behind `after`. args: owner, after, max. Answer: {head, more (0/1), events, marked() of `after`}; an event
-- is {seq, entry, text or '', outcome of a terminal one: {0 = gone or too large} or {1, result} or {1, code, error}}.
local function replay(args)
  local o = owner_of(args[3])
  local last, max = tonumber(args[4]), tonumber(args[5])
  local events, bytes = {}, 0
  if last > o.seq then
    return { o.seq, 0, events, '' }
  end
  local kept = o.log_lost and 0 or call('LLEN', P .. 'e:' .. o.name)
  local first = math.max(last, o.seq - kept + 1)
  local entries = kept == 0 and {} or call('LRANGE', P .. 'e:' .. o.name, first - o.seq - 1, math.min(-1, first + max - o.seq - 1))
  local mark = marked(first == last and table.remove(entries, 1))
  first = math.max(first, last + 1)
  for i = 1, #entries do
    if bytes > REPLAY_BYTES then
      return { o.seq, 1, events, mark }
    end
    local entry, text = match(entries[i], '^([^\t]*)\t?(.*)$')
    local code, id = match(entry, '^(%a) %d+ (%S+)')
    local ended = (code == 'C' or code == 'X') and outcome(code, id) or {}
    events[#events + 1] = { format('%.0f', first + i - 1), entry, text, ended }
    bytes = bytes + 200 + #text + #(ended[2] or '')
  end
  return { o.seq, first + #entries - 1 < o.seq and 1 or 0, events, mark }
end

-- Logs a notification once per id: what is known is kept among the idempotency keys. args: owner, id, body (JSON object).
-- Answer: its code.
local function notify(args)
  local o, field = owner_of(args[3]), 'nt:' .. args[3] .. ':' .. args[4]
  if keys.stands(field) then
    return 0
  elseif stored.refused(o) then
    return stored.refusal(o)[1]
  end
  put(keys.ended(), field, '')
  o.keyed = o.keyed + #field + stored.EACH
  local entry = entry_of('N', '0', '-', '0', '-')
  say(o, false, add_event, entry, text_of(log_append(o, entry .. '\t' .. args[5])), LOGGED, { body = args[5] })
  return 0
end

export('attach', { 'allow-oom' }, attach)
export('detach', { 'allow-oom' }, detach)
export('renew', { 'allow-oom' }, renew)
export('alive', { 'allow-oom' }, alive)
export('watch', { 'allow-oom' }, watch)
export('replay', { 'no-writes' }, replay)
export('notify', {}, notify)

end
