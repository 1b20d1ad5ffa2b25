/* Contexts on shelves; see squeeze.h for the invariants I1 to I4.
 *
 * A shelf is a mutex and a few pointers. Threads are numbered as they come and use the shelf of their number,
 * so that a lock is rarely met by two, and what a thread takes is what is still in its cache. */
#include "core/squeeze.h"

#include <string.h>

#include "base/mem.h"

void squeeze_init(struct squeeze *s, const struct squeeze_opts *opts)
{
    memset(s, 0, sizeof *s);
    s->opts = *opts;
    if (!s->opts.bytes_max)
        s->opts.bytes_max = SQUEEZE_BYTES_MAX;
    if (!s->opts.bytes_min)
        s->opts.bytes_min = SQUEEZE_BYTES_MIN;
    if (!s->opts.mem_level)
        s->opts.mem_level = DEFLATE_MEM_LEVEL_DEFAULT;
    atomic_init(&s->bytes, 0);
    for (unsigned i = 0; i < SQUEEZE_SHELVES; i++)
        pthread_mutex_init(&s->shelves[i].lock, NULL);
}

struct squeeze *squeeze_new(const struct squeeze_opts *opts)
{
    struct squeeze *s = mem_aligned_calloc(_Alignof(struct squeeze), sizeof *s);

    if (s)
        squeeze_init(s, opts);
    return s;
}

void squeeze_free(struct squeeze *s)
{
    if (!s)
        return;
    squeeze_fini(s);
    mem_free(s);
}

bool squeeze_is_as(const struct squeeze *s, const struct squeeze_opts *opts)
{
    return s->opts.bytes_max == opts->bytes_max && s->opts.bytes_min == opts->bytes_min &&
           s->opts.level == opts->level && s->opts.mem_level == opts->mem_level;
}

/* --- the budget --- */

size_t squeeze_bytes(const struct squeeze *s)
{
    /* Relaxed, here and in count: a sum that nobody reads anything through. */
    int64_t bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);

    return bytes > 0 ? (size_t)bytes : 0;
}

bool squeeze_is_short(const struct squeeze *s)
{
    return squeeze_bytes(s) >= s->opts.bytes_max;
}

static void count(struct squeeze *s, int64_t step)
{
    if (step)
        atomic_fetch_add_explicit(&s->bytes, step, memory_order_relaxed);
}

/* --- shelves --- */

static struct squeeze_shelf *shelf_here(struct squeeze *s)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned number; /* 0: none yet */

    /* Relaxed: numbers need only differ, mostly. */
    if (!number)
        number = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % SQUEEZE_SHELVES;
    return &s->shelves[number - 1];
}

/* NULL: there is none. */
static void *take(struct squeeze_shelf *shelf, struct squeeze_pile *pile)
{
    void *context = NULL;

    pthread_mutex_lock(&shelf->lock);
    if (pile->count)
        context = pile->kept[--pile->count];
    pthread_mutex_unlock(&shelf->lock);
    return context;
}

/* False: there is no place for it. */
static bool put(struct squeeze *s, struct squeeze_shelf *shelf, struct squeeze_pile *pile, void *context)
{
    bool has_place;

    if (squeeze_is_short(s))
        return false;
    pthread_mutex_lock(&shelf->lock);
    has_place = pile->count < SQUEEZE_SHELF_KEEP;
    if (has_place)
        pile->kept[pile->count++] = context;
    pthread_mutex_unlock(&shelf->lock);
    return has_place;
}

/* Relaxed: sums, and nearly always of one thread. */
static void count_bytes(struct squeeze_count *count, bool is_end, size_t from_bytes, size_t to_bytes)
{
    if (is_end)
        atomic_fetch_add_explicit(&count->messages, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&count->from_bytes, from_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&count->to_bytes, to_bytes, memory_order_relaxed);
}

void squeeze_add_stats(const struct squeeze *s, weft_stats *out)
{
    for (unsigned i = 0; i < SQUEEZE_SHELVES; i++) {
        const struct squeeze_count *packed = &s->shelves[i].packed, *inflated = &s->shelves[i].inflated;
        out->compressed += atomic_load_explicit(&packed->messages, memory_order_relaxed);
        out->compressed_from_bytes += atomic_load_explicit(&packed->from_bytes, memory_order_relaxed);
        out->compressed_to_bytes += atomic_load_explicit(&packed->to_bytes, memory_order_relaxed);
        out->inflated += atomic_load_explicit(&inflated->messages, memory_order_relaxed);
        out->inflated_from_bytes += atomic_load_explicit(&inflated->from_bytes, memory_order_relaxed);
        out->inflated_to_bytes += atomic_load_explicit(&inflated->to_bytes, memory_order_relaxed);
    }
    out->compression_bytes = squeeze_bytes(s);
}

static unsigned pile_of(unsigned window_bits)
{
    return window_bits < DEFLATE_WINDOW_BITS_MIN ? 0 : window_bits - DEFLATE_WINDOW_BITS_MIN;
}

/* Fresh; NULL: no memory. */
static struct deflater *take_deflater(struct squeeze *s, unsigned window_bits, unsigned usual_level)
{
    unsigned level = s->opts.level ? s->opts.level : usual_level;
    struct squeeze_shelf *shelf = shelf_here(s);
    struct deflater *d = take(shelf, &shelf->out[pile_of(window_bits)]);

    if (d) {
        deflater_reset(d);
        deflater_set_level(d, level);
        return d;
    }
    d = deflater_new(window_bits, level, s->opts.mem_level);
    if (d)
        count(s, (int64_t)deflater_bytes(d));
    return d;
}

static void drop_deflater(struct squeeze *s, struct deflater *d)
{
    count(s, -(int64_t)deflater_bytes(d));
    deflater_free(d);
}

static void put_deflater(struct squeeze *s, struct deflater *d)
{
    struct squeeze_shelf *shelf;

    if (!d)
        return;
    shelf = shelf_here(s);
    if (!put(s, shelf, &shelf->out[pile_of(deflater_window_bits(d))], d))
        drop_deflater(s, d);
}

static struct packer *take_packer(struct squeeze *s)
{
    struct squeeze_shelf *shelf = shelf_here(s);
    struct packer *p = take(shelf, &shelf->alone);

    if (p)
        return p;
    p = packer_new();
    if (p)
        count(s, (int64_t)packer_bytes(p));
    return p;
}

static void drop_packer(struct squeeze *s, struct packer *p)
{
    count(s, -(int64_t)packer_bytes(p));
    packer_free(p);
}

static void put_packer(struct squeeze *s, struct packer *p)
{
    struct squeeze_shelf *shelf = shelf_here(s);

    if (p && !put(s, shelf, &shelf->alone, p))
        drop_packer(s, p);
}

static struct inflater *take_inflater(struct squeeze *s, unsigned window_bits)
{
    struct squeeze_shelf *shelf = shelf_here(s);
    struct inflater *z = take(shelf, &shelf->in[pile_of(window_bits)]);

    if (z) {
        inflater_reset(z, window_bits);
        return z;
    }
    z = inflater_new(window_bits);
    if (z)
        count(s, (int64_t)inflater_bytes(z));
    return z;
}

static void drop_inflater(struct squeeze *s, struct inflater *z)
{
    count(s, -(int64_t)inflater_bytes(z));
    inflater_free(z);
}

static void put_inflater(struct squeeze *s, struct inflater *z)
{
    struct squeeze_shelf *shelf;

    if (!z)
        return;
    shelf = shelf_here(s);
    if (!put(s, shelf, &shelf->in[pile_of(inflater_window_bits(z))], z))
        drop_inflater(s, z);
}

static void empty_shelf(struct squeeze *s, struct squeeze_shelf *shelf)
{
    while (shelf->alone.count)
        drop_packer(s, shelf->alone.kept[--shelf->alone.count]);
    for (unsigned w = 0; w < SQUEEZE_WINDOWS; w++) {
        while (shelf->out[w].count)
            drop_deflater(s, shelf->out[w].kept[--shelf->out[w].count]);
        while (shelf->in[w].count)
            drop_inflater(s, shelf->in[w].kept[--shelf->in[w].count]);
    }
}

void squeeze_fini(struct squeeze *s)
{
    for (unsigned i = 0; i < SQUEEZE_SHELVES; i++) {
        empty_shelf(s, &s->shelves[i]);
        pthread_mutex_destroy(&s->shelves[i].lock);
    }
}

/* --- a connection --- */

void squeeze_conn_init(struct squeeze_conn *c, struct squeeze *s, const struct deflate_params *params)
{
    *c = (struct squeeze_conn){.shared = s, .params = *params};
}

/* False: no memory. */
static bool make_window(struct squeeze *s, struct window *w, unsigned bits)
{
    if (!window_init(w, bits))
        return false;
    count(s, w->room);
    return true;
}

/* One without memory, too, for which s may be NULL. */
static void drop_window(struct squeeze *s, struct window *w)
{
    count(s, -(int64_t)w->room);
    window_fini(w);
}

void squeeze_conn_fini_out(struct squeeze_conn *c)
{
    put_deflater(c->shared, c->out);
    c->out = NULL;
    drop_window(c->shared, &c->sent);
}

void squeeze_conn_fini_in(struct squeeze_conn *c)
{
    put_inflater(c->shared, c->in);
    drop_window(c->shared, &c->received);
    c->in = NULL;
    c->in_message = false;
}

void squeeze_conn_fini(struct squeeze_conn *c)
{
    squeeze_conn_fini_out(c);
    squeeze_conn_fini_in(c);
}

static bool is_worth_it(const struct squeeze *s, const weft_msg *m)
{
    return m->bytes >= s->opts.bytes_min && !m->is_plain && !m->is_compressed &&
           (m->type == WEFT_TEXT || m->type == WEFT_BINARY);
}

bool squeeze_wants(const struct squeeze_conn *c, const weft_msg *m)
{
    return c->params.out_window_bits && is_worth_it(c->shared, m);
}

/* A packer has one level. */
static bool is_packers(const struct squeeze *s)
{
    return packer_is_built() && !s->opts.level;
}

/* before: NULL, or what m may refer to. NULL: m goes plain. */
static weft_msg *pack(struct squeeze *s, unsigned window_bits, const struct window *before, const weft_msg *m)
{
    struct packer *p = take_packer(s);
    weft_msg *packed = NULL;

    if (p && packer_message(p, window_bits, before, m, &packed) != WEFT_OK)
        packed = NULL;
    put_packer(s, p);
    return packed;
}

static weft_msg *deflate_alone(struct squeeze *s, unsigned window_bits, const weft_msg *m)
{
    struct deflater *d = take_deflater(s, window_bits, DEFLATE_LEVEL_ALONE);
    weft_msg *packed = NULL;

    if (d && deflater_message(d, m, false, &packed) != WEFT_OK)
        packed = NULL;
    put_deflater(s, d);
    return packed;
}

/* NULL: m goes plain. */
static weft_msg *compress_alone(struct squeeze *s, unsigned window_bits, const weft_msg *m)
{
    return is_packers(s) ? pack(s, window_bits, NULL, m) : deflate_alone(s, window_bits, m);
}

/* Does c remember what it has sent, or will it from now on? It does not where it may not, nor without memory. */
static bool remembers(struct squeeze_conn *c)
{
    unsigned bits = c->params.out_window_bits;

    if (c->out || c->sent.octets)
        return true;
    if (!c->params.out_takeover || squeeze_is_short(c->shared))
        return false;
    if (is_packers(c->shared) && bits <= SQUEEZE_PACKED_WINDOW_BITS)
        return make_window(c->shared, &c->sent, bits);
    c->out = take_deflater(c->shared, bits, DEFLATE_LEVEL_TAKEOVER);
    return c->out;
}

/* NULL: m goes plain, and the peer's window stays as it is. */
static weft_msg *compress_next(struct squeeze_conn *c, const weft_msg *m)
{
    weft_msg *packed = NULL;

    if (c->out)
        return deflater_message(c->out, m, true, &packed) == WEFT_OK ? packed : NULL;
    packed = pack(c->shared, c->params.out_window_bits, &c->sent, m);
    if (packed)
        window_put(&c->sent, m->payload, m->bytes);
    return packed;
}

static void count_packed(struct squeeze *s, const weft_msg *m, const weft_msg *packed)
{
    if (packed)
        count_bytes(&shelf_here(s)->packed, true, m->bytes, packed->bytes);
}

weft_msg *squeeze_out(struct squeeze_conn *c, weft_msg *m)
{
    weft_msg *packed;

    if (!squeeze_wants(c, m))
        return m;
    packed = remembers(c) ? compress_next(c, m) : compress_alone(c->shared, c->params.out_window_bits, m);
    count_packed(c->shared, m, packed);
    return packed ? packed : m;
}

/* Keep what the next message may refer to: the window only, if it is small and there is memory for it. */
static void keep(struct squeeze_conn *c, struct inflater *z)
{
    unsigned bits = inflater_window_bits(z);

    if (c->received.octets ||
        (bits <= SQUEEZE_SAVED_WINDOW_BITS && make_window(c->shared, &c->received, bits))) {
        inflater_save(z, &c->received);
        put_inflater(c->shared, z);
    } else {
        c->in = z;
    }
}

static int inflate_next(struct squeeze_conn *c, struct inflater *z, const weft_msg *m, size_t bytes_max,
                        weft_msg **out)
{
    size_t before = inflater_bytes(z);
    int rc = c->received.bytes ? inflater_restore(z, &c->received) : WEFT_OK;

    if (rc == WEFT_OK)
        rc = inflater_message(z, m, bytes_max, out);
    count(c->shared, (int64_t)inflater_bytes(z) - (int64_t)before);
    return rc;
}

int squeeze_in(struct squeeze_conn *c, const weft_msg *m, size_t bytes_max, weft_msg **out)
{
    struct inflater *z = c->in ? c->in : take_inflater(c->shared, c->params.in_window_bits);
    int rc;

    if (!z)
        return WEFT_E_NOMEM;
    c->in = NULL;
    rc = inflate_next(c, z, m, bytes_max, out);
    if (rc == WEFT_OK)
        count_bytes(&shelf_here(c->shared)->inflated, true, m->bytes, (*out)->bytes);
    if (c->params.in_takeover && rc == WEFT_OK)
        keep(c, z);
    else
        put_inflater(c->shared, z);
    return rc;
}

static void end_message(struct squeeze_conn *c)
{
    struct inflater *z = c->in;

    c->in = NULL;
    c->in_message = false;
    if (c->params.in_takeover)
        keep(c, z);
    else
        put_inflater(c->shared, z);
}

enum inflater_result squeeze_in_some(struct squeeze_conn *c, const uint8_t *in, size_t n, bool is_last,
                                     size_t *used, uint8_t *out, size_t room, size_t *made)
{
    bool is_first = !c->in_message;
    enum inflater_result result = INFLATER_NOMEM;
    size_t before;

    *used = *made = 0;
    if (!c->in)
        c->in = take_inflater(c->shared, c->params.in_window_bits);
    if (!c->in)
        return result;
    c->in_message = true;
    before = inflater_bytes(c->in);
    if (!is_first || !c->received.bytes || inflater_restore(c->in, &c->received) == WEFT_OK)
        result = inflater_feed(c->in, in, n, is_last, used, out, room, made);
    count(c->shared, (int64_t)inflater_bytes(c->in) - (int64_t)before);
    count_bytes(&shelf_here(c->shared)->inflated, result == INFLATER_END, *used, *made);
    if (result == INFLATER_END)
        end_message(c);
    return result;
}

/* --- broadcasts --- */

void squeeze_fan_init(struct squeeze_fan *f, struct squeeze *s, weft_msg *plain)
{
    *f = (struct squeeze_fan){.shared = s, .plain = plain};
}

void squeeze_fan_fini(struct squeeze_fan *f)
{
    for (unsigned w = 0; w < SQUEEZE_WINDOWS; w++)
        if (f->packed[w] && f->packed[w] != f->plain)
            weft_msg_unref(f->packed[w]);
}

static void forget_sent(struct squeeze_conn *c)
{
    window_forget(&c->sent);
    if (c->out)
        deflater_reset(c->out);
}

weft_msg *squeeze_fan_out(struct squeeze_fan *f, struct squeeze_conn *c)
{
    weft_msg **packed;

    if (!c || !squeeze_wants(c, f->plain))
        return f->plain;
    packed = &f->packed[pile_of(c->params.out_window_bits)];
    if (!*packed) {
        *packed = compress_alone(f->shared, c->params.out_window_bits, f->plain);
        count_packed(f->shared, f->plain, *packed);
    }
    if (!*packed)
        *packed = f->plain;
    if (*packed != f->plain)
        forget_sent(c);
    return *packed;
}
