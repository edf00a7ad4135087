-- SPDX-License-Identifier: MIT
-- Records light tasks that ran before they were recorded: the record is written once, at the end. This is the hot
-- path: a task costs one event in its owner's log, one field of a shared hash, and the entry of its idempotency key
-- if it has one, but no key and no expiry of its own. Strings cost most here. The result is the same as that of
-- submit, lease, start and end, except that the log contains only the end, and arguments are kept only for a failed
-- task, for task.retry.

do

local CODE, KEYED = { C = 'C', X = 'X' }, { c = 'C', x = 'X' }
local PROGRESS = { C = '100 ', X = '0 ' }
local LIGHT_MAX = { lc = 700, lx = 250, lk = 50 }

-- Deletes the records of ids[from] to ids[to], which are roughly in order of time: if the first and the last are in
-- one hash, so are the others. A record elsewhere, of a task that took long, expires with its hash.
local function drop_records(ids, from, to)
  local time = sub(ids[from], 1, 10)
  if sub(ids[to], 1, 10) == time then
    call('HDEL', P .. 'tl:' .. time, unpack(ids, from, to))
  else
    local middle = floor((from + to) / 2)
    drop_records(ids, from, middle)
    drop_records(ids, middle + 1, to)
  end
end

-- What entries of an owner's list (35_index.lua) count no more; only ids are left of them, and no other keys of theirs.
local function uncount(o, old)
  local plain, each = {}, stored.LIGHT + #o.name
  for i = 1, #old do
    if #old[i] == 36 then
      plain[#plain + 1] = old[i]
    else
      local id, bytes, slot = match(old[i], '^(%S+) (%d+) (%d+)$')
      old[i] = id
      if bytes + 0 > each then
        call('UNLINK', P .. EXTRA.r .. id, P .. EXTRA.e .. id, P .. EXTRA.a .. id)
      end
      stored.change(o, slot + 0, -bytes)
    end
  end
  local first, last = plain[1] and stored.light_till(born(plain[1])), plain[1] and stored.light_till(born(plain[#plain]))
  if first == last then -- they stand in the order of their hours
    stored.change(o, first or 0, -#plain * each)
    return
  end
  for i = 1, #plain do
    stored.change(o, stored.light_till(born(plain[i])), -each)
  end
end

-- Trims a list to its newest entries.
local function trim_list(o, kind, most)
  local key = P .. kind .. ':' .. o.name
  local over = call('LLEN', key) - most
  if over > 0 then
    local old = call('RPOP', key, math.min(over, 1024))
    uncount(o, old)
    drop_records(old, 1, #old)
  end
end

trim_light = function(o)
  for kind, most in pairs(LIGHT_MAX) do
    trim_list(o, kind, most)
  end
end

local apart_bytes -- of the keys of one task

-- Stores a text that is too long for the record under a key of its own.
local function put_apart(letter, id, text)
  apart_bytes = apart_bytes + #text + stored.EACH
  call('SET', P .. EXTRA[letter] .. id, text, 'PX', kept.net(keep_light))
  kept.note('y:' .. id, keep_light)
  return letter
end

-- Returns the end of a task as its record contains it: result or error, arguments, letters of y; and the parts of
-- its event.
local function outcome_of(id, code, text)
  local args, apart, e = '', '', EMPTY
  apart_bytes = 0
  if code == 'X' then
    e = {}
    e.code, e.error, args = match(text, '^([^\n]*)\n([^\n]*)\n(.*)$')
    text = e.code .. '\n' .. e.error
    if #args > SHORT then
      apart, args = put_apart('a', id, args), ''
    end
  elseif text == '{}' then
    text = ''
  else
    e = { result = text }
  end
  if #text > LIGHT_SHORT then
    apart, text = apart .. put_apart(code == 'X' and 'e' or 'r', id, text), ''
  end
  return text, args, apart ~= '' and ' y=' .. apart .. ' B=' .. text_of(apart_bytes) or '', e
end

-- State of the call: its idempotency keys, the index of the last one used, whether all of them are new, how many
-- tasks ended with each code, and what was made of shapes.
local taken, at_key, fresh, done, shapes
local full -- owners who keep too much, false if none does

-- Assigns the next key to its task. If it belongs to another task already, returns the answer for its submission.
local function take_key(o, code)
  at_key = at_key + 2
  local effect, key = taken[at_key], taken[at_key + 1]
  if standing[effect] then
    return keys.earlier(o, effect, key)
  end
  o.keyed = o.keyed + stored.KEY
  key = code == 'X' and key .. code or key
  standing[effect] = key
  put(keys.ended(), effect, key)
end

-- The same for several keys when all are new: they are written together.
local function take_new_keys(o, code, count)
  o.keyed = o.keyed + count * stored.KEY
  if code == 'X' then
    for i = at_key + 3, at_key + 1 + 2 * count, 2 do
      taken[i] = taken[i] .. code
    end
  end
  at_key = at_key + 2 * count
end

-- Parts of records and events that tasks of one shape share; they differ in owner, id and outcome. `plain` and
-- `plain_rest` surround the seq in the record of a task without arguments and outcome.
local function shape_of(text)
  local kind, began, time, head = match(text, '^(%a) (%d+) (%S+) (.*)$')
  local code = CODE[kind] or KEYED[kind]
  head = heads[head] or head_of(head)
  local score = score_of(time, 'A')
  local shape = {
    code = code, keyed = code ~= kind, time = time, of_hour = stored.hour_of(score) == stored.hour,
    entry = code .. ' 1 ', entry_rest = at_now .. PROGRESS[code] .. head.task,
    fixed = head.lead .. score .. head.tail, state = '\n' .. code .. ' 1 1 ' .. holder .. ' 0 ',
    rest = ' 0 ' .. began .. at_now .. ' ',
  }
  shape.plain, shape.plain_rest = shape.fixed .. shape.state, shape.rest .. '\n'
  shapes[text] = shape
  return shape
end

-- The words that write the records of a shape's tasks into their one hash, and how many they are.
local function words_of_shape(shape)
  local bucket = bucket_of(shape.time, true)
  bucket.ended = run_ms + keep_light
  local words = words_of(bucket)
  return words, #words
end

-- Records completed tasks of one owner and shape, args[at] to args[to]: id and outcome of each. Answer: the
-- position where it stopped, at the first task with a long result.
local function record_plain(o, shape, args, at, to)
  if #args[at + 1] > LIGHT_SHORT then
    return at
  end
  local words, last = words_of_shape(shape)
  local own, last_own, all = light_lists(o, 'C')
  local log, logs, last_all, told, name, of_hour = o.log, o.logs, #all, o.who.told, o.name, shape.of_hour
  local entry, entry_rest, plain, plain_rest = shape.entry, shape.entry_rest, shape.plain, shape.plain_rest
  local thousands, tails, tail = texts_from(o.seq + 1)
  local from, each, bytes = at, stored.LIGHT + #name, 0
  local slot = stored.light_slot_text
  while at <= to do
    local id, result = args[at], args[at + 1]
    if #result > LIGHT_SHORT then
      break
    elseif tail == 1000 then
      thousands, tails, tail = texts_from(o.seq + 1 + (at - from) / 2)
    end
    logs = logs + 1
    log[logs] = entry .. id .. entry_rest
    words[last + 1] = id
    last = last + 2
    words[last] = name .. plain .. thousands .. tails[tail] .. plain_rest .. result
    last_own = last_own + 1
    own[last_own] = id
    if #result > SHORT then
      bytes = bytes + #result
      own[last_own] = id .. ' ' .. text_of(each + #result) .. slot
    elseif not of_hour then
      own[last_own] = id .. ' ' .. text_of(each) .. slot
    end
    last_all = last_all + 1
    all[last_all] = id
    if told then
      say(o, true, add_event, log[logs], thousands .. tails[tail], LOGGED, result == '' and EMPTY or { result = result })
    end
    tail = tail + 1
    at = at + 2
  end
  local count = (at - from) / 2
  o.light = o.light + count * each + bytes
  o.logged = o.logged + count * stored.event(#entry + 36 + #entry_rest)
  o.seq, o.moved, o.logs, o.ends = o.seq + count, true, logs, last_own
  return at
end

-- Records one task of any other kind.
local function record_other(o, shape, id, text)
  local code, input, more, e, bytes = shape.code, '', '', EMPTY, 0
  if text ~= '' then
    text, input, more, e = outcome_of(id, code, text)
    bytes = apart_bytes + (#text > SHORT and #text or 0)
  end
  local entry = shape.entry .. id .. shape.entry_rest
  local seq_text = text_of(log_append(o, entry))
  local words, last = words_of_shape(shape)
  words[last + 1] = id
  words[last + 2] = o.name .. shape.fixed .. input .. shape.state .. seq_text .. shape.rest .. more .. '\n' .. text
  list_light(o, code, id, bytes)
  if o.who.told then
    say(o, true, add_event, entry, seq_text, LOGGED, e)
  end
end

-- Refuses the tasks of a run, except those whose key stands.
local function refuse_run(o, shape, from, to, index, others)
  for at = from, to, 2 do
    local earlier
    if shape.keyed then
      at_key = at_key + 2
      earlier = keys.earlier(o, taken[at_key], taken[at_key + 1])
    end
    earlier = earlier or stored.refusal(o)
    earlier[5], others[#others + 1] = index + (at - from) / 2, earlier
  end
  return o.seq + 1
end

-- Records tasks of one owner and shape. `index`: place of the first one in the call. Adds those that are not
-- recorded to `others`. Answer: the seq of the first one that is recorded.
local function record_run(o, shape, args, from, to, index, others)
  local seq, code, asks, at = o.seq, shape.code, shape.keyed and not fresh, from
  if full and full[o.name] then
    return refuse_run(o, shape, from, to, index, others)
  end
  if shape.keyed and fresh then
    take_new_keys(o, code, (to - from + 1) / 2)
  end
  while at <= to do
    if code == 'C' and not asks then
      at = record_plain(o, shape, args, at, to)
    end
    if at <= to then
      local earlier = asks and take_key(o, code)
      if earlier then
        earlier[5], others[#others + 1] = index + (at - from) / 2, earlier
      else
        record_other(o, shape, args[at], args[at + 1])
      end
      at = at + 2
    end
  end
  done[code] = done[code] + o.seq - seq
  return seq + 1
end

-- The owners among these who keep too much, false if none does.
local function find_full(names)
  local found = false
  for i = 1, #names do
    local o = owners[names[i]] or owner_of(names[i])
    if stored.refused(o) then
      found = found or {}
      found[o.name] = true
    end
  end
  return found
end

-- args: retention, keys (51_keys.lua, none of them twice), then runs of tasks that differ only in id and outcome:
-- owner, shape, number of tasks, and of each task: id, outcome (C: the result, '' = {}; X: code, error and
-- arguments, one per line). A shape is "kind began time head": kind C or X, or c or x with idempotency keys; time =
-- the first characters of the ids, which contain the millisecond. Answer: the time, per run the seq of the first
-- task, which those of the others follow, then for each task that was not recorded: the answer of submit(),
-- followed by its place in the call, from 0.
local function recorded_once(args)
  keep_light = args[3] + 0
  taken, fresh = keys.fetch(args[4])
  at_key, done, shapes = 1, { C = 0, X = 0 }, {}
  local names, ends, runs, last, at = {}, {}, 0, #args, 5
  while at < last do
    runs = runs + 1
    names[runs] = args[at]
    at = at + 3 + 2 * args[at + 2]
    ends[runs] = at
  end
  fetch_owners(names)
  full = find_full(names)
  fresh = fresh and not full
  local answer, others, index = { now }, {}, 0
  at = 5
  for i = 1, runs do
    local name, shape, to = names[i], args[at + 1], ends[i]
    answer[i + 1] = record_run(owners[name] or owner_of(name), shapes[shape] or shape_of(shape), args, at + 3, to - 1, index,
      others)
    index = index + (to - at - 3) / 2
    at = to
  end
  if fresh then
    keys.put_new(taken)
  end
  count_ends(done)
  for i = 1, #others do
    answer[runs + 1 + i] = others[i]
  end
  return answer
end

export('recorded_once', {}, recorded_once)

end
