-- Owners: counters, log, who listens. An owner is read once per call and written once at its end. Text that
-- people wrote (messages, errors) comes as a JSON string from C and is stored and sent as it came, so
-- nothing is escaped here; owner ids and type names have no character that needs it.

local RESULT_INLINE = 16384
local NOTHING = {} -- of line_of(): no optional members

-- An owner's counters: seq of the log's newest event, act = active heavy tasks, run = running tasks, tags = its
-- last tag in each ready set, kinds = which of its indexes exist. `mine`: the calling hub listens to this owner;
-- `others`: some other hub does. `moved`: something besides seq changed; `words`: what flush_owner() appends to the
-- log; `lists`: what flush_batches() writes.
local function owner_of(name)
  local o = owners[name]
  if o then
    return o
  end
  local key = P .. 'o:' .. name
  local v = call('HMGET', key, 'seq', 'hubs', 'act', 'run', 'touch', 'tags', 'kinds')
  local hubs = v[2]
  local mine = hubs and from_hub and find(hubs, ' ' .. origin .. ' ', 1, true) ~= nil
  local seq = v[1] and v[1] + 0 or 0
  o = {
    name = name,
    key = key,
    seq = seq,
    seq_was = seq,
    act = v[3] and v[3] + 0 or 0,
    run = v[4] and v[4] + 0 or 0,
    touch = v[5] and v[5] + 0 or 0,
    tags = v[6] or '',
    kinds = v[7] or '',
    hubs = hubs,
    mine = mine,
    others = hubs and (not mine or #hubs > #origin + 2),
    words = false,
    moved = false,
    lists = false,
  }
  owners[name] = o
  touched[#touched + 1] = o
  return o
end

-- Whether a line of this owner's feed has a reader. A hub builds the lines of its own submissions itself.
local function heard(o, built_by_hub)
  return o.others or (o.mine and not built_by_hub) or watched()
end

-- The owner's log is a stream; all events of one call are one entry, whose id is "<seq of the last>-0" and
-- whose fields are e = "code attempt id time progress task …", each followed by x = what only the log knows (a
-- line, a piece, "code\nerror" of an attempt that is repeated), where there is such a thing. flush_owner() writes it
-- together with seq.
local function log_words(o)
  local words = { 'XADD', P .. 'e:' .. o.name, '' }
  o.words = words
  return words
end

-- What an event is, in the log as well as in the feed. `task` may be followed by a stage.
local function entry_of(code, attempt, id, progress, task)
  return code .. ' ' .. attempt .. ' ' .. id .. ' ' .. now_digits .. ' ' .. progress .. ' ' .. task
end

local function log_append(o, entry, text)
  local words = o.words or log_words(o)
  local n = #words
  words[n + 1] = 'e'
  words[n + 2] = entry
  if text then
    words[n + 3] = 'x'
    words[n + 4] = text
  end
  local seq = o.seq + 1
  o.seq = seq
  return seq
end

-- A line of the feed: "=seq rev entry", then what the event carries besides, each behind a tab and a letter. The hub
-- makes the event's JSON of it (tasks/queue_line.c); `e` may hold message, meta, result, error (JSON text), code.
local function line_of(entry, seq, rev, e)
  local line = '=' .. seq .. ' ' .. rev .. ' ' .. entry
  if e == NOTHING then
    return line
  end
  if e.message then
    line = line .. '\tm' .. e.message
  end
  if e.meta then
    line = line .. '\tt' .. e.meta
  end
  if e.result then
    line = line .. (#e.result > RESULT_INLINE and '\to' or '\tr' .. e.result)
  end
  if e.code then
    line = line .. '\tc' .. e.code .. '\te' .. (e.error or '""')
  end
  return line
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

-- Batches: what is written at the end of the call, one command per key for all tasks. `keep`: expiry of the key in
-- ms; `most`: what a list is cut to. A slot is a name that finds the batch again without making its key.
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

-- Of a key of the whole data set.
local function batch_all(slot, command, key)
  local words = batches[slot]
  if not words then
    words = batch(command, P .. key)
    batches[slot] = words
  end
  return words
end

-- Of a key of an owner, "<kind>:<owner>".
local function batch_of(o, slot, command, kind)
  local lists = o.lists
  if not lists then
    lists = {}
    o.lists = lists
  end
  local words = lists[slot]
  if not words then
    words = { command, P .. kind .. ':' .. o.name }
    lists[slot] = words
    lists[#lists + 1] = words
  end
  return words
end

local function put(words, score, member)
  local n = #words
  words[n + 1] = score
  words[n + 2] = member
end

local function push(words, member)
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

-- Writes all batches now; later ones of the same key begin anew.
local function flush_batches()
  for i = 1, #batches do
    flush_batch(batches[i])
  end
  batches = {}
  for i = 1, #touched do
    local lists = touched[i].lists
    if lists then
      for k = 1, #lists do
        flush_batch(lists[k])
      end
      touched[i].lists = false
    end
  end
end
