/* The slots of a Redis Cluster; see bus_slots.h. */
#include "api/bus_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_NONE UINT32_MAX

/* Bit by bit: 40 bytes are some hundred nanoseconds, once for a message. */
uint16_t slots_crc16(const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    uint16_t crc = 0;

    for (size_t i = 0; i < count; i++) {
        crc ^= (uint16_t)(p[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    return crc;
}

uint16_t slots_of_key(const char *key, size_t bytes)
{
    const char *open = memchr(key, '{', bytes);
    const char *close = open ? memchr(open + 1, '}', bytes - (size_t)(open + 1 - key)) : NULL;

    if (close && close > open + 1)
        return slots_crc16(open + 1, (size_t)(close - open) - 1) % SLOTS;
    return slots_crc16(key, bytes) % SLOTS;
}

/* Some 160,000 numbers until the last slot has one: a few ten milliseconds, once for a bus in a cluster. */
void slots_make_tags(uint32_t *tags)
{
    uint32_t left = SLOTS;
    char digits[16];

    for (uint32_t i = 0; i < SLOTS; i++)
        tags[i] = TAG_NONE;
    for (uint32_t n = 0; left; n++) {
        int bytes = snprintf(digits, sizeof digits, "%u", n);
        uint16_t slot = slots_crc16(digits, (size_t)bytes) % SLOTS;

        if (tags[slot] != TAG_NONE)
            continue;
        tags[slot] = n;
        left--;
    }
}

/* SLOT HOST:PORT */
static enum slots_refusal read_place(struct slots_reply *out, const char *p, enum slots_refusal what)
{
    char *end;
    unsigned long slot = strtoul(p, &end, 10), port;
    const char *host = end + 1, *colon = strrchr(end, ':');
    size_t bytes;

    if (end == p || *end != ' ' || !colon || slot >= SLOTS)
        return REFUSED_FOR_GOOD;
    bytes = (size_t)(colon - host);
    port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || port == 0 || port > UINT16_MAX || bytes > SLOT_HOST_BYTES_MAX)
        return REFUSED_FOR_GOOD;
    memcpy(out->host, host, bytes);
    out->host[bytes] = '\0';
    out->slot = (uint16_t)slot;
    out->port = (uint16_t)port;
    return what;
}

void slots_read_error(struct slots_reply *out, const char *error)
{
    static const struct {
        const char *begin;
        enum slots_refusal what;
    } known[] = {
        {"OOM", REFUSED_FOR_NOW},
        {"BUSY", REFUSED_FOR_NOW},
        {"MISCONF", REFUSED_FOR_NOW},
        {"NOREPLICAS", REFUSED_FOR_NOW},
        {"TRYAGAIN", REFUSED_WHILE_MOVING},
        {"READONLY", REFUSED_HERE},
        {"LOADING", REFUSED_HERE},
        {"MASTERDOWN", REFUSED_HERE},
        {"NOSCRIPT", REFUSED_HERE},
        {"NOAUTH", REFUSED_HERE},
        {"UNBLOCKED", REFUSED_HERE},
        {"CLUSTERDOWN", REFUSED_BY_CLUSTER},
        {"ERR Script attempted to access a non local key", REFUSED_ELSEWHERE},
        {"MOVED ", REFUSED_MOVED},
        {"ASK ", REFUSED_ASK},
    };

    *out = (struct slots_reply){.what = REFUSED_FOR_GOOD};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(error, known[i].begin, strlen(known[i].begin)) == 0)
            out->what = known[i].what;
    if (out->what == REFUSED_MOVED || out->what == REFUSED_ASK)
        out->what = read_place(out, strchr(error, ' ') + 1, out->what);
}

bool slots_means_no_cluster(const char *error)
{
    static const char *const begins[] = {"ERR This instance has cluster support disabled",
                                         "ERR unknown command", "ERR unknown subcommand",
                                         "ERR Unknown subcommand", "NOPERM"};
    bool does = false;

    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++)
        does |= strncmp(error, begins[i], strlen(begins[i])) == 0;
    return does;
}
