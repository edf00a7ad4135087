-- SPDX-License-Identifier: MIT
-- Batches: what a call writes to sorted sets and lists is gathered and written at its end, one command per
-- key for all its tasks. `keep`: expiry of the key in ms; `most`: the length a list is cut to; `grows`: a
-- sorted set that may get many members at once. A slot is a name that finds the batch again without building
-- its key.

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

-- The batch of a key that belongs to no owner.
local function batch_all(slot, command, key)
  local words = batches[slot]
  if not words then
    words = batch(command, P .. key)
    batches[slot] = words
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

-- Runs a command that takes any number of words behind its key; returns the answer.
local function fetch_words(words)
  if #words <= UNPACK then
    return call(unpack(words))
  end
  local found, n = {}, 0
  for from = 3, #words, UNPACK do
    local part = call(words[1], words[2], unpack(words, from, math.min(#words, from + UNPACK - 1)))
    for i = 1, #part do
      found[n + i] = part[i]
    end
    n = n + #part
  end
  return found
end

-- Runs a command whose arguments come in groups of an even number, split into as many calls as unpack()
-- needs.
local function call_words(words)
  if #words <= UNPACK then
    call(unpack(words))
    return
  end
  for from = 3, #words, UNPACK do
    call(words[1], words[2], unpack(words, from, math.min(#words, from + UNPACK - 1)))
  end
end

local add_many

do

local LONG = 'longer than what Redis packs into a list, whatever its number of members' -- more than 64 bytes
-- Adds many members to a sorted set. Redis keeps a small set as a packed list, which it walks for each
-- insertion: adding and removing one long member first turns it into a table.
add_many = function(words)
  local n = #words
  words[n + 1], words[n + 2], words[3], words[4] = words[3], words[4], '0', LONG
  call_words(words)
  call('ZREM', words[2], LONG)
end

end

-- Writes all batches now; later ones of the same key start empty.
local function flush_batches()
  local many = 2 + 2 * 16 -- words
  for i = 1, #batches do
    local words = batches[i]
    local write = words.grows and #words > many and add_many or call_words
    write(words)
    if words.keep then
      call('PEXPIRE', words[2], words.keep)
    end
    if words.most then
      call('LTRIM', words[2], 0, words.most - 1)
    end
  end
  batches = emptied(batches)
end
