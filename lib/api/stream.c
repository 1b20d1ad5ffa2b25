/* Messages in parts: argument checks over core/stream.h and core/straight.h. */
#include "weft/stream.h"

#include "base/msg.h"
#include "core/straight.h"
#include "core/stream.h"

int weft_conn_recv(weft_conn *c, weft_msg **out, uint32_t timeout_ms)
{
    return c && out ? straight_recv(c, out, NULL, timeout_ms) : WEFT_E_INVAL;
}

int weft_conn_recv_part(weft_conn *c, weft_msg **out, bool *is_last, uint32_t timeout_ms)
{
    return c && out && is_last ? straight_recv(c, out, is_last, timeout_ms) : WEFT_E_INVAL;
}

int weft_conn_send_begin(weft_conn *c, enum weft_msg_type type)
{
    if (!c || (type != WEFT_TEXT && type != WEFT_BINARY))
        return WEFT_E_INVAL;
    return stream_begin(c, type);
}

int weft_conn_send_part(weft_conn *c, const void *data, size_t bytes)
{
    if (!c || (!data && bytes) || bytes > MSG_BYTES_MAX)
        return WEFT_E_INVAL;
    return stream_send(c, data, bytes);
}

int weft_conn_send_end(weft_conn *c)
{
    return c ? stream_end(c) : WEFT_E_INVAL;
}
