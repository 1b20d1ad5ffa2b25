/* A bounded queue for many producers and many consumers: the ready queue between I/O threads and workers.
 *
 * Each cell has a sequence number that says whose turn it is (the scheme of D. Vyukov's bounded MPMC
 * queue): for position p the cell p % size may be written when its sequence is p, and read when it is p +
 * 1; reading sets it to p + size for the next round.
 *
 * I1  A producer owns a cell from its compare-and-swap on `tail` to its store of the sequence; a consumer
 *     likewise with `head`.
 * I2  Elements leave in the order in which their positions were taken.
 * I3  put fails when size elements are in it, and while a consumer that has taken the cell's last element
 *     has not yet freed the cell. get may answer "empty" while a producer is between its two steps: that
 *     producer wakes a worker afterwards.
 *
 *   operation | on        | order                                         label
 *   put       | sequence  | load acquire (the cell was emptied)           RING_FREE
 *             | tail      | compare-and-swap seq_cst: the store before PARK_LOOK; the sequence carries the data
 *             | sequence  | store release                                 RING_PUT
 *   get       | sequence  | load acquire                                  RING_PUT
 *             | head      | compare-and-swap relaxed
 *             | sequence  | store release                                 RING_FREE
 *   is_empty  | tail,head | seq_cst: the last look before parking, see park.h (PARK_LOOK)
 *
 * Hand-over: a producer gives the element to the one consumer whose get returns it. */
#ifndef WEFT_SYNC_RING_H
#define WEFT_SYNC_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thr.h"

struct ring_cell {
    _Atomic size_t sequence;
    void *element;
};

struct ring {
    struct ring_cell *cells; /* (c) */
    size_t mask;             /* (c) */
    _Alignas(THR_CACHE_LINE) _Atomic size_t tail;
    _Alignas(THR_CACHE_LINE) _Atomic size_t head;
};

/* Room for at least count elements. WEFT_OK or WEFT_E_NOMEM. */
int ring_init(struct ring *r, size_t count);
void ring_fini(struct ring *r);

bool ring_put(struct ring *r, void *element); /* any thread; false: full */
void *ring_get(struct ring *r);               /* any thread; NULL: empty */
size_t ring_count(struct ring *r);            /* any thread; a figure that may be old */
bool ring_is_empty(struct ring *r);           /* any thread; see PARK_LOOK */

#endif
