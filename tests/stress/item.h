/* What a message of the stress holds, and how long it is: both follow from who sent it and its number, so
 * the receiver knows every byte that is due.
 *
 * From 16 bytes on a message says who sent it; shorter ones come only from the two that need not say it:
 * the client, and of the server's senders the echo.
 * */
#ifndef STRESS_ITEM_H
#define STRESS_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Senders: 0 to SENDERS_MAX - 1 are threads of the program. */
#define SENDERS_MAX 16
enum { ECHO = SENDERS_MAX, ALL, SOME, KINDS, CLIENT = KINDS }; /* ALL, SOME: broadcasts to the two groups */

#define ITEM_BYTES_MAX 65536

struct item {
    uint32_t sender, check;
    uint64_t number;
};

/* bytes_max: of the shape; broadcasts are shorter. */
size_t item_bytes(uint64_t seed, size_t bytes_max, unsigned sender, uint64_t number);
void item_write(uint8_t *p, size_t bytes, unsigned sender, uint64_t number);
/* Who sent it; KINDS when nobody did. number is set for messages that say it.
 * */
unsigned item_sender(const uint8_t *p, size_t bytes, uint64_t *number);
/* Is it, to the last byte, that message? */
bool item_is(const uint8_t *p, size_t bytes, unsigned sender, uint64_t number);

#endif
