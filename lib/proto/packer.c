/* Messages compressed by ISA-L; see packer.h. */
#include "proto/packer.h"

#include <isa-l/igzip_lib.h>
#include <string.h>

#include "base/mem.h"
#include "weft/error.h"

/* Of ISA-L's own, 1 to 3. Higher ones take longer for half a per cent. */
#define PACKER_LEVEL 1
/* At the end of a flush, and not sent. Source: RFC 7692 section 7.2.1 */
#define TAIL_BYTES 4

struct packer {
    struct isal_zstream stream;
    uint8_t level_buffer[ISAL_DEF_LVL1_SMALL];
};

bool packer_is_built(void)
{
    return true;
}

struct packer *packer_new(void)
{
    struct packer *p = mem_alloc(sizeof *p);

    if (p)
        isal_deflate_init(&p->stream);
    return p;
}

void packer_free(struct packer *p)
{
    mem_free(p);
}

size_t packer_bytes(const struct packer *p)
{
    return sizeof *p;
}

/* Neither the dictionary nor the message is written to; ISA-L has no const. False: it refuses. */
static bool begin(struct packer *p, unsigned window_bits, const struct window *before)
{
    struct isal_zstream *s = &p->stream;

    isal_deflate_reset(s);
    s->level = PACKER_LEVEL;
    s->level_buf = p->level_buffer;
    s->level_buf_size = sizeof p->level_buffer;
    s->hist_bits = (uint16_t)window_bits;
    s->flush = SYNC_FLUSH;
    return !before || !before->bytes || isal_deflate_set_dict(s, before->octets, before->bytes) == COMP_OK;
}

/* Returns how many bytes were made; 0: there was no room for all. */
static size_t compress(struct packer *p, const weft_msg *m, uint8_t *out, uint32_t room)
{
    static const uint8_t tail[TAIL_BYTES] = {0, 0, 0xff, 0xff};
    struct isal_zstream *s = &p->stream;
    size_t made;

    s->next_in = (uint8_t *)m->payload;
    s->avail_in = m->bytes;
    s->next_out = out;
    s->avail_out = room;
    if (isal_deflate(s) != COMP_OK || s->avail_in || !s->avail_out)
        return 0;
    made = room - s->avail_out;
    return made > TAIL_BYTES && memcmp(out + made - TAIL_BYTES, tail, TAIL_BYTES) == 0 ? made - TAIL_BYTES
                                                                                       : 0;
}

int packer_message(struct packer *p, unsigned window_bits, const struct window *before, const weft_msg *m,
                   weft_msg **out)
{
    uint8_t *bytes = mem_block_alloc(m->bytes + TAIL_BYTES);
    size_t made = 0;

    if (bytes && begin(p, window_bits, before))
        made = compress(p, m, bytes, m->bytes + TAIL_BYTES);
    *out = made ? msg_alloc(m->type, made) : NULL;
    if (*out) {
        memcpy((*out)->payload, bytes, made);
        (*out)->is_compressed = 1;
        msg_seal(*out, made);
    }
    if (bytes)
        mem_block_free(bytes);
    return bytes && (*out || !made) ? WEFT_OK : WEFT_E_NOMEM;
}
