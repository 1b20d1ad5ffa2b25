/* Messages; see base/msg.h for what holds of them and weft/msg.h for the public side. */
#include "base/msg.h"

#include <string.h>

#include "base/mem.h"
#include "base/order.h"

_Static_assert(sizeof(weft_msg) == 48, "a message of 64 bytes and its block fill two cache lines");

weft_msg *msg_alloc(unsigned type, size_t bytes)
{
    weft_msg *m;

    if (bytes > MSG_BYTES_MAX)
        return NULL;
    m = mem_block_alloc(sizeof *m + bytes);
    if (!m)
        return NULL;
    m->link.msg = m;
    m->link.home = MSG_LINK_IN_MSG;
    atomic_init(&m->refs, 1);
    m->type = type & 15;
    m->is_compressed = 0;
    m->is_plain = 0;
    m->header_bytes = 0;
    return m;
}

weft_msg *msg_grow(weft_msg *m, size_t used, size_t bytes)
{
    weft_msg *bigger;

    if (bytes > MSG_BYTES_MAX)
        return NULL;
    bigger = mem_block_grow(m, sizeof *m + used, sizeof *m + bytes);
    if (bigger)
        bigger->link.msg = bigger;
    return bigger;
}

/* FIN, RSV1 and the opcode, no mask. Source: RFC 6455 section 5.2, RFC 7692 section 6 */
void msg_seal(weft_msg *m, size_t bytes)
{
    uint8_t *end = m->header + MSG_HEADER_ROOM;

    m->bytes = (uint32_t)bytes;
    if (bytes <= 125) {
        m->header_bytes = 2;
        end[-1] = (uint8_t)bytes;
    } else if (bytes <= 0xffff) {
        m->header_bytes = 4;
        end[-3] = 126;
        end[-2] = (uint8_t)(bytes >> 8);
        end[-1] = (uint8_t)bytes;
    } else {
        m->header_bytes = 10;
        end[-9] = 127;
        for (int i = 1; i <= 8; i++)
            end[-i] = (uint8_t)((uint64_t)bytes >> 8 * (i - 1));
    }
    end[-m->header_bytes] = (uint8_t)(0x80 | m->is_compressed << 6 | m->type);
}

void msg_free(weft_msg *m)
{
    mem_block_free(m);
}

int weft_msg_new_raw(weft_msg **out, enum weft_msg_type type, size_t bytes, void **payload)
{
    weft_msg *m;

    if (!out || !payload || (type != WEFT_TEXT && type != WEFT_BINARY) || bytes > MSG_BYTES_MAX)
        return WEFT_E_INVAL;
    m = msg_alloc(type, bytes);
    if (!m)
        return WEFT_E_NOMEM;
    msg_seal(m, bytes);
    *payload = m->payload;
    *out = m;
    return WEFT_OK;
}

int weft_msg_new(weft_msg **out, enum weft_msg_type type, const void *data, size_t bytes)
{
    void *payload;
    int rc;

    if (!data && bytes)
        return WEFT_E_INVAL;
    rc = weft_msg_new_raw(out, type, bytes, &payload);
    if (rc == WEFT_OK && bytes)
        memcpy(payload, data, bytes);
    return rc;
}

weft_msg *weft_msg_ref(weft_msg *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void weft_msg_unref(weft_msg *m)
{
    if (!m)
        return;
    /* A sole holder needs no read-modify-write: nobody is there to race with (acquire: MSG_LAST). */
    if (atomic_load_explicit(&m->refs, ORDER(MSG_LAST, memory_order_acquire)) == 1 ||
        atomic_fetch_sub_explicit(&m->refs, 1, ORDER(MSG_LAST, memory_order_acq_rel)) == 1)
        msg_free(m);
}

void weft_msg_set_plain(weft_msg *m)
{
    m->is_plain = 1;
}

const void *weft_msg_data(const weft_msg *m)
{
    return m->payload;
}
size_t weft_msg_bytes(const weft_msg *m)
{
    return m->bytes;
}
enum weft_msg_type weft_msg_type(const weft_msg *m)
{
    return (enum weft_msg_type)m->type;
}
