/* Tasks: several loops over one connection at once, each on a thread of its own.
 *
 *     static int handler(weft_conn *c, void *app)      // weft_server_opts.handler, or a client's
 *     {
 *         return weft_conn_race(c, app, consumer, producer);
 *     }
 *
 * A task may block, in weft calls or elsewhere. Canceling a task ends the weft call it is blocked in, and
 * every later one that would block, with WEFT_E_CANCELED; nothing is received or sent by a call that says so.
 * It does not stop the program's own code: a task that computes for long asks weft_task_is_canceled now and
 * then. */
#ifndef WEFT_TASK_H
#define WEFT_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/conn.h"
#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a handler and a task are: they return WEFT_OK, or why they ended. c and app are borrowed for the call.
 * */
typedef int weft_task(weft_conn *c, void *app);

/* Run tasks at once; the first to end cancels the others.
 *
 * c, app   handed to each task
 * tasks    borrowed; count of them, 1 to 64
 * Returns  what the first one to end returned, once all of them have ended
 *          WEFT_E_CANCELED  the caller is itself a task, and was canceled: so were these, or none ran
 *          WEFT_E_NOMEM, WEFT_E_AGAIN (no thread can be had), WEFT_E_INVAL, WEFT_E_STATE (on an I/O thread):
 *          none ran
 * Thread   any that may block; a task may race tasks of its own
 * Since    0.1 */
WEFT_API int weft_conn_race_n(weft_conn *c, void *app, weft_task *const *tasks, size_t count);

/* Run tasks at once and wait for all of them. As weft_conn_race_n, but nobody is canceled.
 *
 * Returns  WEFT_OK when all did, else the result of the first in the list that did not */
WEFT_API int weft_conn_gather_n(weft_conn *c, void *app, weft_task *const *tasks, size_t count);

/* The same with the tasks as arguments: weft_conn_race(c, app, consumer, producer) */
#define weft_conn_race(c, app, ...)                                                                          \
    weft_conn_race_n((c), (app), (weft_task *const[]){__VA_ARGS__},                                          \
                     sizeof((weft_task *const[]){__VA_ARGS__}) / sizeof(weft_task *))
#define weft_conn_gather(c, app, ...)                                                                        \
    weft_conn_gather_n((c), (app), (weft_task *const[]){__VA_ARGS__},                                        \
                       sizeof((weft_task *const[]){__VA_ARGS__}) / sizeof(weft_task *))

/* Wait while the connection is open.
 *
 * Returns  WEFT_OK          the time is up
 *          WEFT_E_CLOSED    the connection closed meanwhile
 *          WEFT_E_CANCELED, WEFT_E_NOMEM, WEFT_E_STATE (on an I/O thread)
 * Thread   any that may block
 * Since    0.1 */
WEFT_API int weft_conn_sleep(weft_conn *c, uint32_t ms);

/* Has the calling task been canceled? False on a thread that is no task. Since: 0.1 */
WEFT_API bool weft_task_is_canceled(void);

#ifdef __cplusplus
}
#endif

#endif
