-- SPDX-License-Identifier: MIT
-- Audio streams: one Redis stream per task, a:<id>. An entry's id is "<offset of its first byte>-1" (0-0 is
-- not a legal id); its field d holds the bytes. The record's A is the number of stored bytes; its E says that
-- no more will come.

do

-- The stream's record if the owner may use it: record, or nil and the code.
local function stream_of(owner, id)
  local r = record_of(id)
  if not r then
    return nil, NOT_FOUND
  elseif r.o ~= owner then
    return nil, FORBIDDEN
  elseif not r.stream then
    return nil, STATE
  end
  return r
end

local function stand(r, code)
  return { code, r and r.A or '0', r and r.E and 1 or 0 }
end

local function tell_reader(r)
  if r.w ~= '' then
    tell_holder(r, 'audio ' .. r.id)
  end
end

-- Answer: the code.
local function store(r, stands, bytes)
  local o = owner_of(r.o)
  if stored.refused(o) then
    return stored.refusal(o)[1]
  end
  call('XADD', P .. 'a:' .. r.id, format('%d-1', stands), 'd', bytes)
  set(r, 'A', format('%d', stands + #bytes))
  o.living, o.moved = o.living + #bytes, true
  tell_reader(r)
  return 0
end

-- Appends bytes at an offset; skips bytes already stored, and refuses a gap by answering the stream's
-- position. args: then per chunk: owner, id, offset, bytes. Answer per chunk: {code, received, ended}.
local function audio_append(args)
  local answer = {}
  for i = 3, #args, 4 do
    local r, code = stream_of(args[i], args[i + 1])
    if r and (terminal(r) or r.E) then
      code = STATE
    elseif r then
      code = 0
      local offset, bytes = tonumber(args[i + 2]), args[i + 3]
      local stands = tonumber(r.A or 0)
      local skip = stands - offset
      if skip >= 0 and skip < #bytes then
        bytes = skip > 0 and sub(bytes, skip + 1) or bytes
        code = store(r, stands, bytes)
      end
    end
    answer[#answer + 1] = stand(r, code)
  end
  return answer
end

-- args: owner, id. Answer: {code, received, ended}.
local function audio_end(args)
  local r, code = stream_of(args[3], args[4])
  if not r then
    return stand(nil, code)
  elseif r.E then
    return stand(r, 0)
  elseif terminal(r) then
    return stand(r, STATE)
  end
  set(r, 'E', '1')
  call('ZREM', P .. 'as', r.id)
  tell_reader(r)
  return stand(r, 0)
end

-- The calling hub takes over a stream: from now on no other hub may call it abandoned. args: owner, id.
-- Answer: {code, received, ended}.
local function audio_take(args)
  local r, code = stream_of(args[3], args[4])
  if not r then
    return stand(nil, code)
  elseif terminal(r) then
    return stand(r, STATE)
  elseif not r.E then
    set(r, 'H', holder)
  end
  return stand(r, 0)
end

-- Ends a stream's task from outside and frees its bytes. args: retention, owner, id, error code, error.
local function audio_fail(args)
  retention(args)
  local r, code = stream_of(args[5], args[6])
  if not r then
    return code
  elseif terminal(r) or args[7] == 'abandoned' and r.H and r.H ~= holder then
    return STATE
  end
  fail_stream(r, args[7], args[8])
  return 0
end

-- Keeps a hub's open streams. args: for how many ms, ids… (at most a thousand).
local function audio_keep(args)
  local words = { 'ZADD', P .. 'as', 'XX' }
  for i = 4, #args do
    put(words, run_ms + args[3], args[i])
  end
  call(unpack(words))
  return 0
end

local READ_ENTRIES = 8

-- args: owner, id, offset, max bytes. Answer: {code, received, ended, bytes…}.
local function audio_read(args)
  local r, code = stream_of(args[3], args[4])
  local offset, left = tonumber(args[5]), tonumber(args[6])
  if not r then
    return stand(nil, code)
  end
  local answer = stand(r, 0)
  local key = P .. 'a:' .. r.id
  local first = call('XREVRANGE', key, format('%d-1', offset), '-', 'COUNT', 1)[1]
  local from = first and first[1] or nil
  while from and left > 0 do
    local entries = call('XRANGE', key, from, '+', 'COUNT', READ_ENTRIES)
    for i = 1, #entries do
      local bytes = entries[i][2][2]
      local skip = offset - tonumber(match(entries[i][1], '^%d+'))
      if left > 0 and skip < #bytes then
        bytes = sub(bytes, skip + 1, skip + left)
        answer[#answer + 1] = bytes
        offset, left = offset + #bytes, left - #bytes
      end
    end
    from = #entries == READ_ENTRIES and '(' .. entries[#entries][1] or nil
  end
  return answer
end

export('audio_append', {}, audio_append)
export('audio_end', { 'allow-oom' }, audio_end)
export('audio_take', { 'allow-oom' }, audio_take)
export('audio_fail', { 'allow-oom' }, audio_fail)
export('audio_keep', { 'allow-oom' }, audio_keep)
export('audio_read', { 'no-writes' }, audio_read)

end
