"""Every Lua script that is sent, as named constants; the rules they keep, and why.

A script runs alone on its node, so a reader sees all of it or nothing, and the append-only file
holds its effects as one transaction. It is not rolled back when a command in it fails: each script
reads everything it needs first, and its first write is one that a full memory, a replica or a lack of
replicas refuses, so a refused script has changed nothing. All keys are passed in ``KEYS`` and lie in
one slot. Effects are replicated, not the script, so ``TIME`` is allowed (Redis 5 and later).

``KEYS`` of the first three are ``Conversation.all_keys``: 1 meta, 2 messages, 3 keys, 4 and 5 tokens,
6 index, 7 expiry.
"""

import hashlib
from typing import Final, NamedTuple


class Script(NamedTuple):
    """A script and the name the server knows it by once it has seen it."""

    text: str
    sha: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


TOKEN_PERIOD: Final = 660
"""Seconds in which this library's own keys go to one of the two hashes; they are kept one period more."""

# Microseconds as 16 digits, joined as text: a Lua number would be written as 1.7e+15.
_NOW = """
local now = redis.call('TIME')
local stamp = now[1] .. string.format('%06d', now[2])
"""

# The hash may be gone alone, evicted or expired a moment ago: what else is left of that conversation
# must not become part of the new one. The index comes first, see above.
_BEGIN = """
local function begin(id)
  redis.call('ZADD', KEYS[6], 0, stamp .. id)
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
end
"""

# One moment for all keys of a conversation, so that they expire together. The conversation takes at
# most one place in the expiry set with each call and two expired ones leave it and the index, so both
# stay small even where nobody lists. With ttl '0' an expiry that is still there is taken back.
_EXPIRE = """
local function expire(member, ttl)
  if ttl == '0' then
    if redis.call('PTTL', KEYS[1]) > 0 then
      for place = 1, 3 do redis.call('PERSIST', KEYS[place]) end
      redis.call('ZREM', KEYS[7], member)
    end
    return
  end
  local millis = now[1] * 1000 + math.floor(now[2] / 1000)
  local at = string.format('%.0f', millis + ttl)
  for place = 1, 3 do redis.call('PEXPIREAT', KEYS[place], at) end
  redis.call('ZADD', KEYS[7], at, member)
  local before = '(' .. string.format('%.0f', millis)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', before, 'LIMIT', 0, 2)) do
    redis.call('ZREM', KEYS[6], gone)
    redis.call('ZREM', KEYS[7], gone)
  end
end
"""

APPEND: Final = _script(
    _NOW,
    _BEGIN,
    _EXPIRE,
    # ARGV: 1 id, 2 key or token, 3 digest of the messages, 4 whether it is a caller's key ('1'),
    # 5 milliseconds to live or '0', 6... messages as "length of role, space, role, content".
    # Returns 1 stored, 0 was stored before, -1 the key was used for other messages.
    """
local created = redis.call('HGET', KEYS[1], 'created')
if created then
  for place = 3, 5 do
    local seen = redis.call('HGET', KEYS[place], ARGV[2])
    if seen then
      if seen ~= ARGV[3] then return -1 end
      -- The key of an append whose outcome was unknown, now used by the caller: kept like theirs.
      if ARGV[4] == '1' and place > 3 then redis.call('HSET', KEYS[3], ARGV[2], seen) end
      return 0
    end
  end
else
  begin(ARGV[1])
  created = stamp
end
""",
    f"""
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
else
  local period = math.floor(now[1] / {TOKEN_PERIOD})
  local tokens = KEYS[4 + period % 2]
  redis.call('HSET', tokens, ARGV[2], ARGV[3])
  if redis.call('HLEN', tokens) == 1 then
    -- A second early, so that it is gone when its turn comes again.
    redis.call('EXPIREAT', tokens, (period + 2) * {TOKEN_PERIOD} - 1)
  end
end
""",
    """
local count
for place = 6, #ARGV do
  count = redis.call('RPUSH', KEYS[2], stamp .. ' ' .. ARGV[place])
end
redis.call('HSET', KEYS[1], 'created', created, 'updated', stamp, 'count', count)
expire(created .. ARGV[1], ARGV[5])
return 1
""",
)

CREATE: Final = _script(
    _NOW,
    _BEGIN,
    _EXPIRE,
    # ARGV: 1 id, 2 metadata as JSON, or '' for none, 3 milliseconds to live or '0'.
    """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
begin(ARGV[1])
redis.call('HSET', KEYS[1], 'created', stamp, 'updated', stamp, 'count', '0')
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'metadata', ARGV[2]) end
expire(stamp .. ARGV[1], ARGV[3])
return 1
""",
)

DELETE: Final = _script(
    # ARGV: 1 id, 2 the created it was found with, so that a repeat after a lost reply leaves alone
    # what somebody has created in between.
    """
if redis.call('HGET', KEYS[1], 'created') ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[6], ARGV[2] .. ARGV[1])
redis.call('ZREM', KEYS[7], ARGV[2] .. ARGV[1])
-- Frees the memory of a long list in another thread.
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return 1
""",
)

TITLE: Final = _script(
    _NOW,
    # KEYS: meta. ARGV: title.
    """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'title', ARGV[1], 'updated', stamp)
return 1
""",
)

ROWS: Final = _script(
    # KEYS: 1 index, 2 expiry, 3... meta. ARGV: the member of each. Returns the fields of each, or nil
    # for a conversation that expired, was evicted or was created anew since; it leaves the index.
    # pcall: where nothing can be written (a full disk, a replica) reading must still work.
    """
local rows = {}
for place = 1, #ARGV do
  local member = ARGV[place]
  local row = redis.call('HMGET', KEYS[place + 2], 'created', 'updated', 'count', 'title', 'metadata')
  if row[1] == string.sub(member, 1, 16) then
    rows[place] = row
  else
    redis.pcall('ZREM', KEYS[1], member)
    redis.pcall('ZREM', KEYS[2], member)
    rows[place] = false
  end
end
return rows
""",
)
