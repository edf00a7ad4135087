-- Owners: counters, log, who listens. An owner is read once per call and written once at its end. Text that
-- people wrote (messages, errors) comes as a JSON string from C and is stored and sent as it came, so
-- nothing is escaped here; owner ids and type names have no character that needs it.

local TYPES = {
  A = 'accepted',
  S = 'started',
  P = 'progress',
  p = 'partial',
  F = 'partial',
  R = 'retrying',
  L = 'log',
  C = 'completed',
  X = 'failed',
  K = 'cancelled',
}
local RESULT_INLINE = 16384

-- An owner's counters: seq of the log's newest event, act = active heavy tasks, run = running tasks. `mine`: the calling hub listens to this owner; `others`: some other hub does.
local function owner_of(name)
  local o = owners[name]
  if o then
    return o
  end
  local key = P .. 'o:' .. name
  local v = call('HMGET', key, 'seq', 'hubs', 'act', 'run', 'touch')
  o = { name = name, key = key, log = P .. 'e:' .. name, infix = ' ' .. name .. ' ' }
  o.seq = tonumber(v[1] or 0)
  o.act = tonumber(v[3] or 0)
  o.run = tonumber(v[4] or 0)
  o.touch = tonumber(v[5] or 0)
  o.seq_was, o.act_was, o.run_was = o.seq, o.act, o.run
  local hubs = v[2]
  o.hubs = hubs
  if hubs then
    o.mine = from_hub and find(hubs, ' ' .. origin .. ' ', 1, true) ~= nil
    o.others = not o.mine or #hubs > #origin + 2
  end
  owners[name] = o
  touched[#touched + 1] = o
  return o
end

-- Whether a line of this owner's feed has a reader. A hub builds the lines of its own submissions itself.
local function heard(o, built_by_hub)
  return o.others or (o.mine and not built_by_hub) or watched()
end

-- The owner's log is a stream; all events of one call are one entry, whose id is "<seq of the last>-0" and
-- whose fields are e = "code attempt id time progress task …", each followed by x = what only the log knows,
-- where there is such a thing. flush_owner() writes it together with seq.
local function log_words(o)
  local words = o.words
  if not words then
    words = { 'XADD', o.log, '' }
    o.words = words
  end
  return words
end

local function log_append(o, code, attempt, id, progress, task, text)
  o.seq = o.seq + 1
  local words = log_words(o)
  words[#words + 1] = 'e'
  words[#words + 1] = code .. ' ' .. attempt .. ' ' .. id .. ' ' .. now_digits .. ' ' .. progress .. ' ' .. task
  if text then
    words[#words + 1] = 'x'
    words[#words + 1] = text
  end
  return o.seq
end

-- The params object of a task.event, with the members in the order of tasks/event_body.c. `e` may hold
-- message, meta, result, error (JSON text) and code.
local function body_of(code, id, task, owner, status, stage, progress, attempt, e)
  local text = '{"task_id":"' .. id .. '","task":"' .. task .. '","user_id":"' .. owner .. '","type":"'
    .. TYPES[code] .. '","status":"' .. status .. '","stage":"' .. stage .. '","progress":' .. progress
  if e.message then
    text = text .. ',"message":' .. e.message
  end
  if e.meta then
    text = text .. ',"meta":' .. e.meta
  end
  text = text .. ',"attempt":' .. attempt
  if e.result then
    text = text .. (#e.result > RESULT_INLINE and ',"result_omitted":true' or ',"result":' .. e.result)
  end
  if e.code then
    text = text .. ',"error":{"code":"' .. e.code .. '","message":' .. (e.error or '""') .. '}'
  end
  return text .. ',"at":"' .. now_text() .. '"}'
end

-- Adds a line to what the owner's listeners get at the end of this call.
local function add_line(o, line, built_by_hub)
  if o.others or watched() then
    o.lines = o.lines or {}
    o.lines[#o.lines + 1] = line
  end
  if o.mine and not built_by_hub then
    o.reply = o.reply or {}
    o.reply[#o.reply + 1] = line
  end
end

-- What to write at the end of the call, one command per key for all tasks. `keep`: expiry of the key in ms;
-- `most`: what a list is cut to.
local function batch(command, key)
  local name = command .. key
  local words = batches[name]
  if not words then
    words = { command, key }
    batches[name] = words
    batches[#batches + 1] = words
  end
  return words
end

local function batch_add(key, score, member)
  local words = batch('ZADD', key)
  words[#words + 1] = score
  words[#words + 1] = member
end

local function batch_remove(key, member)
  local words = batch('ZREM', key)
  words[#words + 1] = member
end

local function batch_push(key, member)
  local words = batch('LPUSH', key)
  words[#words + 1] = member
end

-- Lua's stack bounds one unpack(); a call brings at most a few hundred tasks.
local UNPACK = 4000

local function flush_batch(words)
  if #words <= UNPACK then
    call(unpack(words))
  else
    for from = 3, #words, UNPACK do
      call(words[1], words[2], unpack(words, from, math.min(#words, from + UNPACK - 1)))
    end
  end
  if words.keep then
    call('PEXPIRE', words[2], words.keep)
  end
  if words.most then
    call('LTRIM', words[2], 0, words.most - 1)
  end
end

local function flush_batches()
  for i = 1, #batches do
    flush_batch(batches[i])
  end
end
