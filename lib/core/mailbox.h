/* Running a connection: its events and messages, in order, on the thread that holds the worker role for it.
 * */
#ifndef WEFT_CORE_MAILBOX_H
#define WEFT_CORE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "weft/stats.h"

struct weft_conn;

/* What a thread that runs mailboxes counts: only it writes, others read relaxed. */
struct run_stats {
    _Atomic uint64_t longest_handler_ns;
    _Atomic uint64_t closed;
    _Atomic uint64_t handover_us[WEFT_HANDOVER_BUCKETS];
};

/* Run what is there, within the budget of messages and time.
 *
 * now_ns   in: the time at the start of the run; out: at its end
 * Returns  true: more is left, the caller puts the connection on the ready queue again. False: the caller
 * must not touch
 *          it any more */
bool mailbox_run(struct weft_conn *c, struct run_stats *stats, uint64_t *now_ns) ON_WORKER;

/* conn.h, C7: so many were handled; and few are left: reading may go on. Any thread that handles messages. */
void mailbox_count_handled(struct weft_conn *c, uint32_t messages, uint32_t bytes);
void mailbox_resume_reading(struct weft_conn *c);

#endif
