-- What a running task reports: progress, partial results, log lines.

local emit_latest

do

local LOG_LINES_MAX = 100 -- per attempt
local PIECES_MAX = 1000 -- final pieces per attempt

-- An event that is not logged: newer ones replace it. `e` as in line_of().
emit_latest = function(r, code, e)
  local o = owner_of(r.o)
  local rev = format('%d', (r.v or 0) + 1)
  set(r, 'v', rev)
  if heard(o) then
    local stage = stage_of(r)
    local task = stage ~= 'started' and r.task .. ' ' .. stage or r.task
    add_line(o, line_of(entry_of(code, r.a, r.id, r.n or '0', task), '0', rev, e))
  end
end

-- Texts are written once per task and call, with the last value.
local function keep_text(r, letter, text)
  if text == '' then
    return
  end
  if not r.texts then
    r.texts = {}
    after[#after + 1] = function()
      for which, value in pairs(r.texts) do
        call('SET', P .. EXTRA[which] .. r.id, value)
      end
    end
  end
  extra(r, letter)
  r.texts[letter] = text
end

local function progress(r, percent, stage, message, meta)
  if percent + 0 > (r.n or 0) + 0 then
    set(r, 'n', percent)
  end
  if stage ~= '' and not r.z and stage ~= r.g then
    set(r, 'g', stage)
  end
  if r.u ~= now_digits then
    set(r, 'u', now_digits)
  end
  local e = NOTHING
  if message ~= '' or meta ~= '' then
    keep_text(r, 'm', message)
    keep_text(r, 't', meta)
    e = { message = message ~= '' and message or nil, meta = meta ~= '' and meta or nil }
  end
  emit_latest(r, 'P', e)
end

local function final_piece(r, _, _, _, meta)
  local key = extra(r, 'p')
  if call('RPUSH', key, meta) > PIECES_MAX then
    call('RPOP', key)
    return
  end
  emit(r, 'F', { meta = meta }, meta)
end

local function log_line(r, _, _, message)
  local lines = (r.l or 0) + 1
  if lines > LOG_LINES_MAX then
    return
  end
  set(r, 'l', format('%d', lines))
  emit(r, 'L', { message = message }, message)
end

local KINDS = {
  P = progress,
  p = function(r, _, _, _, meta)
    emit_latest(r, 'p', { meta = meta })
  end,
  F = final_piece,
  L = log_line,
}

-- Whether this update was taken already: its runner heard no answer and says it again. Numbers rise within an
-- attempt; 0 = never said twice.
local function known(r, number)
  if number == 0 then
    return false
  elseif number <= (r.c or 0) + 0 then
    return true
  end
  set(r, 'c', format('%d', number))
  return false
end

-- args: then per update: id, attempt, kind P, p, F or L, percent, stage, message, meta (texts as JSON,
-- '' = unchanged), number. Answer: one code per update.
local function update(args)
  local answer = {}
  for i = 3, #args, 8 do
    local r = record_of(args[i])
    local code = LOST
    if holds(r, args[i + 1]) and r.s == 'processing' then
      code = 0
      if not known(r, args[i + 7] + 0) then
        KINDS[args[i + 2]](r, args[i + 3], args[i + 4], args[i + 5], args[i + 6])
      end
    end
    answer[#answer + 1] = code
  end
  return answer
end

export('update', { 'allow-oom' }, update)

end
