/* deflate: the closed loop of echo with permessage-deflate, over weft's own client instead of this
 * program's frames.
 *
 * Each loader has a server without sockets, whose only thread runs its connections and their callbacks; the
 * loader itself waits. So the generator compresses and inflates too: it costs more than the other modes,
 * and what counts is the server's CPU time (--pid) and the sizes, not the speed. Messages are JSON of the
 * asked-for length, a function of (connection, sequence): the same keys, other values. Each answer is made
 * once more and compared.
 *
 * What a callback writes is read when its thread has ended, but for the counts that the loader waits on. */
#include "loader.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "weft/weft.h"

#define STOP_MS 5000
#define LOOK_NS 1000000u

struct talk {
    struct flow *flow;
    weft_conn *conn;
    char *text; /* what is under way */
    uint64_t sent_ns;
    uint32_t number, sent, received;
    bool is_over;
};

struct flow {
    struct loader *loader;
    weft_server *server;
    struct talk *talks;
    _Atomic uint32_t phase;       /* enum phase */
    _Atomic uint64_t outstanding; /* the loader sets it up, then the callbacks */
    _Atomic uint64_t heard_ns;    /* when the last answer came; 0: none did */
    clockid_t cpu_clock;          /* of the thread of the callbacks; before has_clock is released */
    _Atomic bool has_clock;
};

static enum phase phase_of(struct flow *f)
{
    return (enum phase)atomic_load_explicit(&f->phase,
                                            memory_order_relaxed); /* a moment late is early enough */
}

/* --- messages --- */

static uint32_t pick(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

static char *put_text(char *out, const char *text)
{
    size_t n = strlen(text);

    memcpy(out, text, n);
    return out + n;
}

/* printf would take as long as compressing does. */
static char *put_number(char *out, uint32_t value)
{
    char digits[10];
    size_t n = 0;

    do {
        digits[n++] = (char)('0' + value % 10);
    } while (value /= 10);
    while (n)
        *out++ = digits[--n];
    return out;
}

static size_t write_line(char *out, uint32_t *seed)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave", "erin", "frank"};
    static const char *const words[] = {"warp", "weft", "thread", "loom",   "shuttle",
                                        "the",  "a",    "holds",  "crosses"};
    char *end = put_number(put_text(out, "{\"id\":"), pick(seed, 1000000));

    end = put_text(put_text(end, ",\"from\":\""), names[pick(seed, 6)]);
    end = put_number(put_text(end, "\",\"at\":"), 1700000000u + pick(seed, 100000000));
    end = put_text(end, ",\"text\":\"");
    for (int i = 0; i < 4; i++)
        end = put_text(put_text(end, i ? " " : ""), words[pick(seed, 9)]);
    return (size_t)(put_text(end, "\"},") - out);
}

/* Exactly so many bytes, of which the last line may be cut. */
static void write_text(char *out, size_t bytes, uint32_t number, uint32_t sequence)
{
    uint32_t seed = number * 0x9e3779b1u ^ sequence * 0x85ebca6bu;
    char piece[160];
    char *end = put_number(put_text(piece, "{\"room\":"), number);
    size_t at = 0, n;

    end = put_text(put_number(put_text(end, ",\"n\":"), sequence), ",\"lines\":[");
    n = (size_t)(end - piece);
    while (at < bytes) {
        n = n < bytes - at ? n : bytes - at;
        memcpy(out + at, piece, n);
        at += n;
        n = write_line(piece, &seed);
    }
}

/* --- a conversation --- */

static void went_wrong(struct talk *t, enum bench_error error, const char *why)
{
    struct loader *l = t->flow->loader;

    l->tally.errors[error]++;
    if (l->explained++ < LOADER_EXPLAINED_MAX)
        fprintf(stderr, "weft-bench: connection %u: %s\n", t->number, why);
}

static void one_less(struct talk *t)
{
    /* LAST: what came before is seen by the loader that finds nothing under way. */
    atomic_fetch_sub_explicit(&t->flow->outstanding, 1, memory_order_release);
}

static bool send_next(struct talk *t)
{
    const struct options *o = t->flow->loader->run->options;
    weft_msg *m;

    if (phase_of(t->flow) > PHASE_MEASURE || t->sent == o->messages)
        return false;
    write_text(t->text, o->bytes, t->number, t->sent);
    if (weft_msg_new(&m, WEFT_TEXT, t->text, o->bytes) != WEFT_OK)
        return false;
    t->sent_ns = clock_now_ns();
    t->sent++; /* the answer may be here before the call is back */
    if (weft_conn_send(t->conn, m) == WEFT_OK)
        return true;
    t->sent--;
    weft_msg_unref(m);
    return false;
}

static void on_open(weft_conn *c, void *app)
{
    struct flow *f = app;

    (void)c;
    if (atomic_load_explicit(&f->has_clock, memory_order_relaxed)) /* this thread wrote it */
        return;
    if (pthread_getcpuclockid(pthread_self(), &f->cpu_clock) != 0)
        f->cpu_clock = CLOCK_PROCESS_CPUTIME_ID;
    atomic_store_explicit(&f->has_clock, true, memory_order_release);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct talk *t = weft_conn_data(c);
    struct flow *f = app;
    struct loader *l = f->loader;
    size_t bytes = l->run->options->bytes;
    uint64_t now_ns = clock_now_ns();

    if (t->received == t->sent)
        went_wrong(t, ERROR_ORDER, "an answer to nothing");
    else if (weft_msg_type(m) != WEFT_TEXT || weft_msg_bytes(m) != bytes ||
             memcmp(weft_msg_data(m), t->text, bytes) != 0)
        went_wrong(t, ERROR_CONTENT, "the answer is not what was sent");
    weft_msg_unref(m);
    t->received++;
    if (phase_of(f) == PHASE_MEASURE) {
        l->tally.messages++;
        histogram_add(&l->tally.latency, now_ns - t->sent_ns);
    }
    /* What the loader looks at meanwhile; no other thread writes them. */
    atomic_store_explicit(&f->heard_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&l->shown_answered, ++l->answered, memory_order_relaxed);
    if (!send_next(t))
        one_less(t);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct talk *t = weft_conn_data(c);

    (void)app;
    (void)info;
    if (!t || phase_of(t->flow) == PHASE_CLOSE)
        return;
    went_wrong(t, ERROR_DROPPED, "the connection ended");
    t->is_over = true;
    if (t->sent != t->received) {
        t->flow->loader->tally.errors[ERROR_LOST]++;
        one_less(t);
    }
}

/* --- the life of a loader --- */

static const weft_compression *compression_of(const struct options *o)
{
    static const weft_compression kept, none = {.no_takeover = true, .peer_no_takeover = true};

    return o->no_takeover ? &none : &kept;
}

static const char *start_server(struct flow *f)
{
    weft_server_opts opts = {.size = sizeof opts,
                             .inline_handlers = true,
                             .io_threads = 1,
                             .ping_interval_ms = UINT32_MAX,
                             .compression = *compression_of(f->loader->run->options)};

    if (weft_server_new(&f->server, &opts) != WEFT_OK)
        return "no memory";
    return weft_server_start(f->server) == WEFT_OK ? NULL : "no thread";
}

static void open_one(struct flow *f, struct talk *t)
{
    const struct options *o = f->loader->run->options;
    uint64_t from_ns = clock_now_ns();
    weft_failure *failure = NULL;
    weft_client_opts opts = {.size = sizeof opts,
                             .server = f->server,
                             .app = f,
                             .on_open = on_open,
                             .on_message = on_message,
                             .on_close = on_close,
                             .origin = o->origin,
                             .failure = &failure,
                             .ping_interval_ms = UINT32_MAX,
                             .message_bytes_max = o->bytes + 1,
                             .proxy = "",
                             .ca_file = o->ca_file,
                             .insecure = o->insecure,
                             .compression = *compression_of(o)};

    t->flow = f;
    t->text = mem_alloc(o->bytes + 1);
    if (!t->text || weft_client_connect(&t->conn, o->url, &opts) != WEFT_OK) {
        went_wrong(t, ERROR_CONNECT, failure ? weft_failure_text(failure) : "no memory");
        t->is_over = true;
        weft_failure_free(failure);
        return;
    }
    histogram_add(&f->loader->tally.handshake, clock_now_ns() - from_ns);
    weft_conn_set_data(t->conn, t);
    f->loader->open++;
}

static void open_all(struct flow *f)
{
    static const struct timespec pause = {.tv_nsec = LOOK_NS};
    struct loader *l = f->loader;

    for (uint32_t i = 0; i < l->conn_count; i++) {
        f->talks[i].number = l->conns[i].number;
        open_one(f, &f->talks[i]);
    }
    /* on_open may be a moment behind. */
    while (l->open && !atomic_load_explicit(&f->has_clock, memory_order_acquire))
        nanosleep(&pause, NULL);
}

static void look(struct loader *l, bool with_memory, struct process_use *use)
{
    const struct options *o = l->run->options;

    if (l->index == 0 && o->pid_count)
        process_look(o->pids, o->pid_count, with_memory, use);
}

/* Of the thread that makes the load; 0 while no connection opened. */
static uint64_t cpu_ns(struct flow *f)
{
    struct timespec t = {0};

    if (atomic_load_explicit(&f->has_clock, memory_order_acquire))
        clock_gettime(f->cpu_clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Until then, or until nothing is under way, or no answer came for drain_s: that is counted in looks, of
 * which a time without CPU is one. False: that silence. */
static bool wait_until(struct flow *f, uint64_t until_ns)
{
    static const struct timespec pause = {.tv_nsec = LOOK_NS};
    struct loader *l = f->loader;
    uint64_t seen = 0, looks = 0;

    /* LAST */
    while (clock_now_ns() < until_ns && atomic_load_explicit(&f->outstanding, memory_order_acquire)) {
        uint64_t answered = atomic_load_explicit(&l->shown_answered, memory_order_relaxed);
        looks = answered == seen ? looks + 1 : 0;
        seen = answered;
        if (looks * LOOK_NS >= loader_drain_ns(l))
            return false;
        nanosleep(&pause, NULL);
        atomic_store_explicit(&l->shown_open, l->open, memory_order_relaxed);
    }
    return true;
}

/* A run that its messages or a silence end had its end with the last answer. */
static void note_time(struct flow *f, uint64_t from_ns, uint64_t until_ns)
{
    struct tally *sum = &f->loader->tally;
    uint64_t now_ns = clock_now_ns(), heard_ns = atomic_load_explicit(&f->heard_ns, memory_order_relaxed);
    bool is_early = now_ns < until_ns && heard_ns > from_ns;

    sum->load_cpu = (double)(cpu_ns(f) - f->loader->cpu_at_begin_ns) / (double)(clock_now_ns() - from_ns);
    sum->measured_s = (double)((is_early ? heard_ns : now_ns) - from_ns) / 1e9;
}

static void enter(struct flow *f, enum phase phase)
{
    f->loader->phase = phase;
    atomic_store_explicit(&f->phase, phase, memory_order_relaxed);
}

static void load_and_measure(struct flow *f)
{
    struct loader *l = f->loader;
    const struct options *o = l->run->options;
    uint64_t from_ns, until_ns;
    bool is_alive;

    enter(f, o->warmup_s > 0 ? PHASE_WARMUP : PHASE_MEASURE);
    look(l, false, &l->run->before);
    pthread_barrier_wait(&l->run->barrier);
    from_ns = clock_now_ns();
    l->cpu_at_begin_ns = cpu_ns(f);
    atomic_store_explicit(&f->outstanding, l->open, memory_order_relaxed);
    for (uint32_t i = 0; i < l->conn_count; i++)
        if (!f->talks[i].is_over && !send_next(&f->talks[i]))
            one_less(&f->talks[i]);
    if (o->warmup_s > 0) {
        wait_until(f, from_ns + (uint64_t)(o->warmup_s * 1e9));
        look(l, false, &l->run->before);
        from_ns = clock_now_ns();
        l->cpu_at_begin_ns = cpu_ns(f);
        enter(f, PHASE_MEASURE);
    }
    until_ns = from_ns + (uint64_t)(o->seconds * 1e9);
    is_alive = wait_until(f, until_ns);
    note_time(f, from_ns, until_ns);
    pthread_barrier_wait(&l->run->barrier);
    look(l, true, &l->run->after);
    enter(f, PHASE_DRAIN);
    if (is_alive)
        wait_until(f, clock_now_ns() + LOADER_DRAIN_TIMES * loader_drain_ns(l));
}

/* What was sent and received, before and behind compression, by both sides. */
static void note_sizes(struct flow *f)
{
    struct tally *sum = &f->loader->tally;
    weft_stats s = {.size = sizeof s};

    weft_server_stats(f->server, &s);
    sum->plain_out = s.compressed_from_bytes;
    sum->packed_out = s.compressed_to_bytes;
    sum->plain_in = s.inflated_to_bytes;
    sum->packed_in = s.inflated_from_bytes;
}

static void end_all(struct flow *f)
{
    struct loader *l = f->loader;

    enter(f, PHASE_CLOSE);
    note_sizes(f);
    weft_server_stop(f->server, STOP_MS);
    for (uint32_t i = 0; i < l->conn_count; i++) {
        struct talk *t = &f->talks[i];
        l->tally.errors[ERROR_LOST] += !t->is_over && t->sent != t->received;
        if (t->conn)
            weft_conn_unref(t->conn);
        mem_free(t->text);
    }
    weft_server_unref(f->server);
}

void deflate_run(struct loader *l)
{
    struct flow f = {.loader = l, .talks = l->mode_state};
    const char *wrong = start_server(&f);

    if (wrong) {
        fprintf(stderr, "weft-bench: cannot begin: %s\n", wrong);
        exit(2); /* the other loaders wait at a barrier */
    }
    open_all(&f);
    load_and_measure(&f);
    end_all(&f);
}

static bool begin(struct loader *l)
{
    return loader_alloc(l, l->conn_count, sizeof(struct talk)) != NULL;
}

const struct mode mode_deflate = {.what = "messages", .begin = begin};
