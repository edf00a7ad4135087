-- What a running task reports: progress, partial results, log lines.

local emit_latest

do

local LOG_LINES_MAX = 100 -- per attempt
local PIECES_MAX = 1000 -- final pieces per attempt

local function line_of(r, code, seq, rev, e)
  return code .. ' ' .. seq .. ' ' .. rev .. ' ' .. r.a .. ' ' .. r.id .. ' '
    .. body_of(code, r.id, r.task, r.o, r.s, stage_of(r), r.n or '0', r.a, e)
end

-- An event that is not logged: newer ones replace it.
emit_latest = function(r, code, e)
  local o = owner_of(r.o)
  local rev = format('%d', (r.v or 0) + 1)
  set(r, 'v', rev)
  if heard(o) then
    add_line(o, line_of(r, code, 0, rev, e))
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

local function progress(r, u)
  if u.percent > tonumber(r.n or 0) then
    set(r, 'n', format('%d', u.percent))
  end
  if u.stage ~= '' and not r.z then
    set(r, 'g', u.stage)
  end
  set(r, 'u', now_digits)
  keep_text(r, 'm', u.message)
  keep_text(r, 't', u.meta)
  emit_latest(r, 'P', { message = u.message ~= '' and u.message or nil, meta = u.meta ~= '' and u.meta or nil })
end

local function final_piece(r, u)
  local key = extra(r, 'p')
  if call('RPUSH', key, u.meta) > PIECES_MAX then
    call('RPOP', key)
    return
  end
  emit(r, 'F', { meta = u.meta }, u.meta)
end

local function log_line(r, u)
  local lines = (r.l or 0) + 1
  if lines > LOG_LINES_MAX then
    return
  end
  set(r, 'l', format('%d', lines))
  emit(r, 'L', { message = u.message }, u.message)
end

local KINDS = {
  P = progress,
  p = function(r, u)
    emit_latest(r, 'p', { meta = u.meta })
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
        KINDS[args[i + 2]](r,
          { percent = tonumber(args[i + 3]), stage = args[i + 4], message = args[i + 5], meta = args[i + 6] })
      end
    end
    answer[#answer + 1] = code
  end
  return answer
end

export('update', { 'allow-oom' }, update)

end
