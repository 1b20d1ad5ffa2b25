/* The thread that writes histories into their file, so that the bus's own never waits for a disk.
 *
 * The bus gives it writes, in order; it takes all there are, writes them in one transaction (4096 at most),
 * and gives them back behind the COMMIT, in the same order. While it waits for the disk the next ones gather:
 * the slower the disk, the larger the transactions.
 *
 * W1  One mutex, one condition: whoever gives or takes a list does it under the lock. Between bus_writer_put
 *     and bus_writer_take a write, and what it points to, is the writer's; before and behind, the bus's. The
 *     store is the writer's from bus_writer_open until bus_writer_end has returned.
 * W2  Writes come back in the order in which they were given, each exactly once.
 * W3  Behind the first that could not be written none is, until a STORE_TEST is: what is in the file has no
 *     hole in it. Those come back with is_written false.
 * W4  The writer does not wait for the bus, and bounds nothing: what was given and not taken is the bus's to
 *     count. It counts in its queued_bytes, so a disk that is too slow makes weft_bus_publish answer
 *     WEFT_E_AGAIN (or drop, by full_policy). */
#ifndef WEFT_API_BUS_WRITER_H
#define WEFT_API_BUS_WRITER_H

#include <stdbool.h>

#include "api/bus_store.h"

#define WRITER_PROBLEM_BYTES 160

struct bus_write {
    struct store_write what;
    struct bus_write *next; /* the list's that it is in */
    bool is_written;        /* set by the writer */
};

struct bus_writes {
    struct bus_write *first, *last; /* last: with first only */
};

void bus_writes_append(struct bus_writes *list, struct bus_write *w);

struct bus_writer;

/* The store is borrowed. WEFT_OK, WEFT_E_NOMEM, WEFT_E_SYSTEM. */
int bus_writer_open(struct bus_writer **out, struct store *s);
/* Give all of the list, which is empty behind it. Never waits for the disk. */
void bus_writer_put(struct bus_writer *w, struct bus_writes *list);
/* Readable when there is something to take. */
int bus_writer_fd(const struct bus_writer *w);
/* What came back, the oldest first, linked by next; NULL: nothing. */
struct bus_write *bus_writer_take(struct bus_writer *w);
/* Why the last one was not written; a sentence. */
void bus_writer_problem(struct bus_writer *w, char out[WRITER_PROBLEM_BYTES]);
/* The transaction under way is the last one; what was given and is not in it comes back not written. Then the
 * thread has ended. True: it wrote everything that it was given. */
bool bus_writer_end(struct bus_writer *w);
/* Behind the last take; ends the thread where that was not done, when opening the bus failed. NULL is allowed. */
void bus_writer_free(struct bus_writer *w);

#endif
