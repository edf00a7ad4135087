-- SPDX-License-Identifier: MIT
-- Idempotency keys. While its task is active, a key is a field of the hash k; then, for one to two days, of
-- k:<day> (by running time), which goes as a whole. Field: the 16 bytes of the task's effect id. Value: the 16 bytes of the
-- task's id, as many of the digest of its type and arguments, and, unless it succeeded, how it ended (X or
-- K). A call reads the keys of all its tasks with one command per hash, and writes them with another. The
-- field keys of g names the hashes, each between blanks.

local keys = {} -- called by other files; in a table since Lua limits the number of locals

do

local DUPLICATE, MISMATCH = 1, 2 -- enum queue_code
local KEPT_MS = 86400000 -- the shortest time a key is kept

-- A field that belongs to no key. It is too long for Redis to pack the hash into a list, so the hash is a
-- table.
local NOTE = '# effect id = task id, digest of type and arguments, how it ended (bytes)'

local bytes -- two hexadecimal digits -> byte

-- A UUID as 16 bytes, and back.
local function bytes_of(id)
  if not bytes then
    bytes = {}
    for i = 0, 255 do
      bytes[format('%02x', i)] = string.char(i)
    end
  end
  return (string.gsub(string.gsub(id, '%-', ''), '%x%x', bytes))
end

local function id_of(value)
  return format('%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x', byte(value, 1, 16))
end

local function key_of_day()
  return 'k:' .. text_of(floor(run_ms / KEPT_MS))
end

-- Reads the keys of a call. `text`: field and value of each, 48 bytes. Answer: fields and values as words 3,
-- 4 and so on of a command, and whether all keys are new.
keys.fetch = function(text)
  local count = #text / 48
  if count == 0 then
    return NOTHING, false
  end
  local words, wanted, fresh = { 'HSET', P .. key_of_day(), struct.unpack(string.rep('c16c32', count), text) }, { 'HMGET', '' }, true
  words[2 * count + 3] = nil -- where unpack() stopped
  for i = 3, count + 2 do
    wanted[i] = words[2 * i - 3]
  end
  for home in string.gmatch(global.keys, '%S+') do
    wanted[2] = P .. home
    local found = fetch_words(wanted)
    for i = 1, count do
      if found[i] then
        standing[wanted[i + 2]], fresh = found[i], false
      end
    end
  end
  return words, fresh
end

-- For a fetched key: whether it is used, and if so, whether for the task that `value` describes.
keys.is_used = function(effect)
  return standing[effect] ~= nil
end

keys.fits = function(effect, value)
  return sub(standing[effect], 17, 32) == sub(value, 17, 32)
end

-- The answer to a submission whose fetched key is used: {code, id, status, head of the log} of the task it
-- stands for; nil if the key is free.
keys.earlier = function(o, effect, value)
  local first = standing[effect]
  if not first then
    return nil
  end
  local id = id_of(first)
  if not keys.fits(effect, value) then
    return { MISMATCH, id, '', 0 }
  end
  flush_records() -- this call may have made the task
  local r = record_of(id)
  return { DUPLICATE, id, r and r.s or STATUS_OF[sub(first, 33)] or 'completed', o.seq }
end

local function is_home(home)
  return find(global.keys, ' ' .. home .. ' ', 1, true)
end

-- Makes one of the hashes and drops the names of those that are gone.
local function note_home(home)
  local names, oldest = ' ' .. home .. ' ', floor(run_ms / KEPT_MS) - 1
  for name in string.gmatch(global.keys, '%S+') do
    if name == 'k' or sub(name, 3) + 0 >= oldest then
      names = names .. name .. ' '
    end
  end
  global.keys = names
  call('HSET', P .. 'g', 'keys', names)
end

-- Adds the note to the first words for a hash, which makes it a table. `ms`: how long it is kept, nil for ever.
local function make_home(words, home, ms)
  if not is_home(home) then
    put(words, NOTE, '')
    if ms then
      words.keep = kept.net(ms)
      kept.note(home, ms)
    end
    note_home(home)
  end
end

local function words_to(home, ms)
  local words = batches[home]
  if not words then
    words = batch_all(home, 'HSET', home)
    make_home(words, home, ms)
  end
  return words
end

local function ms_of_day()
  return 2 * KEPT_MS - run_ms % KEPT_MS
end

-- Makes a key stand for an active task.
keys.put = function(effect, value)
  standing[effect] = value
  put(words_to('k'), effect, value)
end

-- The words that write the keys of ended tasks.
keys.ended = function()
  return words_to(key_of_day(), ms_of_day())
end

-- Makes all keys of a call stand for ended tasks; `words`: those of fetch(), all new.
keys.put_new = function(words)
  make_home(words, key_of_day(), ms_of_day())
  batches[#batches + 1] = words
end

local function move_ended()
  local words = after.released
  local found = fetch_words(words)
  local to = keys.ended()
  for i = 1, #found do
    if found[i] then
      put(to, words[i + 2], found[i] .. words.codes[i])
    end
  end
  words[1] = 'HDEL'
  call_words(words)
  flush_batches()
end

-- Keeps the key of an ended task for a while, even when the record is gone.
keys.release = function(r, code)
  local words, o = after.released, owner_of(r.o)
  o.living, o.keyed, o.moved = o.living - stored.KEY, o.keyed + stored.KEY, true
  if not words then
    words = { 'HMGET', P .. 'k', codes = {} }
    after.released = words
    after[#after + 1] = move_ended
  end
  push(words, bytes_of(r.x))
  push(words.codes, code ~= 'C' and code or '')
end

keys.lives = function(effect)
  return call('HEXISTS', P .. 'k', bytes_of(effect)) == 1
end

-- Whether a field that is no key's stands; keys.ended() takes it.
keys.stands = function(field)
  for home in string.gmatch(global.keys, '%S+') do
    if call('HEXISTS', P .. home, field) == 1 then
      return true
    end
  end
end

end
