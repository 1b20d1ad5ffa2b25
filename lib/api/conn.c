/* weft_conn: argument checks over core/conn.h. */
#include "weft/conn.h"

#include <string.h>

#include "base/order.h"
#include "core/conn.h"

weft_conn *weft_conn_ref(weft_conn *c)
{
    conn_ref(c);
    return c;
}

void weft_conn_unref(weft_conn *c)
{
    if (c)
        conn_unref(c);
}

int weft_conn_send(weft_conn *c, weft_msg *m)
{
    return c && m ? outbox_send(c, m, OUTBOX_WAIT) : WEFT_E_INVAL;
}

int weft_conn_try_send(weft_conn *c, weft_msg *m)
{
    return c && m ? outbox_send(c, m, OUTBOX_TRY) : WEFT_E_INVAL;
}

int weft_conn_send_text(weft_conn *c, const char *text)
{
    weft_msg *m;
    int rc;

    if (!c || !text)
        return WEFT_E_INVAL;
    rc = weft_msg_new(&m, WEFT_TEXT, text, strlen(text));
    if (rc != WEFT_OK)
        return rc;
    rc = weft_conn_send(c, m);
    if (rc != WEFT_OK)
        weft_msg_unref(m);
    return rc;
}

int weft_conn_ping(weft_conn *c, const void *data, size_t bytes)
{
    if (!c || bytes > FRAME_CONTROL_BYTES_MAX || (!data && bytes))
        return WEFT_E_INVAL;
    return outbox_ping(c, data, bytes);
}

int weft_conn_close(weft_conn *c, uint16_t code, const char *reason)
{
    return c ? outbox_close(c, code, reason) : WEFT_E_INVAL;
}

void weft_conn_abort(weft_conn *c)
{
    if (c)
        conn_abort(c);
}

int weft_conn_close_info(const weft_conn *c, weft_close_info *out)
{
    if (!c || !out)
        return WEFT_E_INVAL;
    if (!atomic_load_explicit(&c->is_closed, ORDER(CLOSE_INFO, memory_order_acquire)))
        return WEFT_E_STATE;
    conn_tell_end(c, out);
    return WEFT_OK;
}

uint64_t weft_conn_id(const weft_conn *c)
{
    return c->id;
}

size_t weft_conn_outbox_bytes(const weft_conn *c)
{
    return (size_t)atomic_load_explicit(&c->outbox_bytes, memory_order_relaxed);
}

uint64_t weft_conn_dropped(const weft_conn *c)
{
    return atomic_load_explicit(&c->dropped, memory_order_relaxed);
}

const char *weft_conn_subprotocol(const weft_conn *c)
{
    const struct conn_more *more = conn_more(c);

    return more && more->subprotocol ? more->subprotocol : "";
}

const char *weft_conn_peer(const weft_conn *c, char *out, size_t room)
{
    sock_name_peer(&c->peer, out, room);
    return out;
}

void weft_conn_set_data(weft_conn *c, void *data)
{
    atomic_store_explicit(&c->data, data, ORDER(CONN_DATA, memory_order_release));
}

/* CONN_DATA: a thread that finds the pointer may also read what it points to. */
void *weft_conn_data(const weft_conn *c)
{
    return atomic_load_explicit(&c->data, ORDER(CONN_DATA, memory_order_acquire));
}
