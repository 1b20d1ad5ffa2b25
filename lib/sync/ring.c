/* The ready queue; invariants and orders are in ring.h. */
#include "sync/ring.h"

#include "base/mem.h"
#include "base/order.h"
#include "weft/error.h"

int ring_init(struct ring *r, size_t count)
{
    size_t size = 2;

    while (size < count)
        size *= 2;
    r->cells = mem_alloc(size * sizeof *r->cells);
    if (!r->cells)
        return WEFT_E_NOMEM;
    r->mask = size - 1;
    for (size_t i = 0; i < size; i++)
        atomic_init(&r->cells[i].sequence, i);
    atomic_init(&r->tail, 0);
    atomic_init(&r->head, 0);
    return WEFT_OK;
}

void ring_fini(struct ring *r)
{
    mem_free(r->cells);
    r->cells = NULL;
}

bool ring_put(struct ring *r, void *element)
{
    /* Relaxed: a position is only a guess until the compare-and-swap. */
    size_t position = atomic_load_explicit(&r->tail, memory_order_relaxed);

    for (;;) {
        struct ring_cell *cell = &r->cells[position & r->mask];
        size_t sequence = atomic_load_explicit(&cell->sequence, ORDER(RING_FREE, memory_order_acquire));

        if (sequence == position) {
            /* seq_cst for PARK_LOOK: the producer next looks whether a worker is parked. */
            if (atomic_compare_exchange_weak_explicit(&r->tail, &position, position + 1, memory_order_seq_cst,
                                                      memory_order_relaxed)) {
                cell->element = element;
                atomic_store_explicit(&cell->sequence, position + 1, ORDER(RING_PUT, memory_order_release));
                return true;
            }
        } else if ((ptrdiff_t)(sequence - position) < 0) {
            return false;
        } else {
            position = atomic_load_explicit(&r->tail, memory_order_relaxed);
        }
    }
}

void *ring_get(struct ring *r)
{
    size_t position = atomic_load_explicit(&r->head, memory_order_relaxed);

    for (;;) {
        struct ring_cell *cell = &r->cells[position & r->mask];
        size_t sequence = atomic_load_explicit(&cell->sequence, ORDER(RING_PUT, memory_order_acquire));

        if (sequence == position + 1) {
            if (atomic_compare_exchange_weak_explicit(&r->head, &position, position + 1, memory_order_relaxed,
                                                      memory_order_relaxed)) {
                void *element = cell->element;
                atomic_store_explicit(&cell->sequence, position + r->mask + 1,
                                      ORDER(RING_FREE, memory_order_release));
                return element;
            }
        } else if ((ptrdiff_t)(sequence - (position + 1)) < 0) {
            return NULL;
        } else {
            position = atomic_load_explicit(&r->head, memory_order_relaxed);
        }
    }
}

size_t ring_count(struct ring *r)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

    return (ptrdiff_t)(tail - head) > 0 ? tail - head : 0;
}

bool ring_is_empty(struct ring *r)
{
    /* Head before tail: a tail that is read later can only be larger, so "empty" is never said too early. */
    size_t head = atomic_load_explicit(&r->head, memory_order_seq_cst);
    return atomic_load_explicit(&r->tail, memory_order_seq_cst) == head;
}
