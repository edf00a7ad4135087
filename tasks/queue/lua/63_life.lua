-- SPDX-License-Identifier: MIT
-- Who lives, and that time goes on.

do

-- A hub calls now and then, so that running time goes on where nobody has anything to write. Answer: {steps of the
-- clock so far, ms of the last one}.
local function tick()
  local v = call('HMGET', P .. 'g', 'steps', 'step_ms')
  if clock.step then
    return { (v[1] or 0) + 1, clock.step }
  end
  return { (v[1] or 0) + 0, (v[2] or 0) + 0 }
end

export('tick', { 'allow-oom' }, tick)

end
