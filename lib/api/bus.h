/* The inside of a bus: its thread, its topics and subscribers, and what a backend owes it.
 *
 * B1  Any thread pushes commands onto one stack; the bus's thread takes all, turns them round and does them
 *     in order. So what one thread publishes and subscribes is done in its order, and everything marked
 *     (bus) needs no lock.
 * B2  A topic is there while it has a subscriber, or a history of this process (local:).
 * B3  A subscriber of a connection is a seat (group.h) in its topic's group from its first moment on, so
 *     that it leaves when the connection closes; it gets messages once it is live. Its memory has a
 *     reference of the bus, given back by bus_end_sub, and one of the seat.
 * B4  The program's code is called on the bus's thread, with no lock held. A listener's call is announced in
 *     `calling`, so that weft_bus_unlisten can wait for it and for nothing else.
 * B5  Publishes are numbered in the order of the commands. settled_number is the one up to which all were
 *     passed on or lost: what weft_bus_flush waits for. Numbers alone do not say which of both, so it, and
 *     weft_bus_close, compare how many were lost when they began and in the end.
 *
 *   operation        | on            | order
 *   push, take       | commands      | STACK_PUSH; the wake-up WAKE_LOOK
 *   drop a reference | refs of bus, sub | acq_rel: BUS_LAST, as CONN_LAST
 *   figures          | counters      | relaxed: they order nothing */
#ifndef WEFT_API_BUS_H
#define WEFT_API_BUS_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "api/bus_history.h"
#include "api/bus_url.h"
#include "api/group.h"
#include "base/random.h"
#include "sync/stack.h"
#include "sync/wake.h"
#include "weft/bus.h"

#define BUS_FDS_MAX      256 /* of a backend, in one poll */
#define BUS_PUBLISH_COST 64u /* of each queued publish, beside its bytes */

enum bus_command_kind {
    BUS_PUBLISH,
    BUS_SUBSCRIBE,
    BUS_UNSUBSCRIBE,
    BUS_LEFT, /* a seat, or a listener's end */
    BUS_PRESENCE
};

struct bus_command {
    struct node node;
    enum bus_command_kind kind;
};

struct bus_publish {
    struct bus_command command;
    const weft_bus_rule *rule; /* NULL: no history */
    weft_msg *msg;
    uint64_t cost, number; /* number: B5 */
    /* The Redis backend's, beside the command's node. */
    struct bus_publish *older, *newer; /* of those that are not settled */
    uint16_t slot;
    size_t topic_bytes;
    char topic[];
};

struct bus_unsubscribe {
    struct bus_command command;
    weft_conn *conn;
    char topic[];
};

struct bus_ask {
    struct bus_command command;
    struct weft_bus *bus;
    uint64_t cost; /* in queued_bytes */
    void (*done)(int result, const char *const *names, size_t count, void *arg);
    void *arg;
    char topic[];
};

/* Who is there under this name, how often in this process. */
struct bus_name {
    struct bus_name *next;
    uint32_t refs;
    char name[];
};

enum bus_topic_state {
    TOPIC_OFF,
    TOPIC_ASKED,
    TOPIC_HEARD, /* a pattern in a cluster: this node has it, not all others know */
    TOPIC_FILLING,
    TOPIC_LIVE
};

struct bus_topic {
    struct bus_topic *chain;         /* in its bucket */
    struct bus_topic *older, *newer; /* is_idle: by use; local: */
    bool is_idle;                    /* among those that may be forgotten; local: */
    uint64_t hash;
    weft_group *group;    /* its connections */
    struct bus_sub *subs; /* all, the newest first */
    uint32_t conns, listeners;
    uint32_t picky;            /* connections with a filter, or not live: each is looked at */
    uint32_t waiting;          /* subscribers that are not live */
    const weft_bus_rule *rule; /* NULL: no history; always for patterns */
    struct bus_name *names;
    struct history history; /* with a rule: what this process holds of it */

    /* The local backend's, with a file (bus_keep.h). */
    uint64_t given;  /* the offset that was given last, to a message that may be on its way to the file */
    uint32_t writes; /* on their way */
    bool is_unkept;
    bool is_in_file;    /* something of it may be there */
    bool is_epoch_told; /* the file may know its epoch */
    struct bus_topic *unkept_next, **unkept_place;

    /* The Redis backend's. */
    enum bus_topic_state state;
    struct redis_node *node; /* where it is subscribed, or asked to be; NULL: OFF */
    uint16_t slot;
    uint32_t refused_ms;                         /* OFF: the pause, for Redis refuses it; 0: it does not */
    uint64_t again_at_ms;                        /* with refused_ms: asked for again then */
    bool is_heard;                               /* ASKED: the last answer for its channel says yes */
    uint64_t mark;                               /* ASKED: behind the answer to this one it counts */
    struct bus_topic *asked_next, **asked_place; /* ASKED: of the node's */
    struct redis_fill *fill;                     /* under way; at most one */
    weft_bus_position at;                        /* everything up to here was delivered */
    bool has_at;
    weft_bus_position passed_over; /* the last that came live while it was FILLING */
    bool is_nudged;                /* while it was FILLING: something may have come that is not numbered */
    uint64_t cache_from;           /* history holds all there was behind this offset, if its limits allow */
    char last_id[64];              /* who published the message at `at`, as Redis knows it; "" unknown */

    bool is_pattern;
    uint8_t bytes;                           /* of the name without a pattern's '*' */
    char name[WEFT_BUS_TOPIC_BYTES_MAX + 2]; /* a pattern with its '*' */
};

struct bus_sub {
    struct group_seat seat;
    struct bus_command command;      /* SUBSCRIBE */
    struct bus_command left_command; /* LEFT, by who comes first */
    _Atomic uint32_t refs;
    struct weft_bus *bus;          /* one reference */
    weft_conn *conn;               /* NULL: a listener. One reference */
    struct bus_topic *topic;       /* (bus) */
    struct bus_topic *spare;       /* in case that its topic is new */
    struct bus_sub *next, **place; /* (bus) in topic->subs */
    bool is_live, has_from;        /* (bus) */
    bool is_ended;                 /* under the bus's lock: a listener's callbacks are not called any more */
    weft_bus_position from;
    void *arg;
    bool (*filter)(weft_conn *c, const weft_bus_item *item, void *arg);
    void (*ready)(weft_conn *c, const weft_bus_ready *ready, void *arg);
    void (*released)(void *arg);
    void (*on_ready)(const weft_bus_ready *ready, void *arg);
    void (*on_item)(const weft_bus_item *item, void *arg);
    char *presence; /* behind the name in the block; NULL: none */
    char topic_name[];
};

struct weft_bus_listener {
    struct bus_sub sub;
};

struct bus_counters {
    _Atomic uint64_t subscriptions, topics, queued_bytes, published, passed_on, refused, dropped_full,
        dropped_lost, received, delivered, duplicates, filled, gaps, history_failures, connects, disconnects,
        retries;
};
#define BUS_COUNT(bus, what)        atomic_fetch_add_explicit(&(bus)->count.what, 1, memory_order_relaxed)
#define BUS_COUNT_ON(bus, what, n)  atomic_fetch_add_explicit(&(bus)->count.what, (n), memory_order_relaxed)
#define BUS_COUNT_OFF(bus, what, n) atomic_fetch_sub_explicit(&(bus)->count.what, (n), memory_order_relaxed)

/* All on the bus's thread but open and free. */
struct bus_backend {
    int (*open)(struct weft_bus *b, const struct bus_url *url);
    void (*publish)(struct weft_bus *b, struct bus_publish *p);   /* given: settled in time */
    void (*topic_begin)(struct weft_bus *b, struct bus_topic *t); /* its first subscriber came */
    void (*topic_end)(struct weft_bus *b,
                      struct bus_topic *t);                   /* its last one went. It may be freed behind */
    void (*sub_waits)(struct weft_bus *b, struct bus_sub *s); /* to be made live, at once or in time */
    void (*name_begin)(struct weft_bus *b, struct bus_topic *t, const char *name);
    void (*name_end)(struct weft_bus *b, struct bus_topic *t, const char *name);
    void (*ask)(struct weft_bus *b, struct bus_ask *a); /* given: answered in time */
    /* Work of a turn. fds: what to wait for, *count of BUS_FDS_MAX. Returns until when, of clock_now_ms. */
    uint64_t (*turn)(struct weft_bus *b, struct pollfd *fds, nfds_t *count);
    /* Behind the wait; count is 0 when nothing was ready. */
    void (*polled)(struct weft_bus *b, const struct pollfd *fds, nfds_t count);
    bool (*is_drained)(struct weft_bus *b); /* nothing published is left to pass on */
    void (*stop)(struct weft_bus *b);       /* settle and answer what is left */
    void (*free)(struct weft_bus *b);       /* also behind an open that failed */
};
extern const struct bus_backend bus_local, bus_redis;

struct weft_bus {
    _Atomic uint32_t refs;
    weft_bus_opts opts; /* (c) defaults filled in; strings are copies */
    const struct bus_backend *backend;
    void *data; /* the backend's */
    pthread_t thread;
    struct stack commands; /* (q) */
    struct wake wake;
    int stop_fd;                 /* an eventfd: the deadline of weft_bus_close has passed */
    struct siphash_key key;      /* (c) of the table of topics */
    struct random_source random; /* (bus) */

    struct histories histories; /* (bus) but for the sum, a figure for all */
    struct bus_topic **buckets; /* (bus) */
    size_t bucket_count, topic_count;
    uint32_t pattern_lengths[WEFT_BUS_TOPIC_BYTES_MAX + 1]; /* (bus) how many patterns have that many bytes */
    size_t history_count;                                   /* (bus) topics with a history of this process */
    struct bus_topic *oldest, *newest;                      /* (bus) those of them that may be forgotten */
    uint64_t last_number, settled_number;                   /* (bus) B5 */
    bool has_lost; /* behind the thread's end: something was lost since weft_bus_close was called */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct bus_sub *calling; /* under lock: the listener that is being called */
    uint32_t flushers;       /* under lock */
    uint64_t settled;        /* under lock: settled_number, told once a turn */
    uint64_t lost;           /* under lock: dropped_lost, told with it */
    uint64_t lost_before;    /* under lock: lost, when weft_bus_close was called */
    bool wants_stop;         /* under lock */
    bool has_ended;          /* under lock: the thread does nothing any more */
    uint64_t stop_ms;        /* under lock: the deadline */
    _Atomic int state;       /* enum weft_bus_state */
    struct bus_counters count;
};

/* --- bus.c --- */

void bus_unref(struct weft_bus *b);
void bus_unref_sub(struct bus_sub *s);
/* Passed on, or lost; frees it. (bus) */
void bus_settle(struct weft_bus *b, struct bus_publish *p, bool is_passed_on);
/* All up to this number were settled. (bus) */
void bus_settled_up_to(struct weft_bus *b, uint64_t number);
void bus_answer(struct bus_ask *a, int result, const char *const *names, size_t count); /* and free it */
void bus_set_state(struct weft_bus *b, enum weft_bus_state state, const char *why);
/* The rule of a topic that remembers; NULL: it does not. Any thread. */
const weft_bus_rule *bus_rule_of(const struct weft_bus *b, const char *topic);
struct history_limits bus_limits_of(const struct weft_bus *b, const weft_bus_rule *rule);
uint64_t bus_random(struct weft_bus *b);    /* nobody can tell it beforehand; never 0, below 2^63. (bus) */
bool bus_is_here(const struct weft_bus *b); /* on its own thread? */
struct timespec bus_timespec(uint64_t ms);  /* of clock_now_ms */

/* --- bus_options.c, any thread --- */

/* Checked, and with defaults: WEFT_OK, WEFT_E_INVAL (logged). */
int bus_options_choose(weft_bus_opts *o);
bool bus_options_copy(weft_bus_opts *o);
void bus_options_free(weft_bus_opts *o);
/* WEFT_OK, WEFT_E_INVAL. */
int bus_check_topic(const char *topic, bool may_be_pattern);

/* --- bus_topics.c, all (bus) --- */

/* NULL: there is none. name: without a pattern's '*'. */
struct bus_topic *bus_find_topic(struct weft_bus *b, const char *name, size_t bytes, bool is_pattern);
struct bus_topic *bus_new_topic(const char *name); /* any thread; not in the table yet. NULL: no memory */
void bus_free_topic(struct bus_topic *t);
/* Into the table, with its rule; it is given. */
void bus_enter_topic(struct weft_bus *b, struct bus_topic *t);
void bus_remove_topic(struct weft_bus *b, struct bus_topic *t); /* and free it */
void bus_each_topic(struct weft_bus *b, void (*visit)(struct weft_bus *b, struct bus_topic *t, void *arg),
                    void *arg);

void bus_subscribe(struct weft_bus *b, struct bus_sub *s);
void bus_unsubscribe(struct weft_bus *b, weft_conn *c, const char *topic);
void bus_end_sub(struct weft_bus *b, struct bus_sub *s);
/* It never was one, or is one no more: the last call to the program, and the bus's reference. */
void bus_release_sub(struct weft_bus *b, struct bus_sub *s);
/* From now on it gets what comes; before, ready is told and what it missed is queued out of the topic's
 * history. */
void bus_make_live(struct weft_bus *b, struct bus_sub *s);
/* Tell all that are live that something was lost for good. */
void bus_tell_gap(struct weft_bus *b, struct bus_topic *t);

/* To the subscribers of one topic object. item->topic is where it was published. */
void bus_deliver(struct weft_bus *b, struct bus_topic *t, const weft_bus_item *item);
/* To those of all patterns that fit. */
void bus_deliver_to_patterns(struct weft_bus *b, const weft_bus_item *item);

#endif
