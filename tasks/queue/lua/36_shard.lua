-- SPDX-License-Identifier: MIT
-- The virtual shards of owners, as in tasks/queue/shard.h: the lowest bits of a task's id are its owner's.

local in_shard_of

do

local POLYNOMIAL, SHARDS = 0x1021, 1024
local shards, shards_count, table_of_crc = {}, 0, nil -- owner -> shard
local SHARDS_MAX = 4000

local function crc_table()
  local made = {}
  for i = 0, 255 do
    local crc = i * 256
    for _ = 1, 8 do
      crc = crc < 32768 and crc * 2 or bit.bxor(crc * 2 % 65536, POLYNOMIAL)
    end
    made[i] = crc
  end
  return made
end

-- An owner's virtual shard: of the user id, so percent-encoded bytes are decoded.
local function shard_of(owner)
  local crc, id = 0, string.gsub(owner, '%%(%x%x)', function(hex)
    return string.char(tonumber(hex, 16))
  end)
  table_of_crc = table_of_crc or crc_table()
  for i = 1, #id do
    crc = bit.bxor(crc % 256 * 256, table_of_crc[bit.bxor(floor(crc / 256), byte(id, i))])
  end
  if shards_count == SHARDS_MAX then
    shards, shards_count = {}, 0
  end
  shards[owner], shards_count = crc % SHARDS, shards_count + 1
  return shards[owner]
end

-- Whether a task can be this owner's.
in_shard_of = function(id, owner)
  return tonumber(sub(id, -3), 16) % SHARDS == (shards[owner] or shard_of(owner))
end

end
