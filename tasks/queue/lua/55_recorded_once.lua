-- SPDX-License-Identifier: MIT
-- A light task that ran before it was recorded: its record is written once, as it ended. This is the hot path: per task
-- one event in its owner's log, one field of a shared hash, and the entry of its idempotency key if it has one. So a
-- task costs no key and no expiry of its own. Strings cost most here. What comes of it is what submit, lease, start and
-- end leave; but the log has the end alone, and arguments are kept only of one that failed, for task.retry.

do

local CODE, KEYED = { C = 'C', X = 'X' }, { c = 'C', x = 'X' }
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

-- args: retention, keys (51_keys.lua), then per task: id, owner, head, kind C or X, or c or x with an idempotency key,
-- began, outcome (C: the result, '' = {}; X: code, error and arguments, one per line). Answer as of submit().
local function recorded_once(args)
  keep_light = args[3] + 0
  local answer, names, n, taken, at_key = {}, {}, 0, keys.fetch(args[4]), -1
  for i = 6, #args, 6 do
    names[#names + 1] = args[i]
  end
  fetch_owners(names)
  local ended = ' ' .. now_digits .. '  '
  local state = { C = '\nC 1 1 ' .. holder .. ' 0 ', X = '\nX 1 1 ' .. holder .. ' 0 ' }
  local logged = { C = ' ' .. now_digits .. ' 100 ', X = ' ' .. now_digits .. ' 0 ' }
  local done = { C = 0, X = 0 }
  local time, created, words, key_words, last_key
  local same_head, same_began, fixed, rest -- parts of a record that are mostly those of the one before
  for i = 5, #args, 6 do
    local id, owner, kind, began = args[i], args[i + 1], args[i + 3], args[i + 4]
    local o, head = owners[owner] or owner_of(owner), heads[args[i + 2]] or head_of(args[i + 2])
    local code, earlier = CODE[kind], nil
    if not code then
      at_key = at_key + 2
      local effect, key = taken[at_key], taken[at_key + 1]
      code, earlier = KEYED[kind], standing[effect] and keys.earlier(o, effect, key)
      if not earlier then
        if not key_words then
          key_words = keys.ended()
          last_key = #key_words
        end
        key = code == 'X' and key .. code or key
        standing[effect], key_words[last_key + 1], key_words[last_key + 2] = key, effect, key
        last_key = last_key + 2
      end
    end
    n = n + 1
    if earlier then
      answer[n], time = earlier, nil -- the words so far were written
    else
      local seq = o.seq + 1
      local seq_text, entry = text_of(seq), code .. ' 1 ' .. id .. logged[code] .. head.task
      local text, input, more, e = args[i + 5], '', '', EMPTY
      if text ~= '' then
        text, input, more, e = outcome_of(id, code, text)
      end
      log_append(o, entry)
      if sub(id, 1, 13) ~= time then
        time, created, same_head = sub(id, 1, 13), score_of(id, 'A'), nil
        local bucket = bucket_of(id, true)
        bucket.ended = now + keep_light
        words = words_of(bucket)
      end
      if head ~= same_head then
        same_head, fixed = head, head.lead .. created .. head.tail
      end
      if began ~= same_began then
        same_began, rest = began, ' 0 ' .. began .. ended
      end
      local at = #words
      words[at + 1] = id
      words[at + 2] = owner .. fixed .. input .. state[code] .. seq_text .. rest .. more .. '\n' .. text
      list_light(o, code, id)
      done[code] = done[code] + 1
      if o.who.told then
        say(o, true, add_event, entry, seq_text, LOGGED, e)
      end
      answer[n] = seq
    end
  end
  count_ends(done)
  answer[n + 1] = now
  return answer
end

export('recorded_once', {}, recorded_once)

end
