-- A light task that already ran: submit and end recorded at once. This is the hot path: per task one log
-- entry, one field of a shared hash, one entry of a list. The hash spans 4 s of creation time and expires as
-- a whole, so a task costs no key and no expiry of its own.

do

local LIGHT_MAX = 1000 -- per owner
local LIGHT_ALL = 2000 -- newest ones of everybody, for admins

local function drop_light(entries)
  local drops = {}
  for i = 1, #entries do
    -- Capitals are fused tasks; the others have records of their own, which expire by themselves.
    if byte(entries[i], 1) < 97 then
      local place, field = light_place(sub(entries[i], 2))
      local words = drops[place]
      if not words then
        words = { 'HDEL', place }
        drops[place] = words
        drops[#drops + 1] = words
      end
      words[#words + 1] = field
    end
  end
  for i = 1, #drops do
    call(unpack(drops[i]))
  end
end

trim_light = function(o)
  local key = P .. 'il:' .. o.name
  local over = call('LLEN', key) - LIGHT_MAX
  if over > 0 then
    drop_light(call('RPOP', key, math.min(over, 1024)))
  end
end

-- The line for other hubs and admins; the calling hub builds its own.
local function fused_line(o, code, id, head, seq, payload)
  local status = LIGHT_STATUS[code]
  local e = {}
  if code == 'C' then
    e.result = payload ~= '' and payload or '{}'
  else
    e.code, e.error = match(payload, '^([^\n]*)\n([^\n]*)\n')
  end
  add_line(o, code .. ' ' .. seq .. ' 0 1 ' .. id .. ' ' .. body_of(code, id, match(head, '^%S+'), o.name,
    status, status, code == 'C' and 100 or 0, 1, e), true)
end

-- args: retention, then per task: id, owner, code C or X, "task created began", payload (C: the result or
-- nothing; X: code, error and arguments, one per line). Answer: the time, then one seq per task.
local function fused(args)
  local keep = tonumber(args[3]) + 5000
  local answer = { now }
  local hear_all = watched()
  local all = batch('LPUSH', P .. 'gl')
  local place, bucket
  local failed = 0
  local at_done, at_failed = ' ' .. now_digits .. ' 100 ', ' ' .. now_digits .. ' 0 '
  for i = 4, #args, 5 do
    local id, code, head, payload = args[i], args[i + 2], args[i + 3], args[i + 4]
    local o = owner_of(args[i + 1])
    local words = o.words or log_words(o)
    local n = #words
    words[n + 1] = 'e'
    words[n + 2] = code .. ' 1 ' .. id .. (code == 'C' and at_done or at_failed) .. head
    local seq = o.seq + 1
    o.seq = seq
    local key, field = light_place(id)
    if key ~= place then
      place = key
      bucket = batch('HSET', key)
      bucket.keep = keep
    end
    n = #bucket
    bucket[n + 1] = field
    bucket[n + 2] = code .. format(' %d ', seq) .. now_digits .. ' ' .. o.name .. ' ' .. head .. '\n' .. payload
    local mine = batch_of(o, 'il', 'LPUSH', 'il')
    local entry = code .. id
    mine[#mine + 1] = entry
    all[#all + 1] = entry
    if o.others or hear_all then
      fused_line(o, code, id, head, seq, payload)
    end
    if code == 'X' then
      failed = failed + 1
      count_end('failed', 0, 0)
    end
    answer[#answer + 1] = seq
  end
  count('done:completed', (#args - 3) / 5 - failed)
  if now % 16 == 0 then
    all.most = LIGHT_ALL
  end
  return answer
end

export('fused', {}, fused)

end
