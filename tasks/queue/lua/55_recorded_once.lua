-- SPDX-License-Identifier: MIT
-- A light task that ran before it was recorded: its record is written once, as it ended. This is the hot path: per task
-- one event in its owner's log, one field of a shared hash, and the entry of its idempotency key if it has one. So a
-- task costs no key and no expiry of its own. Strings cost most here. What comes of it is what submit, lease, start and
-- end leave; but the log has the end alone, and arguments are kept only of one that failed, for task.retry.

do

local CODE, KEYED = { C = 'C', X = 'X' }, { c = 'C', x = 'X' }
local PROGRESS = { C = '100 ', X = '0 ' }
local LIGHT_MAX = { lc = 700, lx = 250, lk = 50 }

-- Drops what stands behind the newest ones of a list.
local function trim_list(key, most)
  local over = call('LLEN', key) - most
  if over <= 0 then
    return
  end
  local old = call('RPOP', key, math.min(over, 1024))
  local time, words
  for i = 1, #old do
    if sub(old[i], 1, 10) ~= time then
      if words then
        call(unpack(words))
      end
      time = sub(old[i], 1, 10)
      words = { 'HDEL', P .. 'tl:' .. time }
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

-- A text of its own key, where it is too long for the record.
local function put_apart(letter, id, text)
  call('SET', P .. EXTRA[letter] .. id, text, 'PX', keep_light)
  return letter
end

-- What a task ended with, as its record holds it: result or error, arguments, letters of y; and its event's parts.
local function outcome_of(id, code, text)
  local args, apart, e = '', '', EMPTY
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
  return text, args, apart ~= '' and ' y=' .. apart or '', e
end

-- Of the call: its idempotency keys, the last one that was taken, the words that write them and how many there are, how
-- many tasks ended with which code.
local taken, at_key, key_words, last_key, done

-- Makes the next key stand for its task. Of one that stands for another task already: what its submission is told.
local function take_key(o, code)
  at_key = at_key + 2
  local effect, key = taken[at_key], taken[at_key + 1]
  if standing[effect] then
    return keys.earlier(o, effect, key)
  end
  if not key_words then
    key_words = keys.ended()
    last_key = #key_words
  end
  key = code == 'X' and key .. code or key
  standing[effect], key_words[last_key + 1], key_words[last_key + 2] = key, effect, key
  last_key = last_key + 2
end

-- The words that write the records of the tasks of a run, which stand in one hash, how many there are, and that its owner's row
-- changes.
local function words_of_run(id)
  local bucket = bucket_of(id, true)
  bucket.ended = now + keep_light
  local words = words_of(bucket)
  return words, #words, true
end

-- Records `count` tasks of a run, args[at] and so on: id and outcome of each. `index`: of the first one in its call.
-- Answer: its seq. Those that are not recorded are added to `others`.
local function record_run(o, head, kind, began, args, at, index, count, others)
  local code, words, last, own, all, last_own, last_all = CODE[kind] or KEYED[kind], nil, 0, nil, nil, 0, 0
  local keyed, told, log, logs, seq = code ~= kind, o.who.told, o.log, o.logs, o.seq
  local first = seq + 1
  local thousands, digits_of, base = texts_from(seq)
  local entry_head, entry_tail = code .. ' 1 ', at_now .. PROGRESS[code] .. head.task
  local fixed, state = o.name .. head.lead .. score_of(args[at], 'A') .. head.tail, '\n' .. code .. ' 1 1 ' .. holder .. ' 0 '
  local rest = ' 0 ' .. began .. at_now .. ' '
  local plain, plain_rest = fixed .. state, rest .. '\n'
  for i = index, index + count - 1 do
    local id, text, e = args[at], args[at + 1], EMPTY
    local earlier = keyed and take_key(o, code)
    at = at + 2
    if earlier then
      earlier[5], others[#others + 1], words = i, earlier, nil -- the words so far were written
    else
      if not words then
        words, last, o.moved = words_of_run(id)
        own, all = light_lists(o, code)
        last_own, last_all = #own, #all
      end
      seq, logs = seq + 1, logs + 1
      if seq - base == 1000 then
        thousands, digits_of, base = texts_from(seq)
      end
      local seq_text = digits_of[seq - base]
      if text == '' then
        text = plain .. thousands .. seq_text .. plain_rest
      else
        local input, more
        text, input, more, e = outcome_of(id, code, text)
        text = fixed .. input .. state .. thousands .. seq_text .. rest .. more .. '\n' .. text
      end
      local entry = entry_head .. id .. entry_tail
      log[logs], o.logs, o.seq = entry, logs, seq
      words[last + 1], words[last + 2] = id, text
      own[last_own + 1], all[last_all + 1] = id, id
      last, last_own, last_all = last + 2, last_own + 1, last_all + 1
      if told then
        say(o, true, add_event, entry, thousands .. seq_text, LOGGED, e)
      end
    end
  end
  done[code] = done[code] + seq - first + 1
  return first
end

-- args: retention, keys (51_keys.lua), then runs of tasks that differ in nothing but id and outcome, and were made in the
-- same millisecond: owner, head, kind C or X, or c or x with idempotency keys, began, number of tasks; and of each: id,
-- outcome (C: the result, '' = {}; X: code, error and arguments, one per line). Answer: the time, per run the seq of the
-- first task, which the others' follow, then of those tasks that were not recorded: as of submit(), and behind it the
-- place in the call, from 0 on.
local function recorded_once(args)
  keep_light = args[3] + 0
  taken, at_key, key_words, done = keys.fetch(args[4]), -1, nil, { C = 0, X = 0 }
  local names, counts, runs, last = {}, {}, 0, #args
  local answer, others, at, index = { now }, {}, 5, 0
  while at < last do
    runs = runs + 1
    names[runs], counts[runs] = args[at], args[at + 4] + 0
    at = at + 5 + 2 * counts[runs]
  end
  fetch_owners(names)
  at = 5
  for i = 1, runs do
    local name, head, count = names[i], args[at + 1], counts[i]
    answer[i + 1] = record_run(owners[name] or owner_of(name), heads[head] or head_of(head), args[at + 2], args[at + 3],
      args, at + 5, index, count, others)
    at, index = at + 5 + 2 * count, index + count
  end
  count_ends(done)
  for i = 1, #others do
    answer[runs + 1 + i] = others[i]
  end
  return answer
end

export('recorded_once', {}, recorded_once)

end
