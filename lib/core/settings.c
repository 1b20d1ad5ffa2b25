/* Checks the options and fills in the defaults; see settings.h. */
#include "core/settings.h"

#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/msg.h"
#include "base/thr.h"
#include "core/crew.h"
#include "core/options.h"
#include "sync/park.h"

#define OPEN_TIMEOUT_MS  10000
#define PING_INTERVAL_MS 20000
#define PING_TIMEOUT_MS  20000
#define WRITE_TIMEOUT_MS 20000
#define CLOSE_TIMEOUT_MS 10000
#define SPIN_US          20u
#define SPIN_US_MAX      10000u
#define MIB              (1024u * 1024u)
#define RATE_MAX         1000000u /* a second */
/* Together they are the slots of the pool. */
#define IO_THREADS_MAX 64u
#define WORKERS_MAX    256u
_Static_assert(2 * IO_THREADS_MAX + WORKERS_MAX <= PARK_SLOTS_MAX, "every thread has a slot to park in");

static unsigned at_least(unsigned n, unsigned least)
{
    return n < least ? least : n;
}

static int choose_threads(weft_server_opts *o)
{
    unsigned processors = cpu_count();

    if (processors > 256)
        processors = 256;
    OPTION_CHOOSE(o, io_threads, at_least(processors / 4, 1), 1u, IO_THREADS_MAX);
    OPTION_CHOOSE(o, workers, at_least(processors, 2), 1u, WORKERS_MAX);
    OPTION_CHOOSE(o, workers_max, at_least(64, o->workers), o->workers, WORKERS_MAX);
    if (o->spin_us == 0)
        o->spin_us = processors > 2 ? SPIN_US : UINT32_MAX; /* on two it takes from the peer what it gives */
    if (o->spin_us == UINT32_MAX)
        o->spin_us = 0;
    else
        OPTION_CHOOSE(o, spin_us, SPIN_US, 1u, SPIN_US_MAX);
    OPTION_CHOOSE(o, turn_messages_max, 64u, 1u, 1000000u);
    OPTION_CHOOSE(o, turn_us_max, 500u, 1u, 1000000u);
    return WEFT_OK;
}

static int choose_times(weft_server_opts *o)
{
    OPTION_CHOOSE(o, open_timeout_ms, OPEN_TIMEOUT_MS, 1u, 86400000u);
    OPTION_CHOOSE(o, ping_interval_ms, PING_INTERVAL_MS, 1u, UINT32_MAX);
    OPTION_CHOOSE(o, ping_timeout_ms, PING_TIMEOUT_MS, 1u, 86400000u);
    OPTION_CHOOSE(o, write_timeout_ms, WRITE_TIMEOUT_MS, 1u, 86400000u);
    OPTION_CHOOSE(o, close_timeout_ms, CLOSE_TIMEOUT_MS, 1u, 86400000u);
    return WEFT_OK;
}

static int choose_queues(weft_server_opts *o)
{
    uint64_t fragments;

    OPTION_CHOOSE(o, message_bytes_max, (uint64_t)MIB, (uint64_t)1, (uint64_t)MSG_BYTES_MAX);
    fragments = 1024 + o->message_bytes_max / 16;
    OPTION_CHOOSE(o, fragments_max, (uint32_t)(fragments < UINT32_MAX ? fragments : UINT32_MAX), 1u, UINT32_MAX);
    OPTION_CHOOSE(o, inbox_high, 16u, 1u, 1000000u);
    OPTION_CHOOSE(o, inbox_low, at_least(o->inbox_high / 4, 1), 1u, o->inbox_high);
    OPTION_CHOOSE(o, inbox_bytes_high, MIB, 1u, 1u << 30);
    OPTION_CHOOSE(o, outbox_high_bytes, 64u * 1024u, 256u, 1u << 30);
    OPTION_CHOOSE(o, outbox_low_bytes, o->outbox_high_bytes / 4, 1u, o->outbox_high_bytes);
    OPTION_CHOOSE(o, outbox_bytes_max, at_least(MIB, o->outbox_high_bytes), (uint64_t)o->outbox_high_bytes,
           (uint64_t)UINT32_MAX);
    if (o->slow_policy > WEFT_SLOW_DROP_OLDEST)
        return option_refused("slow_policy is none of the policies");
    return WEFT_OK;
}

static int choose_limits(weft_server_opts *o)
{
    OPTION_CHOOSE(o, head_bytes_max, 8192u, 128u, 65535u);
    OPTION_CHOOSE(o, headers_max, 64u, 4u, 1024u);
    OPTION_CHOOSE(o, connections_max, 1000000u, 1u, 1000000u);
    OPTION_CHOOSE(o, handshakes_max, 1024u, 1u, 1000000u);
    OPTION_CHOOSE(o, backlog, 4096u, 1u, 65535u);
    return WEFT_OK;
}

/* Of these 0 means that there is no limit. */
static int choose_rates(struct settings *s)
{
    weft_server_opts *o = &s->opts;

    if (o->handshakes_per_second_max)
        OPTION_CHOOSE(o, handshakes_burst, o->handshakes_per_second_max, 1u, 1000000u);
    if (o->messages_per_second_max)
        OPTION_CHOOSE(o, messages_burst, o->messages_per_second_max, 1u, 1000000u);
    if (o->handshakes_per_second_max > RATE_MAX || o->messages_per_second_max > RATE_MAX)
        return option_refused("a rate is above 1,000,000 a second");
    if (o->memory_bytes_max && o->memory_bytes_max < MIB)
        return option_refused("memory_bytes_max is below 1 MiB");
    s->handshakes = rate_of(o->handshakes_per_second_max, o->handshakes_burst);
    s->messages = rate_of(o->messages_per_second_max, o->messages_burst);
    if (o->memory_bytes_max)
        mem_count_used();
    return WEFT_OK;
}

static int parse_unlimited(struct settings *s)
{
    size_t count = s->opts.unlimited_addresses ? s->opts.unlimited_address_count : 0;

    s->opts.unlimited_address_count = count;
    if (!count)
        return WEFT_OK;
    s->unlimited = mem_calloc(count, sizeof *s->unlimited);
    if (!s->unlimited)
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < count; i++)
        if (!s->opts.unlimited_addresses[i] ||
            !network_parse(&s->unlimited[i], s->opts.unlimited_addresses[i]))
            return option_refused("one of unlimited_addresses is neither an address nor a network");
    return WEFT_OK;
}

static int choose_handlers(weft_server_opts *o)
{
    if (o->handler && (o->on_message || o->on_drain)) {
        LOG(WEFT_LOG_ERROR, 0, "option handler is set beside on_message or on_drain");
        return WEFT_E_INVAL;
    }
    OPTION_CHOOSE(o, handlers_max, 1024u, 1u, CREW_THREADS_MAX);
    OPTION_CHOOSE(o, handler_stack_bytes, 256u * 1024u, 32u * 1024u, 1u << 30);
    OPTION_CHOOSE(o, handler_concurrency, 1u, 1u, 1024u);
    return WEFT_OK;
}

/* straight: without callbacks. The session gives parts only to those who know of them. */
static int choose_style(struct settings *s, bool is_straight)
{
    const weft_server_opts *o = &s->opts;

    s->is_straight = is_straight;
    s->has_queue = is_straight || o->handler_concurrency > 1;
    s->session.gives_parts = is_straight && o->receive_parts;
    if (o->receive_parts && !is_straight) {
        LOG(WEFT_LOG_ERROR, 0, "option receive_parts is set without a handler");
        return WEFT_E_INVAL;
    }
    return WEFT_OK;
}

/* The same ranges for a server, a client and one connection. */
static int choose_windows(weft_compression *o, unsigned own, unsigned peers)
{
    OPTION_CHOOSE(o, window_bits, (uint8_t)own, DEFLATE_WINDOW_BITS_MIN, DEFLATE_WINDOW_BITS_MAX);
    OPTION_CHOOSE(o, peer_window_bits, (uint8_t)peers, 8, DEFLATE_WINDOW_BITS_MAX);
    return WEFT_OK;
}

int settings_choose_compression(weft_compression *o)
{
    /* Only the level stays 0: the default depends on the takeover. */
    if (o->level > 9)
        return option_refused("compression.level is not 1 to 9");
    OPTION_CHOOSE(o, mem_level, DEFLATE_MEM_LEVEL_DEFAULT, 1, 9);
    OPTION_CHOOSE(o, bytes_min, SQUEEZE_BYTES_MIN, 1u, UINT32_MAX);
    OPTION_CHOOSE(o, memory_bytes_max, (uint64_t)SQUEEZE_BYTES_MAX, (uint64_t)1, (uint64_t)INT64_MAX);
    return choose_windows(o, EXTENSION_WINDOW_BITS_DEFAULT, EXTENSION_WINDOW_BITS_DEFAULT);
}

struct extension_policy settings_policy_of(const weft_compression *o)
{
    return (struct extension_policy){.is_enabled = !o->is_off,
                                     .out_window_bits = o->window_bits,
                                     .in_window_bits = o->peer_window_bits,
                                     .out_takeover = !o->no_takeover,
                                     .in_takeover = !o->peer_no_takeover};
}

static void apply_compression(struct settings *s)
{
    const weft_compression *o = &s->opts.compression;

    s->policy = settings_policy_of(o);
    s->squeeze = (struct squeeze_opts){.bytes_max = (size_t)o->memory_bytes_max,
                                       .bytes_min = o->bytes_min,
                                       .level = o->level,
                                       .mem_level = o->mem_level};
    s->session_squeezed = s->session;
    s->session_squeezed.allows_compressed = true;
}

int settings_policy(const struct settings *s, const weft_compression *own, struct extension_policy *out)
{
    weft_compression o;
    int rc;

    *out = s->policy;
    if (!own)
        return WEFT_OK;
    o = *own;
    if (o.level || o.mem_level || o.bytes_min || o.memory_bytes_max)
        return option_refused("an option of compression that one connection cannot have for itself");
    rc = choose_windows(&o, s->policy.out_window_bits, s->policy.in_window_bits);
    *out = settings_policy_of(&o);
    return rc;
}

static int copy_origins(struct settings *s)
{
    size_t count = s->opts.origins ? s->opts.origin_count : 0;

    if (!s->opts.origins)
        return WEFT_OK;
    s->origins = mem_calloc(count + 1, sizeof *s->origins);
    if (!s->origins)
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!s->opts.origins[i])
            return option_refused("one of origins is NULL");
        s->origins[i] = mem_strdup(s->opts.origins[i]);
        if (!s->origins[i])
            return WEFT_E_NOMEM;
    }
    s->opts.origins = (const char *const *)s->origins;
    return WEFT_OK;
}

static int choose_all(struct settings *s, bool is_client)
{
    int rc = choose_threads(&s->opts);

    if (rc == WEFT_OK)
        rc = choose_times(&s->opts);
    if (rc == WEFT_OK)
        rc = choose_queues(&s->opts);
    if (rc == WEFT_OK)
        rc = choose_limits(&s->opts);
    if (rc == WEFT_OK)
        rc = choose_handlers(&s->opts);
    if (rc == WEFT_OK)
        rc = settings_choose_compression(&s->opts.compression);
    if (rc == WEFT_OK)
        rc = copy_origins(s);
    if (rc == WEFT_OK)
        rc = choose_rates(s);
    if (rc == WEFT_OK)
        rc = parse_unlimited(s);
    if (rc != WEFT_OK) {
        settings_fini(s);
        return rc;
    }
    s->session = (struct session_config){
        .is_client = is_client,
        .message_bytes_max = (uint32_t)s->opts.message_bytes_max,
        .fragments_max = s->opts.fragments_max,
        .ping_interval_ms = s->opts.ping_interval_ms,
        .ping_timeout_ms = s->opts.ping_timeout_ms,
        .close_timeout_ms = s->opts.close_timeout_ms,
    };
    rc = choose_style(s, s->opts.handler || (is_client && !s->opts.on_message && !s->opts.on_drain));
    if (rc != WEFT_OK)
        settings_fini(s);
    apply_compression(s);
    return rc;
}

int settings_init(struct settings *s, const weft_server_opts *opts)
{
    int rc = option_copy(&s->opts, sizeof s->opts, opts, opts ? opts->size : 0);

    return rc == WEFT_OK ? choose_all(s, false) : rc;
}

int settings_init_client(struct settings *s, const weft_client_opts *opts)
{
    s->opts = (weft_server_opts){
        .app = opts->app,
        .on_open = opts->on_open,
        .on_message = opts->on_message,
        .on_drain = opts->on_drain,
        .on_close = opts->on_close,
        .handler = opts->handler,
        .handler_concurrency = opts->handler_concurrency,
        .receive_parts = opts->receive_parts,
        .open_timeout_ms = opts->open_timeout_ms,
        .ping_interval_ms = opts->ping_interval_ms,
        .ping_timeout_ms = opts->ping_timeout_ms,
        .write_timeout_ms = opts->write_timeout_ms,
        .close_timeout_ms = opts->close_timeout_ms,
        .message_bytes_max = opts->message_bytes_max,
        .fragments_max = opts->fragments_max,
        .inbox_high = opts->inbox_high,
        .inbox_low = opts->inbox_low,
        .inbox_bytes_high = opts->inbox_bytes_high,
        .outbox_high_bytes = opts->outbox_high_bytes,
        .outbox_low_bytes = opts->outbox_low_bytes,
        .outbox_bytes_max = opts->outbox_bytes_max,
        .slow_policy = opts->slow_policy,
        .head_bytes_max = opts->head_bytes_max,
        .headers_max = opts->headers_max,
        .compression = opts->compression,
    };
    return choose_all(s, true);
}

void settings_fini(struct settings *s)
{
    for (char **o = s->origins; o && *o; o++)
        mem_free(*o);
    mem_free(s->origins);
    s->origins = NULL;
    mem_free(s->unlimited);
    s->unlimited = NULL;
}
