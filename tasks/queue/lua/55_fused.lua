-- A light task that already ran: submit and end recorded at once. This is the hot path: per task one event in its
-- owner's row and one field of a shared hash. The hash spans 4 s of creation time and expires as a whole, so a task
-- costs no key and no expiry of its own. Strings cost most here: the log's entry is the record too.

do

-- Drops what stands behind the newest ones of a list. Tasks with records of their own are not found in the hash
-- and expire by themselves.
local function trim_list(key, most)
  local over = call('LLEN', key) - most
  if over <= 0 then
    return
  end
  local old = call('RPOP', key, math.min(over, 1024))
  local place, words
  for i = 1, #old do
    local bucket = light_bucket(old[i])
    if bucket ~= place then
      if words then
        call(unpack(words))
      end
      place, words = bucket, { 'HDEL', bucket }
    end
    push(words, old[i])
  end
  call(unpack(words))
end

trim_light = function(o)
  for kind, most in pairs(LIGHT_MAX) do
    trim_list(P .. kind .. ':' .. o.name, most)
  end
end

-- The line for other hubs and admins; the calling hub builds its own.
local function fused_line(o, code, entry, seq, payload)
  local e = {}
  if code == 'C' then
    e.result = payload ~= '' and payload or '{}'
  else
    e.code, e.error = match(payload, '^([^\n]*)\n([^\n]*)\n')
  end
  say(o, true, add_event, entry, seq, LOGGED, e)
end

local function bucket_of(id, keep)
  local words = batch('HSET', light_bucket(id))
  words.keep = keep
  return words
end

-- args: retention, then per task: id, owner, code C or X, "task created began", payload (C: the result or
-- nothing; X: code, error and arguments, one per line). Answer: the time, then one seq per task.
local function fused(args)
  local keep = tonumber(args[3]) + 5000
  local answer, names = { now }, {}
  for i = 5, #args, 5 do
    names[#names + 1] = args[i]
  end
  fetch_owners(names)
  local hear_all = global.watch > now
  local prefix, bucket
  local failed = 0
  local ended = { C = ' ' .. now_digits .. ' 100 ', X = ' ' .. now_digits .. ' 0 ' }
  for i = 4, #args, 5 do
    local id, owner, code, head, payload = args[i], args[i + 1], args[i + 2], args[i + 3], args[i + 4]
    local o = owners[owner] or owner_of(owner)
    local seq = o.seq + 1
    local seq_text = text_of(seq)
    local entry = code .. ' 1 ' .. id .. ended[code] .. head .. ' ' .. owner .. ' ' .. seq_text
    log_append(o, entry)
    if sub(id, 1, 10) ~= prefix then
      prefix = sub(id, 1, 10)
      bucket = bucket_of(id, keep)
    end
    put(bucket, id, payload == '' and entry or entry .. '\n' .. payload)
    list_light(o, code, id)
    if o.who.others or hear_all then
      fused_line(o, code, entry, seq_text, payload)
    end
    if code == 'X' then
      failed = failed + 1
      count_end('failed', '')
    end
    answer[#answer + 1] = seq
  end
  count('done:completed', (#args - 3) / 5 - failed)
  return answer
end

export('fused', {}, fused)

end
