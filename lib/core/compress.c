/* permessage-deflate on a connection; see compress.h for K1 to K6. */
#include "core/compress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/straight.h"

/* Of a piece: at least, so that it is worth a message, and at most. */
#define PIECE_BYTES_MIN 4096u
#define PIECE_BYTES_MAX (64u * 1024u)
/* So many times its length is text, at first sight. */
#define USUAL_RATIO 4u

/* K7 */
struct inflating {
    weft_msg *part; /* NULL: none */
    uint32_t used;  /* of it */
    struct utf8_state utf8; /* of the message */
};

struct compress {
    pthread_mutex_t out_lock, in_lock;
    struct squeeze_conn conn; /* its out under out_lock; its in under in_lock, or the mailbox's */
    struct inflating inflating; /* under in_lock */
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

static void drop_part(struct compress *z)
{
    if (z->inflating.part)
        weft_msg_unref(z->inflating.part);
    z->inflating.part = NULL;
}

void compress_free(struct compress *z)
{
    if (!z)
        return;
    drop_part(z);
    squeeze_conn_fini(&z->conn);
    pthread_mutex_destroy(&z->out_lock);
    pthread_mutex_destroy(&z->in_lock);
    mem_free(z);
}

void compress_forget_out(struct weft_conn *c)
{
    struct compress *z = compress_of(c);

    pthread_mutex_lock(&z->out_lock);
    squeeze_conn_fini_out(&z->conn);
    pthread_mutex_unlock(&z->out_lock);
}

void compress_forget_in(struct weft_conn *c)
{
    drop_part(compress_of(c));
    squeeze_conn_fini_in(&compress_of(c)->conn);
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

void compress_fail(struct weft_conn *c, int error)
{
    struct compress *z = compress_of(c);

    drop_part(z);
    /* Relaxed: the link to the dirty list carries it over. */
    atomic_store_explicit(&z->fault, error, memory_order_relaxed);
    conn_demand(c, CONN_DEMAND_FAIL);
    io_thread_link_dirty(c->home->io, c);
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
        if (rc != WEFT_OK)
            compress_fail(c, rc);
    }
    weft_msg_unref(m);
    return rc == WEFT_OK ? inflated : NULL;
}

/* --- receiving in parts --- */

void compress_give_part(struct weft_conn *c, weft_msg *part)
{
    struct compress *z = compress_of(c);

    /* Relaxed: as in compress_take. */
    if (atomic_load_explicit(&z->fault, memory_order_relaxed) != WEFT_OK) {
        weft_msg_unref(part);
        return;
    }
    z->inflating.part = part;
    z->inflating.used = 0;
}

bool compress_has_part(const struct weft_conn *c)
{
    return compress_of(c)->inflating.part != NULL;
}

/* Inflate as much as there is room for in m. WEFT_OK, WEFT_E_AGAIN (the part is used up), or why it fails. */
static int inflate_piece(struct compress *z, weft_msg *m, size_t room, size_t *made, bool *is_end)
{
    struct inflating *i = &z->inflating;
    const weft_msg *part = i->part;
    size_t used;
    enum inflater_result result =
        squeeze_in_some(&z->conn, part->payload + i->used, part->bytes - i->used, part->link.kind & PART_LAST, &used,
                        m->payload, room, made);

    i->used += (uint32_t)used;
    *is_end = result == INFLATER_END;
    if (result == INFLATER_BAD || result == INFLATER_NOMEM)
        return result == INFLATER_BAD ? WEFT_E_PROTOCOL : WEFT_E_NOMEM;
    if (m->type == WEFT_TEXT && !utf8_feed(&i->utf8, m->payload, *made))
        return WEFT_E_UTF8;
    if (*is_end && m->type == WEFT_TEXT && !utf8_is_complete(&i->utf8))
        return WEFT_E_UTF8;
    return result == INFLATER_FULL ? WEFT_OK : WEFT_E_AGAIN;
}

/* Not much larger than what is in it, for a program may keep it. NULL: no memory. */
static weft_msg *seal_piece(weft_msg *m, size_t bytes, size_t room, bool is_end)
{
    weft_msg *fitting = m;

    if (bytes < room / 2) {
        fitting = msg_alloc(m->type, bytes);
        if (fitting && bytes)
            memcpy(fitting->payload, m->payload, bytes);
        msg_free(m);
    }
    if (!fitting)
        return NULL;
    msg_seal(fitting, bytes);
    fitting->link.kind = (uint8_t)(PART_INFLATED | (is_end ? PART_LAST : 0));
    return fitting;
}

weft_msg *compress_next_piece(struct weft_conn *c)
{
    struct compress *z = compress_of(c);
    struct inflating *i = &z->inflating;
    size_t room, made = 0;
    bool is_end = false;
    weft_msg *m;
    int rc = WEFT_E_NOMEM;

    if (!i->part)
        return NULL;
    room = (size_t)(i->part->bytes - i->used) * USUAL_RATIO;
    room = room < PIECE_BYTES_MIN ? PIECE_BYTES_MIN : room > PIECE_BYTES_MAX ? PIECE_BYTES_MAX : room;
    m = msg_alloc(i->part->type, room);
    if (m)
        rc = inflate_piece(z, m, room, &made, &is_end);
    if (rc == WEFT_E_AGAIN)
        drop_part(z);
    if ((rc == WEFT_OK || rc == WEFT_E_AGAIN) && (made || is_end)) {
        m = seal_piece(m, made, room, is_end);
        rc = m ? WEFT_OK : WEFT_E_NOMEM;
    } else if (m) {
        msg_free(m);
        m = NULL;
    }
    if (is_end)
        i->utf8 = (struct utf8_state){0};
    if (rc != WEFT_OK && rc != WEFT_E_AGAIN)
        compress_fail(c, rc);
    return m;
}

int compress_fault(struct weft_conn *c, uint16_t *code, const char **reason)
{
    int rc = atomic_load_explicit(&compress_of(c)->fault, memory_order_relaxed);

    *code = inflater_close_code(rc, reason);
    return rc;
}
