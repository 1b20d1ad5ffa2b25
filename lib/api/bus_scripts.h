/* What runs inside Redis: each script is one atomic step there. Numbers beyond 2^53 are kept as text.
 *
 * Keys of a topic, all with the topic as hash tag: s: the stream, whose ids are OFFSET-0 (t time in ms, i who
 * published, d type and payload); m: epoch e, last offset o, the epoch before pe; p: presence, a sorted set
 * by expiry. d: of a process, in a cluster of a process and slot: the number of its last publish that was
 * taken. m outlives s, for offsets go on when all is forgotten: thirty times as long, but a day at most.
 *
 * In a cluster SPUBLISH reaches those of the topic; when somebody on this node says that there are patterns
 * (bus_channel.c), PUBLISH reaches them, wherever they are. */
#ifndef WEFT_API_BUS_SCRIPTS_H
#define WEFT_API_BUS_SCRIPTS_H

#define SCRIPT_HEAD                                                                                          \
    "local function text(n) return string.format('%.0f', n) end\n"                                           \
    "local clock = redis.call('TIME')\n"                                                                     \
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"

#define SCRIPT_TO_PATTERNS                                                                                   \
    "local function to_patterns(channel, data)\n"                                                            \
    "  if redis.call('PUBSUB', 'NUMPAT') > 0 then redis.call('PUBLISH', channel, data) end\n"                \
    "end\n"

/* Of a message without history, in a cluster. ARGV: channel, data. */
#define SCRIPT_PLAIN                                                                                         \
    SCRIPT_TO_PATTERNS "redis.call('SPUBLISH', ARGV[1], ARGV[2])\n"                                          \
                       "to_patterns(ARGV[1], ARGV[2])\n"                                                     \
                       "return 0\n"

/* KEYS: stream, meta, done. ARGV: 1 number, 2 the number before it that is on its way too or 0, 3 an epoch
 * in case that there is none, 4 messages kept, 5 ms kept or 0, 6 data, 7 channel, 8 PUBLISH or SPUBLISH, 9
 * publisher, 10 ms that numbers are kept.
 * What somebody else has written there may not fit: a key of another type, or an entry in the stream with an id
 * that was not its turn. Then an epoch begins with nothing else in it.
 * Returns 0: done; 1: it was done before; 2: the one before it was not done, so this is not either; 3: done, in
 * an epoch that had to begin. */
#define SCRIPT_PUBLISH                                                                                       \
    SCRIPT_HEAD SCRIPT_TO_PATTERNS                                                                           \
        "local function try(...)\n"                                                                          \
        "  local r = redis.pcall(...)\n"                                                                     \
        "  if type(r) ~= 'table' or not r.err then return r end\n"                                           \
        "  for i, damage in ipairs({'WRONGTYPE', 'not an integer', 'would overflow',\n"                      \
        "                           'ID specified', 'stream ID', 'last possible ID'}) do\n"                  \
        "    if string.find(r.err, damage, 1, true) then return nil end\n"                                   \
        "  end\n"                                                                                            \
        "  return redis.call(...)\n"                                                                         \
        "end\n"                                                                                              \
        "local last = tonumber(try('GET', KEYS[3]) or '0') or 0\n"                                           \
        "if last >= tonumber(ARGV[1]) then return 1 end\n"                                                   \
        "if ARGV[2] ~= '0' and last ~= tonumber(ARGV[2]) then return 2 end\n"                                \
        "local id = ARGV[9] .. ':' .. ARGV[1]\n"                                                             \
        "local function add(o)\n"                                                                            \
        "  return try('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], text(o) .. '-0',\n"                           \
        "             't', text(now), 'i', id, 'd', ARGV[6])\n"                                              \
        "end\n"                                                                                              \
        "local e, done = try('HGET', KEYS[2], 'e'), 0\n"                                                     \
        "local o = e and #e < 20 and string.find(e, '^[1-9]%d*$') and try('HINCRBY', KEYS[2], 'o', 1)\n"     \
        "if not (o and add(o)) then\n"                                                                       \
        "  if e ~= false then done = 3 end\n"                                                                \
        "  e, o = ARGV[3], 1\n"                                                                              \
        "  redis.call('DEL', KEYS[1], KEYS[2])\n"                                                            \
        "  redis.call('HSET', KEYS[2], 'e', e, 'o', o)\n"                                                    \
        "  add(o)\n"                                                                                         \
        "end\n"                                                                                              \
        "redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[10])\n"                                              \
        "if ARGV[5] ~= '0' then\n"                                                                           \
        "  redis.call('PEXPIRE', KEYS[1], ARGV[5])\n"                                                        \
        "  local age = tonumber(ARGV[5])\n"                                                                 \
        "  redis.call('PEXPIRE', KEYS[2], text(age + math.min(30 * age, 86400000)))\n"                       \
        "end\n"                                                                                              \
        "local data = 'w1;' .. e .. ';' .. text(o) .. ';' .. id .. ';' .. ARGV[6]\n"                         \
        "redis.call(ARGV[8], ARGV[7], data)\n"                                                               \
        "if ARGV[8] == 'SPUBLISH' then to_patterns(ARGV[7], data) end\n"                                     \
        "return done\n"

/* KEYS: stream, meta. ARGV: 1 and 2 the caller's epoch (or 0) and offset, 3 who published what stands
 * there, "" unknown; 4 give what is behind this offset, -1: nothing; 5 an epoch in case that a new one
 * begins; 6 so many entries at most; 7 none behind so many bytes of data. A new epoch begins when what the
 * caller has seen is not there any more: a replica that was behind took over. Then what follows is given from
 * where the two may have parted at the latest, `base`, with who published what stands there.
 * Returns epoch (0: none), offset, 1 (the caller's epoch went on as this one, from base) or 0, now, the
 * offset that 4 became, entries, who published what stands at base. */
#define SCRIPT_FILL                                                                                          \
    SCRIPT_HEAD                                                                                              \
    "local function who(offset)\n"                                                                           \
    "  local x = redis.call('XRANGE', KEYS[1], text(offset) .. '-0', text(offset) .. '-0')\n"                \
    "  return x[1] and x[1][2][4] or ''\n"                                                                   \
    "end\n"                                                                                                  \
    "local m = redis.call('HMGET', KEYS[2], 'e', 'o', 'pe', 'po')\n"                                         \
    "local e, o = m[1] or '0', tonumber(m[2] or '0')\n"                                                      \
    "local at, from, back, id = tonumber(ARGV[2]), tonumber(ARGV[4]), 0, ''\n"                               \
    "if ARGV[1] ~= '0' then\n"                                                                               \
    "  if e == ARGV[1] then\n"                                                                               \
    "    if o < at then\n"                                                                                   \
    "      back = 1\n"                                                                                       \
    "    elseif at > 0 and ARGV[3] ~= '' then\n"                                                             \
    "      local there = who(at)\n"                                                                          \
    "      if there ~= '' and there ~= ARGV[3] then back = 1 end\n"                                          \
    "    end\n"                                                                                              \
    "    if back == 1 then\n"                                                                                \
    "      from = math.min(at, o)\n"                                                                         \
    "      redis.call('HSET', KEYS[2], 'pe', e, 'po', text(from), 'e', ARGV[5])\n"                           \
    "      e = ARGV[5]\n"                                                                                    \
    "    end\n"                                                                                              \
    "  elseif m[3] == ARGV[1] then\n"                                                                        \
    "    back = 1\n"                                                                                         \
    "    from = math.min(at, tonumber(m[4]))\n"                                                              \
    "  else\n"                                                                                               \
    "    from = 0\n"                                                                                         \
    "  end\n"                                                                                                \
    "  if back == 1 then id = who(from) end\n"                                                               \
    "end\n"                                                                                                  \
    "local r = {}\n"                                                                                         \
    "local left, room, some, behind = tonumber(ARGV[6]), tonumber(ARGV[7]), 1, text(from) .. '-0'\n"         \
    "while from >= 0 and left > 0 and room > 0 do\n"                                                         \
    "  local page = redis.call('XRANGE', KEYS[1], '(' .. behind, '+', 'COUNT', some)\n"                      \
    "  for i, x in ipairs(page) do\n"                                                                        \
    "    if room <= 0 then break end\n"                                                                      \
    "    r[#r + 1] = x\n"                                                                                    \
    "    room = room - #(x[2][6] or '')\n"                                                                   \
    "  end\n"                                                                                                \
    "  if #page < some then break end\n"                                                                     \
    "  behind, left = page[#page][1], left - some\n"                                                         \
    "  some = math.min(some * 2, left)\n"                                                                    \
    "end\n"                                                                                                  \
    "return {e, text(o), back, text(now), text(from), r, id}\n"

/* KEYS: presence. ARGV: 1 ms until it expires, the rest: who. The key is kept for who stays longest: another
 * process may have a longer time. */
#define SCRIPT_JOIN                                                                                          \
    SCRIPT_HEAD "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))\n"                               \
                "for i = 2, #ARGV do redis.call('ZADD', KEYS[1], text(now + ARGV[1]), ARGV[i]) end\n"        \
                "if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then\n"                                  \
                "  redis.call('PEXPIRE', KEYS[1], ARGV[1])\n"                                                \
                "end\n"                                                                                      \
                "return 0\n"

/* KEYS: presence. Returns who is there. Nothing is written, so a replica answers too. */
#define SCRIPT_ASK SCRIPT_HEAD "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf')\n"

#endif
