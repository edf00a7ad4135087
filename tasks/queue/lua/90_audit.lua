-- SPDX-License-Identifier: MIT
-- The auditor: checks the invariants on the live data set, a slice per call, read-only. Each slice is
-- consistent, since a function is atomic. Findings are "rule id what" texts.

do

local SLICE = 200
local RECOUNTED = 4000 -- entries of owners
local BUCKET = 1000 -- a hash of records up to this size is read as a whole

local findings

local function found(rule, id, what)
  findings[#findings + 1] = rule .. ' ' .. id .. ' ' .. what
end

local function places_of(r)
  local n = 0
  for _, key in ipairs(PLACES) do
    if call('ZSCORE', P .. key, r.id) then
      n = n + 1
    end
  end
  return n
end

-- The log's entry with this seq, nil if it has been trimmed.
local function logged(o, seq)
  return call('LINDEX', P .. 'e:' .. o.name, format('%.0f', seq - o.seq - 1)) or nil
end

local CODE_OF = { completed = 'C', failed = 'X', cancelled = 'K' }

local function audit_ended(r)
  local o = owner_of(r.o)
  if tonumber(r.e) > o.seq then
    found('seq', r.id, 'its last event is not in the log yet')
    return
  end
  local entry = logged(o, tonumber(r.e))
  if entry and not find(entry, CODE_OF[r.s] .. ' ' .. r.a .. ' ' .. r.id .. ' ', 1, true) then
    found('terminal', r.id, 'its last event is not its terminal one')
  end
end

-- A lease raises the fence, and the attempt at most by one; a holder must have a lease.
local function audit_lease(r)
  local leased = call('ZSCORE', P .. 'l', r.id)
  if r.a + 0 > r.fence + 0 then
    found('fence', r.id, 'was leased ' .. r.fence .. ' times and is in attempt ' .. r.a)
  end
  if terminal(r) then
    return
  elseif leased and r.w == '' then
    found('lease', r.id, 'is leased to nobody')
  elseif not leased and r.w ~= '' then
    found('lease', r.id, 'is held by ' .. r.w .. ' without a lease')
  elseif not leased and r.s == 'processing' and not r.waits then
    found('lease', r.id, 'runs without a lease')
  elseif (r.waits ~= nil) ~= (call('ZSCORE', P .. 'w', r.id) ~= false) then
    found('place', r.id, r.waits and 'waits and is not listed so' or 'is listed as waiting and does not')
  end
end

local function audit_task(r)
  if r.corrupt then
    found('record', r.id, 'is damaged')
    return
  end
  local places = places_of(r)
  local score = call('ZSCORE', P .. 'i', r.id)
  local active = score and score + 0 < BAND
  local ended = r.s == 'completed' or not active
  audit_lease(r)
  if terminal(r) then
    if places ~= 0 then
      found('place', r.id, 'an ended task still stands in a queue')
    end
    if not ended then
      found('index', r.id, 'an ended task is listed as active')
    end
    audit_ended(r)
    return
  end
  if places ~= 1 then
    found('place', r.id, 'stands in ' .. places .. ' places')
  end
  if not active then
    found('index', r.id, 'an active task is not listed')
  end
  if stored.size_apart(r) ~= (r.B or 0) + 0 then
    found('bytes', r.id, 'counts ' .. (r.B or 0) .. ' bytes of its other keys, has ' .. stored.size_apart(r))
  end
  if r.x and not keys.lives(r.x) then
    found('key', r.id, 'its idempotency key does not stand')
  end
end

local function audit_log(o)
  local terminals = {}
  local entries = call('LRANGE', P .. 'e:' .. o.name, -1000, -1)
  if #entries > o.seq then
    found('seq', o.name, 'the log has ' .. #entries .. ' events, the counter says ' .. o.seq)
  end
  for i = 1, #entries do
    local code, id = match(entries[i], '^(%a) %d+ (%S+)')
    if CODE_OF.completed == code or CODE_OF.failed == code or CODE_OF.cancelled == code then
      if terminals[id] then
        found('terminal', id, 'has two terminal events')
      end
      terminals[id] = true
    end
  end
end

-- Whether a heavy task was submitted with a delay and is not due yet.
local function comes_later(r)
  return not r.light and r.fence == '0' and call('ZSCORE', P .. 'd', r.id) ~= false
end

-- Compares one owner's counters with the records.
local function audit_owner(o)
  if o.log_lost then
    found('owner', o.name, 'its row is damaged')
    return
  end
  local heavy, run, later = 0, 0, 0
  for _, id in ipairs(call('ZRANGE', P .. 'i:' .. o.name, '-inf', format('(%.0f', BAND), 'BYSCORE')) do
    local r = record_of(id)
    if not r or terminal(r) then
      found('index', id, 'is listed as active and ' .. (r and 'has ended' or 'has no record'))
    elseif r.o ~= o.name then
      found('owner', id, 'is listed for another owner')
    else
      local is_later = comes_later(r)
      heavy = heavy + ((r.light or is_later) and 0 or 1)
      later = later + (is_later and 1 or 0)
      run = run + (r.s == 'processing' and 1 or 0)
    end
  end
  if later ~= o.later then
    found('counter', o.name, 'counts ' .. o.later .. ' delayed tasks, has ' .. later)
  end
  if heavy ~= o.act then
    found('counter', o.name, 'counts ' .. o.act .. ' active tasks, has ' .. heavy)
  end
  if run ~= o.run then
    found('counter', o.name, 'counts ' .. o.run .. ' running tasks, has ' .. run)
  end
  audit_log(o)
end

-- Checks a hash of records read as a whole: its own count, and whether it goes when all have ended.
local function audit_bucket(key, fields)
  local active = damage.active_in(fields)
  local counted, _, wrong = damage.in_hash(key, active)
  local name = sub(key, #P + 1)
  if counted ~= active then
    found('counter', name, 'counts ' .. (counted or '?') .. ' active records, has ' .. active)
  end
  if wrong then
    found('expiry', name, wrong)
  end
end

-- Checks a slice of one hash of records. Answer: the next cursor in it, how many were checked.
local function audit_records(key, cursor)
  local page = { '0' }
  local whole = call('HLEN', key) <= BUCKET
  if whole then
    page[2] = call('HGETALL', key)
  else
    page = call('HSCAN', key, cursor, 'COUNT', SLICE)
  end
  local checked, home = 0, { light = find(key, '^tl:', #P + 1) ~= nil }
  for i = 1, #page[2], 2 do
    local id = page[2][i]
    if id ~= '#' then
      fetched[id], homes[id] = page[2][i + 1], home
      audit_task(record_of(id))
      checked = checked + 1
    end
  end
  if whole then
    audit_bucket(key, page[2])
  end
  return page[1], checked
end

-- Walks all hashes of records. The cursor is "<cursor of SCAN> <cursor of HSCAN> <keys still to be walked>".
local function audit_tasks(cursor)
  local scan, within, keys = match(cursor, '^(%d+) (%d+) (.+)$')
  local left = {}
  if keys then
    for key in string.gmatch(keys, '%S+') do
      left[#left + 1] = key
    end
  else
    local page = call('SCAN', cursor, 'MATCH', string.gsub(P, '[%[%]*?\\]', '\\%0') .. 't*', 'COUNT', SLICE)
    scan, within = page[1], '0'
    for _, key in ipairs(page[2]) do
      if find(sub(key, #P + 1), '^tl?:') then
        left[#left + 1] = key
      end
    end
  end
  local checked = 0
  if left[1] then
    within, checked = audit_records(left[1], within)
    if within == '0' then
      table.remove(left, 1)
    end
  end
  return #left == 0 and scan or scan .. ' ' .. within .. ' ' .. concat(left, ' '), checked
end

local function audit_owners(cursor)
  local page = call('HSCAN', P .. 'o', cursor, 'COUNT', SLICE)
  local checked = 0
  for i = 1, #page[2], 2 do
    if page[2][i] ~= NOTE then
      rows[page[2][i]] = page[2][i + 1]
      audit_owner(owner_of(page[2][i]))
      checked = checked + 1
    end
  end
  return page[1], checked
end

local function audit_bytes(cursor)
  return stored.recount(cursor, RECOUNTED, function(o, what)
    found('bytes', o.name, 'counts ' .. what)
  end)
end

local KINDS = { ['t:'] = audit_tasks, ['o:'] = audit_owners, ['b:'] = audit_bytes }

-- args: what ("t:", "o:" or "b:": bytes of owners), cursor, "0" at first. Answer: {next cursor, "0" at the end, checked,
-- findings}.
local function audit(args)
  findings = {}
  local cursor, checked = KINDS[args[3]](args[4])
  return { cursor, checked, findings }
end

-- Checks members of the places and the global counters, all at once (only while there are few: else {-1}).
-- Answer: {checked, findings}.
local function audit_places(args)
  findings = {}
  local most = tonumber(args[3])
  local heavy, run, due, checked, left = 0, 0, 0, 0, most
  for _, key in ipairs(PLACES) do
    left = left - call('ZCARD', P .. key)
  end
  if left < 0 then
    return { -1, {} }
  end
  for _, key in ipairs(PLACES) do
    for _, id in ipairs(call('ZRANGE', P .. key, 0, -1)) do
      local r = record_of(id)
      checked = checked + 1
      if not r or terminal(r) then
        found('place', id, 'stands in ' .. key .. (r and ' and has ended' or ' and has no record'))
      else
        heavy = heavy + ((r.light or comes_later(r)) and 0 or 1)
        due = due + (r.D and not r.light and 1 or 0)
        run = run + (r.s == 'processing' and 1 or 0)
      end
    end
  end
  local g = global
  if g.act ~= heavy then
    found('counter', '*', 'counts ' .. g.act .. ' active tasks, has ' .. heavy)
  end
  if g.due ~= due then
    found('counter', '*', 'counts ' .. g.due .. ' active tasks that came due, has ' .. due)
  end
  if g.run ~= run then
    found('counter', '*', 'counts ' .. g.run .. ' running tasks, has ' .. run)
  end
  return { checked, findings }
end

export('audit', { 'no-writes' }, audit)
export('audit_places', { 'no-writes' }, audit_places)

end
