/* permessage-deflate on a connection; see compress.h for K1 to K6. */
#include "core/compress.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "core/conn.h"
#include "core/io_thread.h"

struct compress {
    pthread_mutex_t out_lock, in_lock;
    struct squeeze_conn conn; /* its out under out_lock; its in under in_lock, or the mailbox's */
    _Atomic int fault;        /* K5 */
};

/* Constant from OPEN on. */
static struct compress *compress_of(const struct weft_conn *c)
{
    return conn_more(c)->compress;
}

static struct compress *make(struct weft_conn *c)
{
    struct conn_more *more = conn_make_more(c);

    if (!more || more->compress)
        return more ? more->compress : NULL;
    more->compress = mem_calloc(1, sizeof *more->compress);
    if (!more->compress)
        return NULL;
    pthread_mutex_init(&more->compress->out_lock, NULL);
    pthread_mutex_init(&more->compress->in_lock, NULL);
    return more->compress;
}

int compress_agree(struct weft_conn *c, const struct deflate_params *params)
{
    struct compress *z = make(c);

    if (!z)
        return WEFT_E_NOMEM;
    squeeze_conn_init(&z->conn, c->home->endpoint->squeeze, params);
    return WEFT_OK;
}

void compress_free(struct compress *z)
{
    if (!z)
        return;
    squeeze_conn_fini(&z->conn);
    pthread_mutex_destroy(&z->out_lock);
    pthread_mutex_destroy(&z->in_lock);
    mem_free(z);
}

void compress_forget(struct weft_conn *c)
{
    struct compress *z = compress_of(c);

    pthread_mutex_lock(&z->in_lock);
    pthread_mutex_lock(&z->out_lock);
    squeeze_conn_fini(&z->conn);
    pthread_mutex_unlock(&z->out_lock);
    pthread_mutex_unlock(&z->in_lock);
}

/* --- sending --- */

bool compress_wants(const struct weft_conn *c, const weft_msg *m)
{
    return squeeze_wants(&compress_of(c)->conn, m);
}

struct squeeze_conn *compress_begin_out(struct weft_conn *c) THR_ATTR(no_thread_safety_analysis)
{
    struct compress *z = compress_of(c);

    pthread_mutex_lock(&z->out_lock);
    return stack_is_closed(&c->outbox) ? NULL : &z->conn;
}

void compress_end_out(struct weft_conn *c) THR_ATTR(no_thread_safety_analysis)
{
    pthread_mutex_unlock(&compress_of(c)->out_lock);
}

/* --- receiving --- */

void compress_begin_in(struct weft_conn *c) THR_ATTR(no_thread_safety_analysis)
{
    pthread_mutex_lock(&compress_of(c)->in_lock);
}

void compress_end_in(struct weft_conn *c) THR_ATTR(no_thread_safety_analysis)
{
    pthread_mutex_unlock(&compress_of(c)->in_lock);
}

weft_msg *compress_take(struct weft_conn *c, weft_msg *m)
{
    struct compress *z = compress_of(c);
    weft_msg *inflated = NULL;
    int rc;

    /* Relaxed: who takes the next message is ordered behind who took the last (K4). */
    rc = atomic_load_explicit(&z->fault, memory_order_relaxed);
    if (rc == WEFT_OK && !m->is_compressed)
        return m;
    if (rc == WEFT_OK) {
        rc = squeeze_in(&z->conn, m, (size_t)c->home->settings->opts.message_bytes_max, &inflated);
        if (rc != WEFT_OK) {
            /* Relaxed: the link to the dirty list carries it over. */
            atomic_store_explicit(&z->fault, rc, memory_order_relaxed);
            conn_demand(c, CONN_DEMAND_FAIL);
            io_thread_link_dirty(c->home->io, c);
        }
    }
    weft_msg_unref(m);
    return rc == WEFT_OK ? inflated : NULL;
}

int compress_fault(struct weft_conn *c, uint16_t *code, const char **reason)
{
    int rc = atomic_load_explicit(&compress_of(c)->fault, memory_order_relaxed);

    *code = inflater_close_code(rc, reason);
    return rc;
}
