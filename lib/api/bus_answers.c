/* What comes on the two connections of a node: each answer goes to whom its request belongs to, in order. */
#include <stdio.h>
#include <string.h>

#include "api/bus_redis.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define READS_MAX 16 /* of one connection in a turn */

static bool is_script_loaded(struct redis *r, unsigned which, const struct resp *reply)
{
    size_t bytes;
    const char *sha = resp_text(reply, &bytes);

    if (resp_kind(reply) != RESP_TEXT || bytes >= sizeof r->sha[0])
        return false;
    memcpy(r->sha[which], sha, bytes + 1);
    return true;
}

/* That it is no master is seen then when it refuses to write (READONLY). */
static bool may_hide_role(struct weft_bus *b, struct redis_node *n, const struct resp *reply)
{
    const char *error = resp_text(reply, NULL);
    char quoted[RESP_WHY_BYTES];

    n->is_role_hidden = strncmp(error, "NOPERM", strlen("NOPERM")) == 0;
    if (n->is_role_hidden && !redis_of(b)->has_told_role)
        LOG(WEFT_LOG_WARNING, 0,
            "bus: a Redis that becomes a replica is noticed when it refuses a message: %s",
            redis_quote(b, quoted, error));
    redis_of(b)->has_told_role |= n->is_role_hidden;
    return n->is_role_hidden;
}

/* A node that is asked for the map only may be anything. */
static bool take_role(struct weft_bus *b, struct redis_node *n, const struct resp *reply, char *why)
{
    if (!n->is_wanted || strcmp(resp_text(resp_item(reply, 0), NULL), "master") == 0)
        return true;
    if (resp_kind(reply) == RESP_ERROR)
        return may_hide_role(b, n, reply);
    snprintf(why, RESP_WHY_BYTES, "it is no master");
    return false;
}

/* Before this the request was taken out of the queue; what it stands for is dealt with here in every case. */
static bool answer(struct weft_bus *b, struct redis_node *n, struct request *q, const struct resp *reply,
                   char *why)
{
    switch (q->kind) {
    case REQUEST_ROLE:
        return take_role(b, n, reply, why);
    case REQUEST_MAP:
        return cluster_take_map(b, n, reply, why);
    case REQUEST_SCRIPT:
        return is_script_loaded(redis_of(b), q->script, reply);
    case REQUEST_PUBLISH:
        return lane_answer(b, n, q, reply);
    case REQUEST_FILL:
        return fill_answer(b, n, q->fill, reply);
    case REQUEST_ASK:
        return presence_answer(b, n, q, reply);
    case REQUEST_SET:
        return presence_set_answer(b, n, q, reply);
    case REQUEST_LEAVE:
        return presence_leave_answer(b, n, q, reply);
    case REQUEST_NUDGE:
        return true; /* if the slot has moved, who subscribes there fills by itself */
    case REQUEST_OK:
    case REQUEST_ASKING:
        break;
    }
    return resp_kind(reply) != RESP_ERROR;
}

static void say_error(const struct weft_bus *b, char *why, const struct resp *reply)
{
    char quoted[RESP_WHY_BYTES];

    snprintf(why, RESP_WHY_BYTES, "it answers %.*s", RESP_WHY_BYTES - 16,
             redis_quote(b, quoted, resp_text(reply, NULL)));
}

/* WEFT_OK, or why it is over. */
static int take_answer(struct weft_bus *b, struct redis_node *n, const struct resp *reply, char *why)
{
    struct request *q = queue_take(&n->requests);
    char reason[RESP_WHY_BYTES] = "an answer that makes no sense";
    int rc = WEFT_OK;

    if (!q)
        return WEFT_E_PROTOCOL;
    if (resp_kind(reply) == RESP_ERROR)
        say_error(b, reason, reply);
    if (!answer(b, n, q, reply, reason)) {
        memcpy(why, reason, sizeof reason);
        rc = WEFT_E_CLOSED;
    }
    mem_free(q);
    if (rc == WEFT_OK)
        node_look_if_greeted(b, n);
    return rc;
}

/* On the subscriptions' connection: may it go on? Once it is greeted what is refused is a topic. */
static bool is_bearable(struct weft_bus *b, struct redis_node *n, const struct resp *reply)
{
    struct slots_reply refusal;

    if (resp_kind(reply) != RESP_ERROR)
        return true;
    slots_read_error(&refusal, resp_text(reply, NULL));
    if (refusal.what == REFUSED_HERE || (refusal.what == REFUSED_FOR_GOOD && !n->is_greeted))
        return false;
    /* The mark behind it tells for which. */
    if (refusal.what == REFUSED_FOR_GOOD)
        redis_quote(b, n->refusal, resp_text(reply, NULL));
    else
        cluster_wants_map(b);
    return true;
}

/* AUTH's answer, marks, and pushes. A mark comes as a text while nothing is subscribed. */
static int take_sub_answer(struct weft_bus *b, struct redis_node *n, const struct resp *reply, char *why)
{
    bool is_array = resp_kind(reply) == RESP_ARRAY;
    const struct resp *mark = is_array ? resp_item(reply, 1) : reply;

    if (!is_bearable(b, n, reply)) {
        say_error(b, why, reply);
        return WEFT_E_CLOSED;
    }
    if (is_array && strcmp(resp_text(resp_item(reply, 0), NULL), "pong") != 0) {
        channel_take_push(b, n, reply);
        return WEFT_OK;
    }
    if (resp_kind(reply) == RESP_ERROR || resp_integer(mark) <= 0)
        return WEFT_OK;
    channels_mark_heard(b, n, (uint64_t)resp_integer(mark));
    n->is_greeted = true;
    node_look_if_greeted(b, n);
    return WEFT_OK;
}

typedef int taker(struct weft_bus *b, struct redis_node *n, const struct resp *reply, char *why);

static int take_all(struct weft_bus *b, struct redis_node *n, struct resp_link *l, taker *take, char *why)
{
    struct resp *reply;
    int rc;

    while ((rc = resp_next(l, &reply)) == WEFT_OK) {
        rc = take(b, n, reply, why);
        resp_free(reply);
        if (rc != WEFT_OK)
            return rc;
    }
    return rc == WEFT_E_AGAIN ? WEFT_OK : rc;
}

/* Bytes are life: on a slow link the rest of a large answer may take longer than any answer should. */
static int read_link(struct weft_bus *b, struct redis_node *n, struct resp_link *l, taker *take, char *why)
{
    uint64_t *heard_ms = l == &n->commands ? &n->heard_ms : &n->sub_heard_ms;

    for (int i = 0; i < READS_MAX; i++) {
        int rc = resp_read(l);

        if (rc == WEFT_E_AGAIN)
            return WEFT_OK;
        if (rc == WEFT_OK) {
            *heard_ms = clock_now_ms();
            rc = take_all(b, n, l, take, why);
        }
        if (rc != WEFT_OK)
            return rc;
        if (!l->may_have_more)
            return WEFT_OK;
    }
    n->has_more = true;
    return WEFT_OK;
}

void answers_read(struct weft_bus *b, struct redis_node *n, bool commands, bool subscriptions)
{
    char why[RESP_WHY_BYTES] = "the connection broke";
    bool all = n->has_more;
    int rc = WEFT_OK;

    n->has_more = false;
    if (subscriptions || all)
        rc = read_link(b, n, &n->subscriptions, take_sub_answer, why);
    if (rc == WEFT_OK && (commands || all))
        rc = read_link(b, n, &n->commands, take_answer, why);
    if (rc == WEFT_E_PROTOCOL || rc == WEFT_E_TOO_BIG)
        snprintf(why, sizeof why, "an answer that is none of Redis, or too large");
    if (rc != WEFT_OK)
        node_down(b, n, why);
}
