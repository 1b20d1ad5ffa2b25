/* What do masking, the UTF-8 check and frame parsing take of a message?
 *
 * Nanoseconds a call for mask_copy, mask_apply and utf8_feed at the sizes that messages have; then a whole
 * message through a session: its frame's header read, the payload unmasked, checked and put into memory of
 * its own, which is freed again. With the word "kernels" also the same for each kernel that this processor
 * can run, which is how a kernel earns its place.
 *
 * The figure is the best of ROUNDS rounds: other programs only ever make a round slower. Buffers are warm,
 * and from 1 MiB on (source and copy) larger than most level-2 caches. "2 bytes", "3 bytes" and "mixed" is
 * text of letters of that length, and of all lengths with ASCII between.
 *
 * usage: micro_proto [--json] [kernels] */
#include "micro.h"

#include "base/mem.h"
#include "proto/frame.h"
#include "proto/mask.h"
#include "proto/session.h"
#include "proto/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 11, ROUND_NS = 1000000, BYTES_MAX = 1 << 20, FRAMES_MAX = 16, READ_BYTES = 1 << 16 };

static const size_t sizes[] = {16, 64, 125, 1024, 65536, BYTES_MAX};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static uint8_t source[BYTES_MAX], masked[BYTES_MAX], target[BYTES_MAX];
static const uint8_t fixed_key[4] = {0x37, 0xfa, 0x21, 0x3d};
static const uint8_t *key = fixed_key;
static const struct mask_kernel *mask_kernel;
static const struct utf8_kernel *utf8_kernel;

typedef void call(size_t n);

static void call_memcpy(size_t n)
{
    MICRO_OPAQUE(n);
    memcpy(target, source, n);
}

static void call_mask_copy(size_t n)
{
    MICRO_OPAQUE(n);
    MICRO_OPAQUE(key);
    mask_copy(target, source, n, key, 0);
}

static void call_mask_apply(size_t n)
{
    MICRO_OPAQUE(n);
    MICRO_OPAQUE(key);
    mask_apply(target, n, key, 0);
}

static void call_mask_kernel(size_t n)
{
    MICRO_OPAQUE(n);
    mask_kernel->run(target, source, n, 0x3d21fa37);
}

static void call_utf8_feed(size_t n)
{
    struct utf8_state s = {0};

    MICRO_OPAQUE(n);
    if (!utf8_feed(&s, source, n))
        abort();
}

static void call_utf8_kernel(size_t n)
{
    struct utf8_state s = {0};

    MICRO_OPAQUE(n);
    if (!utf8_feed_by(utf8_kernel, &s, source, n))
        abort();
}

/* As a session does it: unmask what was read, then check what was unmasked. */
static void call_mask_then_feed(size_t n)
{
    struct utf8_state s = {0};

    MICRO_OPAQUE(n);
    MICRO_OPAQUE(key);
    mask_copy(target, masked, n, key, 0);
    if (!utf8_feed(&s, target, n))
        abort();
}

static inline double round_ns(call *f, size_t n, long calls)
{
    double start = micro_now_ns();

    for (long i = 0; i < calls; i++) {
        f(n);
        __asm__ volatile("" : : : "memory");
    }
    return (micro_now_ns() - start) / (double)calls;
}

static inline double best_ns(call *f, size_t n)
{
    double best = round_ns(f, n, 10);
    long calls = micro_calls(best, ROUND_NS);

    for (int i = 0; i < ROUNDS; i++) {
        double ns = round_ns(f, n, calls);
        best = ns < best ? ns : best;
    }
    return best;
}

/* Inlined into each caller together with the function measured, as it is in the library. */
__attribute__((always_inline)) static inline void report(const char *what, call *f)
{
    double ns[SIZES];

    for (int i = 0; i < SIZES; i++)
        ns[i] = best_ns(f, sizes[i]);
    micro_row(what, ns);
}

static const struct text {
    const char *name;
    const char *letters[8];
    size_t count;
} texts[] = {
    {"ascii", {"w", "e", "f", "t", " "}, 5},
    {"2 bytes", {"\xce\xba", "\xcf\x83", "\xce\xbc", "\xce\xb5"}, 4},
    {"3 bytes", {"\xe6\xbc\xa2", "\xe5\xad\x97", "\xe4\xbb\xae", "\xe5\x90\x8d"}, 4},
    {"mixed", {"a", "b ", "\xc3\xa9", "cd", "\xe2\x82\xac", "efg", "\xf0\x9f\x99\x82"}, 7},
};
enum { TEXTS = sizeof texts / sizeof texts[0] };

/* A size may cut the last letter: the beginning of a letter is right too. */
static void fill(const struct text *t)
{
    size_t at = 0;

    for (size_t i = 0;; i++) {
        const char *letter = t->letters[i % t->count];
        if (at + strlen(letter) > BYTES_MAX)
            break;
        memcpy(source + at, letter, strlen(letter));
        at += strlen(letter);
    }
    memset(source + at, ' ', BYTES_MAX - at);
    mask_copy(masked, source, BYTES_MAX, key, 0);
}

__attribute__((always_inline)) static inline void report_texts(const char *what, call *f)
{
    char line[96];

    for (int i = 0; i < TEXTS; i++) {
        fill(&texts[i]);
        snprintf(line, sizeof line, "%s %s", what, texts[i].name);
        report(line, f);
    }
}

static void report_kernels(void)
{
    size_t count;
    char line[48];
    const struct mask_kernel *masks = mask_kernels(&count);

    for (size_t i = 0; i < count; i++) {
        mask_kernel = &masks[i];
        snprintf(line, sizeof line, "mask %s", masks[i].name);
        report(line, call_mask_kernel);
    }
    utf8_kernel = NULL;
    report_texts("utf8 automaton", call_utf8_kernel);
    utf8_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        utf8_kernel = &utf8_kernels(&count)[i];
        snprintf(line, sizeof line, "utf8 %s", utf8_kernel->name);
        report_texts(line, call_utf8_kernel);
    }
}

/* What one read of the socket may hold: FRAMES_MAX masked frames, fewer when they are large. */
static uint8_t *frames;
static size_t frames_count, frames_bytes;
static struct session session;
static const struct session_config config = {
    .message_bytes_max = BYTES_MAX, .fragments_max = UINT32_MAX, .ping_interval_ms = UINT32_MAX};

static void write_frames(enum frame_opcode opcode, size_t n, size_t count)
{
    struct frame_header h = {.bytes = n, .opcode = opcode, .is_final = true, .is_masked = true};
    uint8_t *p = frames;

    memcpy(h.key, key, 4);
    for (size_t i = 0; i < count; i++) {
        p += frame_write_header(p, &h);
        mask_copy(p, source, n, key, 0);
        p += n;
    }
    frames_count = count;
    frames_bytes = (size_t)(p - frames);
}

static void call_header(size_t n)
{
    struct frame_header h;
    const uint8_t *p = frames;

    (void)n;
    MICRO_OPAQUE(p);
    if (frame_header_bytes(p[1]) > FRAME_HEADER_BYTES_MAX || !frame_read_header(p, &h))
        abort();
    MICRO_OPAQUE(h.bytes);
}

static void call_session(size_t n)
{
    struct session_event ev;
    size_t used, messages = 0;

    (void)n;
    for (size_t at = 0; at < frames_bytes; at += used)
        if (session_feed(&session, frames + at, frames_bytes - at, &used, &ev) == SESSION_MESSAGE) {
            weft_msg_unref(ev.msg);
            messages++;
        }
    if (messages != frames_count)
        abort();
}

static size_t frames_in_a_read(size_t n, size_t wanted)
{
    size_t fit = READ_BYTES / (n + FRAME_HEADER_BYTES_MAX);

    return fit < 1 ? 1 : fit < wanted ? fit : wanted;
}

static void report_session(const char *what, enum frame_opcode opcode, size_t wanted)
{
    double ns[SIZES];

    for (int i = 0; i < SIZES; i++) {
        write_frames(opcode, sizes[i], frames_in_a_read(sizes[i], wanted));
        ns[i] = best_ns(call_session, sizes[i]) / (double)frames_count;
    }
    micro_row(what, ns);
}

static void report_headers(void)
{
    double ns[SIZES];

    for (int i = 0; i < SIZES; i++) {
        write_frames(FRAME_BINARY, sizes[i], 1);
        ns[i] = best_ns(call_header, sizes[i]);
    }
    micro_row("header alone", ns);
}

static void report_frames(const char *const *names)
{
    frames = malloc(BYTES_MAX + READ_BYTES + FRAMES_MAX * FRAME_HEADER_BYTES_MAX);
    if (!frames || mem_pool_join() != 0)
        abort();
    session_init(&session, &config, 0);
    fill(&texts[0]);
    micro_table("Frames", "ns a message", names, SIZES);
    report_headers();
    report_session("message, binary", FRAME_BINARY, 1);
    report_session("message, text", FRAME_TEXT, 1);
    report_session("message, text, 16 in a read", FRAME_TEXT, FRAMES_MAX);
    session_fini(&session);
    mem_pool_leave();
    free(frames);
}

int main(int argc, char **argv)
{
    const char *word = micro_begin(argc, argv, "kernels");
    char written[SIZES][24];
    const char *names[SIZES];

    for (int i = 0; i < SIZES; i++) {
        micro_size_name(sizes[i], written[i]);
        names[i] = written[i];
    }
    fill(&texts[0]);
    micro_table("Masking and UTF-8, by bytes", "ns a call", names, SIZES);
    report("memcpy", call_memcpy);
    report("mask_copy", call_mask_copy);
    report("mask_apply", call_mask_apply);
    report("mask_copy + utf8_feed", call_mask_then_feed);
    report_texts("utf8_feed", call_utf8_feed);
    report_frames(names);
    if (word) {
        micro_table("Kernels, by bytes", "ns a call", names, SIZES);
        report_kernels();
    }
    micro_end();
    return 0;
}
