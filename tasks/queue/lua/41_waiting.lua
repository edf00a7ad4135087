-- SPDX-License-Identifier: MIT
-- Leases the record of a waiting task as text, without parsing it.

local waiting = {} -- called by other files; in a table since Lua limits the number of locals

do

local KNOWN_MAX = 2000
local known, known_count = {}, 0 -- text of a record as it was made -> where its third line begins

-- Remembers the text of a new task that waits: it need not be looked through when it is found again.
waiting.know = function(text, at)
  if known_count == KNOWN_MAX then
    known, known_count = {}, 0
  end
  known[text], known_count = at, known_count + 1
end

local FIXED_BEGIN = '^(%S+) %S+ %S+ %d+ %S+ %d '
local WAITING = '^[^\n]*\n[^\n]*()\n([pq]) (%d+) (%d+) %S*( .*)$'

-- Takes a waiting task's record apart, where its third line begins. Answer: that place, what the line begins with
-- once it is leased, and what stands behind the holder then; nil if it no longer waits or is damaged.
local function parts_of(id, text)
  local owner = match(text, FIXED_BEGIN)
  if not owner or not in_shard_of(id, owner) then
    return nil
  end
  local at, state, rest = find(text, UNLEASED, 1, true), LEASED, nil
  if at then
    rest = sub(text, at + #UNLEASED)
  else
    local status, attempt, fence, others
    at, status, attempt, fence, others = match(text, WAITING)
    if not status then
      return nil
    end
    state, rest = '\np ' .. (status == 'p' and text_of(attempt + 1) or attempt) .. ' ' .. text_of(fence + 1) .. ' ', others
  end
  if not find(rest, UNTOUCHED, -7, true) and damage.behind_holder(rest) then
    return nil
  end
  return at, state, rest
end

-- Leases a waiting task without parsing its record. Answer: the new text, nil if it no longer waits or is
-- damaged.
waiting.lease = function(id)
  local text = fetched[id]
  local at, state, rest = known[text], LEASED, nil
  if at then
    known[text], known_count = nil, known_count - 1
    rest = sub(text, at + #UNLEASED)
  elseif text then
    at, state, rest = parts_of(id, text)
  end
  if not at then
    return nil
  end
  text = sub(text, 1, at - 1) .. state .. holder .. rest
  bucket_put(homes[id], id, text)
  return text
end

end
