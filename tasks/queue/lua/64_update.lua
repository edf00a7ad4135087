-- SPDX-License-Identifier: MIT
-- The logged reports of a running task: final pieces of a transcript and log lines; and partial results that
-- follow such a piece, in order.

do

local LOG_LINES_MAX = 100 -- per attempt
local PIECES_MAX = 1000 -- final pieces per attempt

local function final_piece(r, meta)
  local key = extra(r, 'p')
  if call('RPUSH', key, meta) > PIECES_MAX then
    call('RPOP', key)
    return
  end
  stored.apart(r, #meta + stored.EACH)
  emit(r, 'F', { meta = meta }, meta)
end

local function log_line(r, message)
  local lines = (r.l and r.l ~= '' and r.l or 0) + 1
  if lines > LOG_LINES_MAX then
    return
  end
  set(r, 'l', text_of(lines))
  emit(r, 'L', { message = message }, message)
end

local KINDS = { F = final_piece, L = log_line }

-- Whether this update was taken before: its runner got no answer and sends it again. Numbers rise within an
-- attempt; 0 = never repeated.
local function known(r, number)
  if number == 0 then
    return false
  elseif number <= (r.c and r.c ~= '' and r.c or 0) + 0 then
    return true
  end
  set(r, 'c', text_of(number))
  return false
end

-- Tells lines of open pieces, as in a report; `rev` is that of the last one.
local function partial(r, lines, rev)
  if rev + 0 > r.v + 0 then
    set(r, 'v', rev)
    if not r.z then
      say(owner_of(r.o), false, add_lines, lines)
    end
  end
end

-- args: then per update: id, fence, kind F, L or p, text (F: meta object, L: message as JSON, p: lines), number (p:
-- rev). Answer as of report().
local function update(args)
  local answer = {}
  for i = 3, #args, 5 do
    local r = record_of(args[i])
    if not holds(r, args[i + 1]) or r.s ~= 'processing' then
      put(answer, (i + 2) / 5, LOST)
    elseif args[i + 2] == 'p' then
      partial(r, args[i + 3], args[i + 4])
    elseif not known(r, args[i + 4] + 0) then
      KINDS[args[i + 2]](r, args[i + 3])
    end
  end
  return answer
end

export('update', { 'allow-oom' }, update)

end
