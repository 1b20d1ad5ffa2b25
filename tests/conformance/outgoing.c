/* Octets on their way to the peer; see outgoing.h. */
#include "outgoing.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void outgoing_end_frame(struct outgoing *o, size_t chop_bytes, bool sync)
{
    bool spaced = chop_bytes > 0 || sync;
    size_t end = o->octets.bytes;

    if (!spaced && o->span_count > 0 && !o->spans[o->span_count - 1].spaced) {
        o->spans[o->span_count - 1].end = end;
        return;
    }
    o->spans = memory_resize(o->spans, o->span_count + 1, sizeof *o->spans);
    o->spans[o->span_count++] = (struct span){
        .end = end,
        .piece_bytes = chop_bytes > 0 ? chop_bytes : SIZE_MAX,
        .spaced = spaced,
    };
}

bool outgoing_is_empty(const struct outgoing *o)
{
    return o->span_now == o->span_count;
}

static void forget_all(struct outgoing *o)
{
    o->octets.bytes = o->written = 0;
    o->span_count = o->span_now = 0;
    o->not_before_ns = 0;
}

/* One write of the span that is being sent; false when the socket took less than all of it. */
static bool write_piece(struct outgoing *o, int fd)
{
    const struct span *span = &o->spans[o->span_now];
    size_t left = span->end - o->written;
    size_t piece = left < span->piece_bytes ? left : span->piece_bytes;
    ssize_t n = send(fd, o->octets.data + o->written, piece, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        o->broken = true;
        return true;
    }
    if (n > 0)
        o->written += (size_t)n;
    if (o->written == span->end)
        o->span_now++;
    return n == (ssize_t)piece;
}

bool outgoing_write(struct outgoing *o, int fd, uint64_t now_ns)
{
    bool took_all = true;

    while (took_all && !o->broken && !outgoing_is_empty(o) && now_ns >= o->not_before_ns) {
        bool spaced = o->spans[o->span_now].spaced;
        bool is_first = o->written == 0 && o->spans[0].piece_bytes == 1;

        took_all = write_piece(o, fd);
        o->not_before_ns = is_first ? now_ns + FIRST_SPACING_NS : spaced ? now_ns + SPACING_NS : 0;
    }
    if (o->broken || outgoing_is_empty(o))
        forget_all(o);
    return took_all;
}

void outgoing_fini(struct outgoing *o)
{
    octets_fini(&o->octets);
    free(o->spans);
    *o = (struct outgoing){0};
}
