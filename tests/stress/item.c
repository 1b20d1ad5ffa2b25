/* What a message holds; see item.h. */
#include "item.h"

#include <string.h>

#include "chance.h"

#define BROADCAST_BYTES_MAX 4096u

size_t item_bytes(uint64_t seed, size_t bytes_max, unsigned sender, uint64_t number)
{
    static const uint8_t edges[] = {0, 1, 15, 125, 126, 127};
    uint64_t hash = chance_mix(seed ^ (uint64_t)sender << 56 ^ number);
    size_t least = sender == ECHO || sender == CLIENT ? 0 : sizeof(struct item);
    unsigned dice = (unsigned)(hash % 128);
    size_t bytes = sizeof(struct item);

    if (bytes_max <= sizeof(struct item))
        return bytes;
    if (sender == ALL || sender == SOME)
        bytes_max = bytes_max < BROADCAST_BYTES_MAX ? bytes_max : BROADCAST_BYTES_MAX;
    hash >>= 8;
    if (dice >= 126)
        bytes = hash % (bytes_max + 1);
    else if (dice >= 100)
        bytes = hash % 1024;
    else if (dice >= 88)
        bytes = edges[hash % sizeof edges];
    if (bytes > bytes_max)
        bytes = bytes_max;
    return bytes < least ? least : bytes;
}

static uint8_t filling(unsigned sender, uint64_t number)
{
    return (uint8_t)(number * 31 + sender + 1);
}

static struct item make_item(unsigned sender, uint64_t number)
{
    return (struct item){sender, (uint32_t)(number * 2654435761u) ^ sender, number};
}

void item_write(uint8_t *p, size_t bytes, unsigned sender, uint64_t number)
{
    struct item i = make_item(sender, number);
    size_t head = bytes < sizeof i ? 0 : sizeof i;

    memcpy(p, &i, head);
    if (bytes > head)
        memset(p + head, filling(sender, number), bytes - head);
}

unsigned item_sender(const uint8_t *p, size_t bytes, uint64_t *number)
{
    struct item i, want;

    if (bytes < sizeof i)
        return ECHO;
    memcpy(&i, p, sizeof i);
    want = make_item(i.sender, i.number);
    *number = i.number;
    return i.check == want.check && i.sender < KINDS ? i.sender : KINDS;
}

bool item_is(const uint8_t *p, size_t bytes, unsigned sender, uint64_t number)
{
    struct item want = make_item(sender, number);
    size_t head = bytes < sizeof want ? 0 : sizeof want;

    if (head && memcmp(p, &want, head) != 0)
        return false;
    p += head;
    bytes -= head;
    return bytes == 0 || (p[0] == filling(sender, number) && memcmp(p, p + 1, bytes - 1) == 0);
}
