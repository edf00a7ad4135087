-- SPDX-License-Identifier: MIT
-- Owners: counters, log, listeners. An owner is a row, a field of the hash o: read once per call and written
-- once at its end. The owner's log is the list e:<owner>, one element per event, the oldest first; the row's
-- seq is the number of the last. What a call appends to a log is written with one command.
--
-- Text that people wrote (messages, errors) arrives from C as a JSON string and is stored and sent unchanged,
-- so nothing is escaped here; owner ids and type names contain no character that needs it.

local RESULT_INLINE = 16384
local NOTHING = { rest = '' } -- for say(): no optional members

-- A row is msgpack, which costs less than text here. Its values: seq of the log's newest event; act = active
-- heavy tasks; run = running tasks; touch = when it was renewed how long the keys are kept; kinds = which of the owner's indexes
-- exist; hubs = names of the hubs that listen; class and tag = the owner's last tag and the ready set it
-- belongs to; tags = the same for other sets; later = delayed heavy tasks that have not come due yet; then the
-- eight of 22_stored.lua.
local EMPTY_ROW
local turns = {} -- settled: a ready set in which no owner waited for a first task; at: when that was so (61_lease.lua)

-- A field that belongs to no owner. It is too long for Redis to pack the hash into a list, so the hash is a
-- table from its first row on: a call reads many rows, and a list is searched for each. Its value: history.note().
local NOTE = '# rows of owners: seq act run touch kinds hubs class tag tags later (msgpack)'

-- Reads the rows of several owners at once; a name may occur more than once, or be false.
local function fetch_owners(names)
  local words, n = { 'HMGET', P .. 'o' }, 2
  for i = 1, #names do
    local name = names[i]
    if name and rows[name] == nil then
      rows[name] = false
      n = n + 1
      words[n] = name
    end
  end
  if n > 2 then
    local found = fetch_words(words)
    for i = 1, #found do
      rows[words[i + 2]] = found[i]
    end
  end
end

-- Parses the `hubs` value of a row. `mine`: the calling hub listens; `others`: some other hub does; `lines`:
-- what those get at the end of this call; `told`: whether anybody must get the events that the calling hub
-- builds itself.
local function listeners(hubs)
  local mine = from_hub and find(hubs, ' ' .. holder .. ' ', 1, true) ~= nil
  local who = { hubs = hubs, mine = mine, others = hubs ~= '' and (not mine or #hubs > #holder + 2), lines = false }
  who.told = who.others or not from_hub or global.watch > run_ms
  heard_by[hubs] = who
  return who
end

local owner_of, call_pooled
local damage = {} -- functions for damaged rows and records, called by other files

do

-- Later calls reuse the tables of owners: making them would cost more than filling them. Nothing in them
-- outlives a call except the names of keys and the values written to the row.
local pool, pool_prefix, pool_size = {}, nil, 0
local POOL_MAX = 2000
local WORDS_KEPT = 34 -- longest command whose words are reused

local function new_owner(name)
  if pool_prefix ~= P or pool_size == POOL_MAX then
    pool, pool_prefix, pool_size = {}, P, 0
  end
  local o = {
    name = name, seq = 0, seq_was = 0, act = 0, run = 0, touch = 0, kinds = '', hubs = '', class = '', tag = 0,
    tags = '', later = 0, hour = 0, living = 0, logged = 0, light = 0, heavy = 0, keyed = 0, slotted = 0, slots = '', log_lost = false, row = false, indexed = false, who = false, moved = false, renewed = false,
    logs = 2, places = 2, ends = 2, at = '@' .. name, log = { 'RPUSH', P .. 'e:' .. name },
    index = { 'ZADD', P .. 'i:' .. name }, ended = { 'LPUSH', P .. 'lc:' .. name },
  }
  pool[name], pool_size = o, pool_size + 1
  return o
end

-- Reads a row into the owner's table; raises an error where a value is not of its kind. A row of the format before has
-- nothing behind `later`: stored.pass() begins to count.
local function read_row(o, row)
  o.seq, o.act, o.run, o.touch, o.kinds, o.hubs, o.class, o.tag, o.tags, o.later, o.hour, o.living,
    o.logged, o.light, o.heavy, o.keyed, o.slotted, o.slots = unpack_values(row)
  local sum = #o.kinds + #o.hubs + #o.class + #o.tags + o.seq + o.act + o.run + o.touch + o.tag + o.later
  return o.hour and sum + #o.slots + o.hour + o.living + o.logged + o.light + o.heavy + o.keyed + o.slotted
end

-- Begins an owner's row anew, as it is damaged or lost. Nobody knows how far the log went: its events are dropped by the
-- first call that writes, and the next number is higher than any before, so everybody is told of a gap. Counters come
-- back when they are recounted.
damage.begin_row = function(o)
  read_row(o, EMPTY_ROW)
  o.seq, o.log_lost = now, true
  for kind, key in pairs({ i = 'i:', c = 'lc:', x = 'lx:', k = 'lk:' }) do
    o.kinds = o.kinds .. (call('EXISTS', P .. key .. o.name) == 1 and kind or '')
  end
  for _, name in ipairs(call('ZRANGE', P .. 'hb', 0, '+inf', 'BYSCORE')) do
    if byte(name) == 104 then
      o.hubs = (o.hubs == '' and ' ' or o.hubs) .. name .. ' '
    end
  end
end

-- An owner's row. `moved`: it changed. `log`, `index`, `ended`: the commands that write the owner's log,
-- index and list of successful light tasks; `logs`, `places`, `ends`: how many words they have. `row`: the
-- text the table was written as, false while in use: a row that is read unchanged is not parsed again.
-- `indexed`: a value of kinds that names the index.
owner_of = function(name)
  local o = owners[name]
  if o then
    return o
  end
  local row = rows[name]
  if row == nil then
    row = call('HGET', P .. 'o', name)
  end
  o = pool_prefix == P and pool[name] or new_owner(name)
  EMPTY_ROW = EMPTY_ROW or pack(0, 0, 0, 0, '', '', '', 0, '', 0, 0, 0, 0, 0, 0, 0, 0, '')
  if not row or o.row ~= row then
    o.log_lost = false
    if not pcall(read_row, o, row or EMPTY_ROW) then
      damage.begin_row(o)
    end
  end
  o.row = false
  if o.hour ~= stored.hour then
    stored.pass(o)
  end
  o.seq_was, o.who = o.seq, heard_by[o.hubs] or listeners(o.hubs)
  o.moved, o.logs, o.places, o.ends = false, 2, 2, 2
  owners[name] = o
  touched[#touched + 1] = o
  return o
end

-- Runs a command whose first n words are set. Returns the table to go on with, a shorter one if it had grown
-- large.
call_pooled = function(words, n)
  call(unpack(words, 1, n))
  return n > WORDS_KEPT and { words[1], words[2] } or words
end

end

-- The text of an event, in the log and in the feed. `task` may be followed by a stage.
local function entry_of(code, attempt, id, progress, task)
  return code .. ' ' .. attempt .. ' ' .. id .. at_now .. progress .. ' ' .. task
end

-- Appends an event to the log. What only the log keeps (a line, a piece, "code\nerror" of an attempt that
-- will be retried) follows a tab. Answer: its seq.
local function log_append(o, entry)
  local n, seq = o.logs + 1, o.seq + 1
  o.log[n] = entry
  o.logs, o.seq, o.logged, o.moved = n, seq, o.logged + stored.event(#entry), true
  return seq
end

-- Adds lines to the feed; "@owner" precedes an owner's lines unless the lines before are the same owner's.
local function add_lines(lines, o, text)
  local n = lines.n + 1
  if lines.owner ~= o then
    lines.owner, lines[n] = o, o.at
    n = n + 1
  end
  lines[n], lines.n = text, n
end

local function new_lines()
  return { n = 0, owner = false }
end

-- A line is "=seq rev entry", then whatever else the event carries, each part behind a tab and a letter. The
-- hub turns it into the event's JSON (tasks/queue/event_text.h). `e` may hold message, meta, result, error
-- (JSON text), code, or the body of a notification; or `rest`, all of these ready-made, for an event that is
-- always the same.
local function add_event(lines, o, entry, seq, rev, e)
  local rest = e.rest or (e.message and '\tm' .. e.message or '') .. (e.meta and '\tt' .. e.meta or '')
    .. (e.body and '\tb' .. e.body or '')
    .. (e.result and (#e.result > RESULT_INLINE and '\to' or '\tr' .. e.result) or '')
    .. (e.code and '\tc' .. e.code .. '\te' .. (e.error or '""') or '')
  add_lines(lines, o, '=' .. seq .. rev .. entry .. rest)
end

-- Calls add(lines, o, …) for everybody who gets the owner's events at the end of this call: other hubs,
-- admins, the caller. A hub builds the events of its own submissions itself.
local function say(o, built_by_hub, add, entry, seq, rev, e)
  local who = o.who
  if who.others then
    if not who.lines then
      who.lines = new_lines()
    end
    add(who.lines, o, entry, seq, rev, e)
  end
  if who.mine and not built_by_hub then
    reply = reply or new_lines()
    add(reply, o, entry, seq, rev, e)
  end
  if global.watch > run_ms then
    admin_lines = admin_lines or new_lines()
    add(admin_lines, o, entry, seq, rev, e)
  end
end

local LOGGED = ' 0 ' -- rev of a logged event
