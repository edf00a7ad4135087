-- SPDX-License-Identifier: MIT
-- Domain data that lives here for a while: impressions until they are moved to the database, and the register
-- of sessions; and what cleanup_sessions removes. Keys: imp "resource kind" -> count; impb the batch that was
-- cut off and not dropped yet, impb:id its id; ses "owner session" by expiry in seconds.

do

local IMPRESSIONS_MAX = 1000000 -- distinct counters
local BATCH = 1000
local SESSIONS_MAX = 1000000
local SESSION_KEPT_S = 86400 -- how long expired ones stay if nobody cleans up
local CLEAN_SESSIONS = 1000
local CLEAN_KEYS = 500
local CLEAN_INDEX = 500

-- args: resource, kind, idempotency key (51_keys.lua) or nothing. Answer: 1, also if the key was counted
-- before; 0 if there are too many counters; 2 if the key stands for something else.
local function impression(args)
  local field, words = args[3] .. ' ' .. args[4], keys.fetch(args[5] or '')
  if words[3] and keys.is_used(words[3]) then
    return keys.fits(words[3], words[4]) and 1 or 2
  elseif call('HEXISTS', P .. 'imp', field) == 0 and call('HLEN', P .. 'imp') >= IMPRESSIONS_MAX then
    return 0
  end
  if words[3] then
    put(keys.ended(), words[3], words[4])
  end
  call('HINCRBY', P .. 'imp', field, 1)
  return 1
end

-- Cuts off the next batch under the id args[3], or returns the one not dropped yet. Answer: {id, counters
-- left, field, count, …}.
local function impressions_take(args)
  local id = call('GET', P .. 'impb:id')
  if not id then
    local entries = call('HRANDFIELD', P .. 'imp', BATCH, 'WITHVALUES')
    if not entries or #entries == 0 then
      return { '', 0 }
    end
    id = args[3]
    local fields = {}
    for i = 1, #entries, 2 do
      fields[#fields + 1] = entries[i]
    end
    call('SET', P .. 'impb:id', id)
    call('HSET', P .. 'impb', unpack(entries))
    call('HDEL', P .. 'imp', unpack(fields))
  end
  local answer = call('HGETALL', P .. 'impb')
  table.insert(answer, 1, call('HLEN', P .. 'imp'))
  table.insert(answer, 1, id)
  return answer
end

-- Drops the batch args[3], which the database has now.
local function impressions_drop(args)
  if call('GET', P .. 'impb:id') == args[3] then
    call('DEL', P .. 'impb', P .. 'impb:id')
  end
  return 0
end

-- args: per session: owner, session, expiry in seconds.
local function session(args)
  local words = { 'ZADD', P .. 'ses' }
  for i = 3, #args, 3 do
    put(words, args[i + 2], args[i] .. ' ' .. args[i + 1])
  end
  call_words(words)
  call('ZREMRANGEBYSCORE', P .. 'ses', '-inf', clock.certain() / 1000 - SESSION_KEPT_S)
  local over = call('ZCARD', P .. 'ses') - SESSIONS_MAX
  if over > 0 then
    call('ZPOPMIN', P .. 'ses', over)
  end
  return 0
end

-- Removes a slice of the sessions that expired before `before` (seconds).
local function clean_sessions(before)
  local old = call('ZRANGE', P .. 'ses', '-inf', before, 'BYSCORE', 'LIMIT', 0, CLEAN_SESSIONS)
  if #old > 0 then
    call('ZREM', P .. 'ses', unpack(old))
  end
  return #old
end

-- Removes the bytes of a stream whose task is gone.
local function clean_audio(key, id)
  if record_of(id) then
    return 0
  end
  return call('UNLINK', key)
end

-- Cleans one slice of the key space. Answer: {next cursor, audio streams, tasks}.
local function clean_keys(cursor, before)
  local page = call('SCAN', cursor, 'MATCH', string.gsub(P, '[%[%]*?\\]', '\\%0') .. '*', 'COUNT', CLEAN_KEYS)
  local audio, tasks = 0, 0
  for i = 1, #page[2] do
    local key = page[2][i]
    local name = string.sub(key, #P + 1)
    if string.sub(name, 1, 2) == 'a:' then
      audio = audio + clean_audio(key, string.sub(name, 3))
    elseif name == 'i' or string.sub(name, 1, 2) == 'i:' then
      tasks = tasks + trim_index(key, CLEAN_INDEX, before)
    end
  end
  return page[1], audio, tasks
end

-- Removes unused rows from one slice of the owners. Answer: the next cursor.
local function clean_owners(cursor)
  local page = call('HSCAN', P .. 'o', cursor, 'COUNT', CLEAN_KEYS)
  local gone = {}
  for i = 1, #page[2], 2 do
    rows[page[2][i]] = page[2][i + 1]
    local o = page[2][i] ~= NOTE and owner_of(page[2][i])
    if o and o.act + o.later == 0 and o.run == 0 and o.hubs == '' and now - o.touch > OWNER_KEEP_MS then
      push(gone, o.name)
    end
  end
  if #gone > 0 then
    call('HDEL', P .. 'o', unpack(gone))
  end
  return page[1]
end

-- A step of the clean-up: sessions first, then the key space, then owners. args: cursor ("0" = begin), age of a session
-- in seconds, retention of heavy tasks in seconds. Answer: {next cursor ("0" = done), sessions, audio streams, tasks}.
local function cleanup(args)
  local cursor = args[3]
  if string.sub(cursor, 1, 1) == 'o' then
    local next_owners = clean_owners(string.sub(cursor, 2))
    return { next_owners == '0' and '0' or 'o' .. next_owners, 0, 0, 0 }
  elseif string.sub(cursor, 1, 1) ~= 'k' then
    local sessions = clean_sessions(clock.certain() / 1000 - args[4])
    return { sessions == CLEAN_SESSIONS and 's' or 'k0', sessions, 0, 0 }
  end
  local next_cursor, audio, tasks = clean_keys(string.sub(cursor, 2), now - args[5] * 1000)
  return { next_cursor == '0' and 'o0' or 'k' .. next_cursor, 0, audio, tasks }
end

export('impression', {}, impression)
export('impressions_take', { 'allow-oom' }, impressions_take)
export('impressions_drop', { 'allow-oom' }, impressions_drop)
export('session', {}, session)
export('cleanup', { 'allow-oom' }, cleanup)

end
