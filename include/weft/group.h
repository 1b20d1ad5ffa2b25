/* A register of connections, and the broadcast to all of them.
 *
 * Members leave by themselves when they close. A broadcast is a snapshot: it reaches all that were members
 * when it was made, never waits for a slow one, and encodes the message once. Broadcasts and sends share
 * each member's outbox: what one thread broadcasts and then sends arrives in that order. */
#ifndef WEFT_GROUP_H
#define WEFT_GROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "weft/conn.h"
#include "weft/error.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_group weft_group;

/* A group without members; one reference.
 *
 * Returns  WEFT_OK, WEFT_E_NOMEM
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_group_new(weft_group **out);

/* One more reference, returns g; and one given back (NULL is allowed). A group lives on while it has members:
 * the last reference and the last member end it. Thread: any. Since: 0.1 */
WEFT_API weft_group *weft_group_ref(weft_group *g);
WEFT_API void weft_group_unref(weft_group *g);

/* Enter a connection, or take it out.
 *
 * Returns  add: WEFT_OK (also when it is a member already), WEFT_E_CLOSED, WEFT_E_NOMEM
 *          remove: WEFT_OK, also when it was none
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_group_add(weft_group *g, weft_conn *c);
WEFT_API int weft_group_remove(weft_group *g, weft_conn *c);

/* Members now. Thread: any. Since: 0.1 */
WEFT_API size_t weft_group_count(weft_group *g);

/* Call visit for each that is a member now, with no lock held: it may send, add, remove and close.
 *
 * visit    gets each connection borrowed; false ends the walk
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_group_each(weft_group *g, bool (*visit)(weft_conn *c, void *arg), void *arg);

/* Queue one message for all members.
 *
 * m        given on WEFT_OK; on failure it stays with the caller
 * except   borrowed: a member that gets none, NULL for nobody
 * Returns  WEFT_OK        queued for all that were open; a member above its bound is treated by its slow-reader policy
 *          WEFT_E_NOMEM   nothing was queued for anybody
 * Thread   any; never blocks
 * Since    0.1 */
WEFT_API int weft_group_broadcast(weft_group *g, weft_msg *m, weft_conn *except);

#ifdef __cplusplus
}
#endif

#endif
