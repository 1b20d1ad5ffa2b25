/* The inside of the bus between processes: what its parts share. All of it runs on the bus's thread.
 *
 *   bus_redis.c     the backend's face: a turn, beginning and end
 *   bus_cluster.c   which node has which slot; nodes come and go
 *   bus_node.c      one node: its two connections, and what was asked there
 *   bus_dial.c      an attempt to connect to it
 *   bus_answers.c   what comes on its connections
 *   bus_lane.c      publishes on their way (L1 to L5)
 *   bus_channel.c   subscriptions in Redis, and what comes live
 *   bus_fill.c      topics with history: order, and reading the stream (F1, F2)
 *   bus_presence.c  who is there
 *
 * N1  A node has two connections: commands (publishes are pipelined there) and subscriptions. They come and
 *     go together: when one fails both are dropped and made again, after a pause that doubles (retry_ms)
 *     until it was up for longer than reconnect_max_ms.
 * N2  Without a cluster there is one node, one lane, and all is in slot 0. What a bus has found once,
 *     cluster or not, it stays with.
 * N3  In a cluster there is a node for each master of the map (is_wanted), and for a while others: of the
 *     URL, to ask for the map, and those that a redirection names. A node lives until it is not wanted, and
 *     down or idle; owner, lanes and topics forget it then.
 * N4  What belongs to a slot goes to owner[slot]. Nothing waits for another slot's node: publishes wait in
 *     their lane, topics are OFF and are asked for when the node is up or the map has changed.
 * N5  The thread never waits: connecting (names, sockets, TLS) is done by a thread for each attempt, bounded
 *     by connect_timeout_ms, that owns the links until its descriptor tells that it has ended.
 * N6  What Redis refuses of a topic (its channel or keys are not permitted, say) concerns that topic: it is
 *     OFF, which is logged once, and asked for again after a pause of its own that doubles. */
#ifndef WEFT_API_BUS_REDIS_H
#define WEFT_API_BUS_REDIS_H

#include "api/bus.h"
#include "api/bus_queue.h"
#include "api/bus_resp.h"
#include "api/bus_slots.h"

#define REDIS_NODES_MAX  (BUS_FDS_MAX / 2)
#define REDIS_KEY_ROOM   1024  /* of a key or channel: a prefix and a topic of 255 bytes each, and some */
#define REDIS_TRIES_MAX  5     /* redirections of one command in a row; a publish waits instead */
#define REDIS_INSTANCE   32    /* bytes of a process' name */
#define REDIS_NUDGE      "n1;" /* to a topic's channel: look into the stream */
#define REDIS_LEAVES_MAX 4096  /* names that wait to be taken back; those of more expire by themselves */

enum script { PUBLISH_SCRIPT, PLAIN_SCRIPT, FILL_SCRIPT, JOIN_SCRIPT, ASK_SCRIPT, SCRIPTS };

enum request_kind {
    REQUEST_OK,
    REQUEST_ASKING, /* what it allows is the next request's */
    REQUEST_ROLE,
    REQUEST_MAP,
    REQUEST_SCRIPT,
    REQUEST_PUBLISH,
    REQUEST_FILL,
    REQUEST_ASK,
    REQUEST_SET,
    REQUEST_LEAVE,
    REQUEST_NUDGE
};

/* A command that was sent and not answered. */
struct request {
    struct node node;
    enum request_kind kind;
    unsigned tries;
    bool is_asking; /* behind an ASKING */
    union {
        unsigned script;
        struct bus_publish *publish;
        struct redis_fill *fill;
        struct bus_ask *ask;
        uint64_t leave_until_ms; /* as in redis_leave */
    };
    char topic[]; /* of a SET or LEAVE; behind its end a name, "" for all of the topic */
};

/* A name that nobody here has any more, and that is in Redis perhaps. */
struct redis_leave {
    struct node node;
    uint64_t until_ms; /* by then it has expired there */
    const char *name;  /* behind topic's end */
    char topic[];
};

struct redis_fill {
    struct node node;
    struct bus_topic *topic; /* NULL: gone meanwhile */
    int64_t from;            /* entries behind it; -1: only where the topic stands */
    unsigned tries;
    bool is_next_page;
};

enum node_phase { NODE_DOWN, NODE_DIALING, NODE_GREETING, NODE_UP };
enum announcement { ANNOUNCED_NOT, ANNOUNCED_ASKED, ANNOUNCED };

struct redis_node {
    struct bus_seed at; /* host NULL: the URL's path */
    bool is_wanted;     /* the map names it, or there is no cluster */
    enum node_phase phase;
    struct node_dial *dial; /* DIALING */
    struct resp_link commands, subscriptions;
    uint64_t retry_at_ms; /* DOWN */
    uint32_t retry_ms;
    uint64_t up_at_ms;
    uint64_t keep_until_ms; /* not wanted: may it go? */
    bool is_role_hidden;    /* not permitted to us */
    bool is_greeted;        /* the subscriptions' connection */
    bool has_more;          /* reads were cut short */
    nfds_t fd_at, fd_count; /* in the last poll */

    struct queue requests;
    uint32_t in_flight; /* publishes of them */

    /* A PING with a number goes behind subscriptions: behind its answer theirs have come. */
    uint64_t marks_sent, marks_heard;
    bool wants_mark;
    struct bus_topic *asked, **asked_end;
    enum announcement announced; /* that there are patterns */
    uint64_t announced_mark;
    bool is_announcement_heard;
    char refusal[RESP_WHY_BYTES]; /* of something since the last mark that was heard; "": none */

    /* Silence: when something of what a connection owes came last. */
    uint64_t heard_ms, sub_heard_ms, check_at_ms;
};

struct lane {
    struct queue queue, redo;
    struct lane *next; /* of those with something to send */
    bool is_listed;
    bool is_held;    /* L2: refused, and not all answered */
    bool is_probing; /* L2 */
    uint32_t in_flight;
    uint64_t hold_until_ms;
    uint32_t hold_ms;
    unsigned redirects;     /* since the last success */
    uint64_t sent_number;   /* the last one with history that was sent behind all that are not answered */
    struct redis_node *at;  /* where those in flight are */
    struct redis_node *ask; /* where the first goes this once; NULL: to the owner */
};

/* Lines of the log that may be due for each message: one is written in a while, and how many were not. */
enum seldom { SELDOM_REFUSED, SELDOM_DAMAGED, SELDOM_FOREIGN, SELDOM_NAMES, SELDOMS };

struct seldom_line {
    uint64_t again_at_ms, left_out;
};

enum redis_mode { REDIS_UNKNOWN, REDIS_SINGLE, REDIS_CLUSTER };

struct redis {
    struct bus_url url;
    /* What channels begin with. Keys are in the database that was chosen; channels are in none, so theirs stands in
     * their names, unless it is 0. */
    char channel_head[WEFT_BUS_TOPIC_BYTES_MAX + 32];
    struct tls_context *tls;
    struct tls_scratch *scratch;
    enum redis_mode mode; /* N2 */
    char sha[SCRIPTS][48];
    char instance[REDIS_INSTANCE + 1]; /* this process' name in Redis */

    struct redis_node *nodes[REDIS_NODES_MAX];
    size_t node_count, next_seed;
    struct redis_node **owner; /* of each slot, NULL: nobody; CLUSTER */
    struct redis_node *alone;  /* of all; not CLUSTER */
    uint32_t *tags;            /* slots_make_tags; CLUSTER */
    bool wants_map, is_map_asked;
    bool has_map, has_hole; /* a slot that is nobody's */
    uint64_t map_at_ms, map_again_ms, seed_at_ms;
    uint32_t seed_ms;
    size_t next_asked; /* node, for the map */

    struct lane *lanes; /* of each slot */
    size_t lane_count;
    struct lane *listed, **listed_end;
    struct bus_publish *oldest, *newest; /* not settled */

    struct queue fills_later;
    uint64_t fills_at_ms;
    uint64_t presence_at_ms;
    struct queue leaves;
    uint32_t leave_count;
    uint64_t leaves_at_ms;
    uint64_t refused_at_ms; /* what Redis refuses is asked for again */
    bool has_told_patterns; /* that it refuses them */
    uint32_t pattern_count;
    bool is_stopping;
    struct seldom_line lines[SELDOMS];
    bool has_told_role;    /* that it is hidden */
    bool has_told_failure; /* to on_state, of the first attempt */
    bool has_off;          /* a topic went OFF since all were last looked at */
};

static inline struct redis *redis_of(const struct weft_bus *b)
{
    return b->data;
}

/* --- bus_redis.c --- */

void redis_put_key(struct weft_bus *b, struct resp_link *l, char what, const char *topic);
void redis_put_channel(struct weft_bus *b, struct resp_link *l, const char *topic);
uint16_t redis_slot(const struct weft_bus *b, const char *topic);
uint32_t redis_doubled(uint32_t ms, const weft_bus_opts *o);
uint32_t redis_shortened(struct weft_bus *b, uint32_t ms); /* at random, by up to half */
uint64_t redis_earlier(uint64_t a, uint64_t b);
/* The text of an error, for a log: what says something of AUTH may repeat the password that was sent. In `out`, of
 * RESP_WHY_BYTES. */
const char *redis_quote(const struct weft_bus *b, char *out, const char *error);
void redis_log_seldom(struct weft_bus *b, enum seldom which, const char *detail);
/* UP while every node that is wanted is. why: of DOWN */
void redis_tell_state(struct weft_bus *b, const char *why);
void redis_tell_failure(struct weft_bus *b, const char *why); /* of the first attempt, while CONNECTING */

/* --- bus_cluster.c --- */

struct redis_node *cluster_owner(const struct redis *r, uint16_t slot); /* NULL: nobody */
/* The node that a redirection names, new if need be; from is who said so. It is the slot's owner then when
 * it MOVED. NULL: no room, no memory, or it has no name and is not known by its port. */
struct redis_node *cluster_redirect(struct weft_bus *b, const struct redis_node *from,
                                    const struct slots_reply *to);
void cluster_wants_map(struct weft_bus *b); /* soon */
/* A greeting's answer to CLUSTER SLOTS, or a later one's. False: why. */
bool cluster_take_map(struct weft_bus *b, struct redis_node *n, const struct resp *reply, char *why);
void cluster_node_failed(struct weft_bus *b, struct redis_node *n);
bool cluster_is_whole(
    const struct redis *r); /* every node that is wanted is up, and there is one for each slot */
int cluster_open(struct weft_bus *b);
void cluster_turn(struct weft_bus *b, uint64_t now_ms);
uint64_t cluster_next_time(const struct weft_bus *b);
void cluster_free(struct redis *r);

/* --- bus_node.c --- */

struct redis_node *node_new(const char *host, uint16_t port); /* DOWN. NULL: no memory */
/* DOWN. False: no memory, and it stays where it was. */
bool node_move(struct redis_node *n, const char *host, uint16_t port);
void node_free(struct redis_node *n); /* DOWN */
/* A command's place among the answers. NULL: no memory, which breaks the connection. */
struct request *node_request(struct redis_node *n, enum request_kind kind);
/* The same, of a topic and of one name there, or of "". */
struct request *node_request_name(struct redis_node *n, enum request_kind kind, const char *topic,
                                  const char *name);
void node_begin_script(struct weft_bus *b, struct redis_node *n, enum script which, unsigned keys,
                       unsigned args);
void node_ask(struct redis_node *n, bool is_asking); /* ASKING, if so */
/* What was sent and not answered is given up. Without a word: it is not needed any more. While it is DIALING
 * this waits for the thread: it has been told to stop. */
void node_close(struct weft_bus *b, struct redis_node *n);
void node_down(struct weft_bus *b, struct redis_node *n, const char *why); /* it failed */
void node_look_if_greeted(struct weft_bus *b,
                          struct redis_node *n); /* UP, when all that greets it was answered */
void node_turn(struct weft_bus *b, struct redis_node *n, uint64_t now_ms);
void node_flush(struct weft_bus *b, struct redis_node *n);
uint64_t node_next_time(const struct weft_bus *b, const struct redis_node *n);
void node_poll(struct redis_node *n, struct pollfd *fds, nfds_t *count);
void node_polled(struct weft_bus *b, struct redis_node *n, const struct pollfd *fds, bool has_events);

/* --- bus_dial.c --- */

/* Begin to connect to what stays until it is joined. NULL: why, a static text. */
struct node_dial *dial_begin(const struct weft_bus *b, const struct bus_seed *at, uint64_t now_ms,
                             const char **why);
int dial_fd(const struct node_dial *d); /* readable: its thread is at its end */
/* Both wait for the thread, which is at its end or has been told to stop; the attempt is given. WEFT_OK: two links,
 * without a scratch of TLS. Else why, of RESP_WHY_BYTES. */
int dial_take(struct node_dial *d, struct resp_link *commands, struct resp_link *subscriptions, char *why);
void dial_drop(struct node_dial *d);

/* --- bus_answers.c --- */

/* Read those of which poll said something, or all when reads were cut short, and deal with what came. The node may be
 * DOWN behind it. */
void answers_read(struct weft_bus *b, struct redis_node *n, bool commands, bool subscriptions);

/* --- bus_lane.c --- */

void lanes_put(struct weft_bus *b, struct bus_publish *p);
/* More lanes than the one: what waits there is sorted into them. */
void lanes_spread(struct weft_bus *b, struct lane *lanes, size_t count);
void lanes_send(struct weft_bus *b, uint64_t now_ms);
uint64_t lanes_next_time(const struct weft_bus *b, uint64_t now_ms);
/* False: the connection is to be made again. */
bool lane_answer(struct weft_bus *b, struct redis_node *n, const struct request *q, const struct resp *reply);
void lane_give_back(struct weft_bus *b, struct redis_node *n, struct bus_publish *p); /* unanswered */
void lanes_forget(struct redis *r, const struct redis_node *n);
void lanes_tell_settled(struct weft_bus *b);
void lanes_stop(struct weft_bus *b); /* nothing is in flight; what waits is given up */

/* --- bus_channel.c --- */

void channel_begin(struct weft_bus *b, struct bus_topic *t);
void channel_end(struct weft_bus *b, struct bus_topic *t);
void channels_place(struct weft_bus *b);   /* ask for all that are OFF and have somewhere to go */
void channels_replace(struct weft_bus *b); /* the same, and those move that are not where they belong */
/* For good, as it seems: N6. */
void channel_refused(struct weft_bus *b, struct bus_topic *t, const char *error);
void channels_again(struct weft_bus *b, uint64_t now_ms); /* those that were refused, when it is time */
void channels_spread(struct weft_bus *b);                 /* it is a cluster: each topic has a slot */
void channels_forget(struct weft_bus *b, struct redis_node *n);
void channels_put_mark(struct redis_node *n);
void channels_mark_heard(struct weft_bus *b, struct redis_node *n, uint64_t mark);
void channel_take_push(struct weft_bus *b, struct redis_node *n, const struct resp *reply);

/* --- bus_fill.c --- */

/* "w1;EPOCH;OFFSET;ID;" type payload */
struct envelope {
    weft_bus_position at;
    const char *id;
    size_t id_bytes;
    const char *data;
    size_t data_bytes;
};

/* WEFT_OK, WEFT_E_NOMEM, or WEFT_E_INVAL: not ours, or larger than allowed here. */
int fill_read_message(struct weft_bus *b, weft_msg **out, const char *data, size_t bytes);
void fill_start(struct weft_bus *b, struct bus_topic *t);
void fill_make_all_live(struct weft_bus *b, struct bus_topic *t);
void fill_take_live(struct weft_bus *b, struct bus_topic *t, const struct envelope *e, weft_msg *m);
void fill_pass_over(struct weft_bus *b, struct bus_topic *t, weft_bus_position at);
void fill_nudge(struct weft_bus *b, struct bus_topic *t); /* there is something in the stream */
void fill_sub_waits(struct weft_bus *b, struct bus_sub *s);
/* The fill is given. False: the connection is to be made again. */
bool fill_answer(struct weft_bus *b, struct redis_node *n, struct redis_fill *fill, const struct resp *reply);
/* The node where it was, perhaps not the topic's own, breaks or answers nothing of use. The fill is given. */
void fill_node_failed(struct weft_bus *b, const struct redis_node *n, struct redis_fill *fill);
void fills_again(struct weft_bus *b, uint64_t now_ms);
void fills_stop(struct redis *r);

/* --- bus_presence.c --- */

void presence_begin(struct weft_bus *b, struct bus_topic *t, const char *name);
void presence_end(struct weft_bus *b, struct bus_topic *t, const char *name);
void presence_ask(struct weft_bus *b, struct bus_ask *a);
bool presence_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                     const struct resp *reply);
bool presence_set_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                         const struct resp *reply);
bool presence_leave_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                           const struct resp *reply);
void presence_leave_failed(struct weft_bus *b, const struct request *q); /* unanswered */
void presence_refresh(struct weft_bus *b, uint64_t now_ms);
uint64_t presence_next_time(const struct redis *r);
void presence_stop(struct redis *r);

#endif
