-- The auditor: checks the invariants on the live data set, a slice per call, reading only. Each slice is
-- consistent in itself, since a function is atomic. Findings are "rule id what" texts.

do

local SLICE = 200

local findings

local function found(rule, id, what)
  findings[#findings + 1] = rule .. ' ' .. id .. ' ' .. what
end

local function places_of(r)
  local n = 0
  for _, key in ipairs({ 'q:default', 'q:live', 'q:light', 'd', 'l' }) do
    if call('ZSCORE', P .. key, r.id) then
      n = n + 1
    end
  end
  return n
end

-- The log's entry with this seq, nil if it is gone already.
local function logged(o, seq)
  local entry = call('XRANGE', P .. 'e:' .. o.name, format('%.0f', seq) .. '-0', '+', 'COUNT', 1)[1]
  if not entry then
    return nil
  end
  local fields, list = entry[2], {}
  for k = 1, #fields, 2 do
    if fields[k] == 'e' then
      list[#list + 1] = fields[k + 1]
    end
  end
  return list[#list - (tonumber(match(entry[1], '^%d+')) - seq)]
end

local CODE_OF = { completed = 'C', failed = 'X', cancelled = 'K' }

local function audit_ended(r)
  local o = owner_of(r.o)
  if call('PTTL', P .. 't:' .. r.id) < 0 then
    found('expiry', r.id, 'an ended task never expires')
  end
  if tonumber(r.e or 0) > o.seq then
    found('seq', r.id, 'its last event is not in the log yet')
    return
  end
  local entry = logged(o, tonumber(r.e))
  if entry and not find(entry, CODE_OF[r.s] .. ' ' .. (r.a or '0') .. ' ' .. r.id .. ' ', 1, true) then
    found('terminal', r.id, 'its last event is not its terminal one')
  end
end

local function audit_task(r)
  local places = places_of(r)
  local active = call('ZSCORE', P .. 'ia:' .. r.o, r.id)
  local active_all = call('ZSCORE', P .. 'ga', r.id)
  if terminal(r) then
    if places ~= 0 then
      found('place', r.id, 'an ended task still stands in a queue')
    end
    if active or active_all then
      found('index', r.id, 'an ended task is listed as active')
    end
    audit_ended(r)
    return
  end
  if places ~= 1 then
    found('place', r.id, 'stands in ' .. places .. ' places')
  end
  if not active or not active_all then
    found('index', r.id, 'an active task is not listed')
  end
  if r.s == 'processing' and not call('ZSCORE', P .. 'l', r.id) then
    found('lease', r.id, 'runs without a lease')
  end
end

local function audit_log(o)
  local expected, terminals = nil, {}
  local entries = call('XREVRANGE', P .. 'e:' .. o.name, '+', '-', 'COUNT', 1000)
  local head = entries[1] and tonumber(match(entries[1][1], '^%d+')) or o.seq
  if head ~= o.seq then
    found('seq', o.name, 'the log ends at ' .. head .. ', the counter at ' .. o.seq)
  end
  for i = #entries, 1, -1 do
    local fields, n = entries[i][2], 0
    for k = 1, #fields, 2 do
      if fields[k] == 'e' then
        n = n + 1
        local code, id = match(fields[k + 1], '^(%a) %d+ (%S+)')
        if CODE_OF.completed == code or CODE_OF.failed == code or CODE_OF.cancelled == code then
          if terminals[id] then
            found('terminal', id, 'has two terminal events')
          end
          terminals[id] = true
        end
      end
    end
    local last = tonumber(match(entries[i][1], '^%d+'))
    if expected and last - n + 1 ~= expected then
      found('seq', o.name, 'the log jumps from ' .. expected - 1 .. ' to ' .. last - n + 1)
    end
    expected = last + 1
  end
end

-- Counters of one owner against its records.
local function audit_owner(o)
  local heavy, run = 0, 0
  local ids = call('ZRANGE', P .. 'ia:' .. o.name, 0, -1)
  for i = 1, #ids do
    local r = record_of(ids[i])
    if not r then
      found('index', ids[i], 'is listed as active and has no record')
    elseif r.o ~= o.name then
      found('owner', ids[i], 'is listed for another owner')
    else
      heavy = heavy + (r.light and 0 or 1)
      run = run + (r.s == 'processing' and 1 or 0)
    end
  end
  if heavy ~= o.act then
    found('counter', o.name, 'counts ' .. o.act .. ' active tasks, has ' .. heavy)
  end
  if run ~= o.run then
    found('counter', o.name, 'counts ' .. o.run .. ' running tasks, has ' .. run)
  end
  audit_log(o)
end

-- args: what ("t:" or "o:"), cursor of SCAN. Answer: {next cursor, checked, findings}.
local function audit(args)
  findings = {}
  local kind, checked = args[3], 0
  local page = call('SCAN', args[4], 'MATCH', string.gsub(P, '[%[%]*?\\]', '\\%0') .. kind .. '*', 'COUNT', SLICE)
  for i = 1, #page[2] do
    local name = sub(page[2][i], #P + #kind + 1)
    local r = kind == 't:' and record_of(name)
    if r then
      audit_task(r)
    elseif kind == 'o:' then
      audit_owner(owner_of(name))
    end
    checked = checked + 1
  end
  return { page[1], checked, findings }
end

local PLACES = { 'q:default', 'q:live', 'q:light', 'd', 'l', 'ga' }

-- Members of the places and the global counters, all at once (only while there are few: else {-1}).
-- Answer: {checked, findings}.
local function audit_places(args)
  findings = {}
  local most = tonumber(args[3])
  local ids = call('ZCARD', P .. 'ga')
  if ids > most then
    return { -1, {} }
  end
  local heavy, run, checked = 0, 0, 0
  for _, key in ipairs(PLACES) do
    for _, id in ipairs(call('ZRANGE', P .. key, 0, -1)) do
      local r = record_of(id)
      checked = checked + 1
      if not r or terminal(r) then
        found('place', id, 'stands in ' .. key .. (r and ' and has ended' or ' and has no record'))
      elseif key == 'ga' then
        heavy = heavy + (r.light and 0 or 1)
        run = run + (r.s == 'processing' and 1 or 0)
      end
    end
  end
  local g = globals()
  if g.act ~= heavy then
    found('counter', '*', 'counts ' .. g.act .. ' active tasks, has ' .. heavy)
  end
  if g.run ~= run then
    found('counter', '*', 'counts ' .. g.run .. ' running tasks, has ' .. run)
  end
  return { checked, findings }
end

export('audit', { 'no-writes' }, audit)
export('audit_places', { 'no-writes' }, audit_places)

end
