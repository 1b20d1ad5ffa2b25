/* What is wrong with what came back, and the accounts of order that tell it.
 *
 * Messages of one sender are expected in order. One that is ahead leaves gaps; a late one that fills a
 * gap was overtaken (ERROR_ORDER). What no late one ever fills is lost, which is only known at the end:
 * whoever counts what is outstanding counts it. The gaps of a loader are kept in one list, which is empty
 * as long as all goes well; beyond ORDER_GAPS_MAX a late message counts as one that came twice. */
#ifndef WEFT_BENCH_ORDER_H
#define WEFT_BENCH_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bench_error {
    ERROR_CONTENT,  /* not what was sent */
    ERROR_ORDER,    /* overtaken, or came twice */
    ERROR_LOST,     /* never came */
    ERROR_PROTOCOL, /* what the server sent breaks RFC 6455 */
    ERROR_CONNECT,  /* could not be opened */
    ERROR_DROPPED,  /* a connection ended before its time */
    ERRORS
};

/* As they stand in the JSON. */
extern const char *const error_names[ERRORS];

#define ORDER_GAPS_MAX 4096

struct order_gap {
    uint32_t at;   /* which receiver */
    uint32_t from; /* which sender */
    uint32_t sequence;
};

struct order { /* all zero: no gaps */
    struct order_gap *gaps;
    size_t gap_count, gap_room;
};

void order_fini(struct order *o);

/* Take an arrival into account.
 *
 * at, from   receiver and sender
 * expected   of this pair: the next sequence; advanced
 * sent       how many this sender has sent
 * sequence   in: what the message says; out: which message it counts as
 * is_good    false when its content is wrong: then it stands for the expected one
 * errors     counted here
 * Returns    true when it is an answer that was outstanding */
bool order_take(struct order *o, uint32_t at, uint32_t from, uint32_t *expected, uint32_t sent,
                uint32_t *sequence, bool is_good, uint64_t errors[ERRORS]);

#endif
