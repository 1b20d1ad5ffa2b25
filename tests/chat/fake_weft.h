/* Stands in for the library under the chat: one thread, and everything that was sent can be looked at.
 *
 * A test makes connections, calls the chat's callbacks with them as the server would, and takes what each was
 * sent. */
#ifndef WEFT_TESTS_FAKE_WEFT_H
#define WEFT_TESTS_FAKE_WEFT_H

#include <weft/weft.h>

#include <stdbool.h>
#include <stddef.h>

weft_conn *fake_conn_new(void);
/* Frees it with what it has not been asked for; it leaves its groups first. */
void fake_conn_free(weft_conn *c);

/* The oldest message sent and not taken yet, as a string; NULL when there is none. Valid until the next take.
 */
const char *fake_take(weft_conn *c);
size_t fake_waiting(const weft_conn *c);

/* The outbox is above its high-water mark: weft_conn_try_send answers WEFT_E_AGAIN. */
void fake_stuff(weft_conn *c, bool is_full);
/* The code it was closed with, 0 while it is open. */
unsigned fake_close_code(const weft_conn *c);

/* The n-th allocation of the library from now on fails (1 is the next); 0: none. */
void fake_fail_at(unsigned n);

/* Messages and groups that are not freed yet. */
int fake_alive(void);

/* A request; an upgrade or not. */
weft_request *fake_request_new(const char *method, const char *path, bool is_upgrade);
/* Another peer than 127.0.0.1:4711; header: the name of one that comes along, or NULL. */
void fake_request_from(weft_request *r, const char *peer, const char *header);
void fake_request_free(weft_request *r);
unsigned fake_status(const weft_request *r); /* 101 for accepted, 0 for not decided */
const char *fake_body(const weft_request *r);
const char *fake_response_header(const weft_request *r, const char *name); /* NULL: none */

#endif
