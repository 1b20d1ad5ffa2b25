/* Places for handlers; see slots.h. */
#include "core/slots.h"

#include <stddef.h>

#include "base/order.h"
#include "core/conn.h"
#include "core/crew.h"
#include "core/io_thread.h"
#include "core/straight.h"

void slots_init(struct slots *s, struct crew *crew, uint32_t count)
{
    pthread_mutex_init(&s->lock, NULL);
    s->crew = crew;
    s->first = s->last = NULL;
    s->free = count;
}

void slots_fini(struct slots *s)
{
    pthread_mutex_destroy(&s->lock);
}

/* Under the lock. */
static void enter(struct slots *s, struct slot_wait *w)
{
    w->next = NULL;
    w->before = s->last;
    if (s->last)
        s->last->next = w;
    else
        s->first = w;
    s->last = w;
    w->is_in = true;
}

/* Under the lock. */
static void take_out(struct slots *s, struct slot_wait *w)
{
    if (w->before)
        w->before->next = w->next;
    else
        s->first = w->next;
    if (w->next)
        w->next->before = w->before;
    else
        s->last = w->before;
    w->is_in = false;
}

static void give_back(struct slots *s)
{
    pthread_mutex_lock(&s->lock);
    s->free++;
    pthread_mutex_unlock(&s->lock);
}

/* The first who waits, if there is a place for it; that is taken then. */
static struct slot_wait *next_one(struct slots *s)
{
    struct slot_wait *w = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->free && s->first) {
        w = s->first;
        take_out(s, w);
        s->free--;
    }
    pthread_mutex_unlock(&s->lock);
    return w;
}

/* Places and threads as far as they reach. Without a thread the rest goes on waiting for somebody's end. */
static void serve(struct slots *s)
{
    for (;;) {
        struct slot_wait *w;
        struct weft_conn *c;

        if (crew_reserve(s->crew, 1) != WEFT_OK)
            return;
        w = next_one(s);
        if (!w) {
            crew_release(s->crew, 1);
            return;
        }
        c = w->conn;
        if (outbox_push(c, w->answer, false) != WEFT_OK) {
            outbox_free_link(w->answer);
            crew_release(s->crew, 1);
            give_back(s);
        }
        conn_unref(c);
    }
}

int slots_accept(struct weft_conn *c, struct msg_link *answer)
{
    struct slots *s = &c->home->io->engine->slots;
    struct slot_wait *w = straight_wait(c);

    w->conn = c;
    w->answer = answer;
    conn_ref(c);
    pthread_mutex_lock(&s->lock);
    enter(s, w);
    pthread_mutex_unlock(&s->lock);
    serve(s);
    return stack_is_closed(&c->outbox) && slots_give_up(c) ? WEFT_E_CLOSED : WEFT_OK; /* L2 */
}

void slots_release(struct slots *s)
{
    give_back(s);
    serve(s);
}

bool slots_give_up(struct weft_conn *c)
{
    struct slots *s = &c->home->io->engine->slots;
    struct slot_wait *w = straight_wait(c);
    bool was_in = false;

    if (!w)
        return false;
    pthread_mutex_lock(&s->lock);
    if (w->is_in) {
        take_out(s, w);
        was_in = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (was_in) {
        outbox_free_link(w->answer);
        conn_unref(c);
    }
    return was_in;
}

bool slots_try_take(struct slots *s)
{
    bool is_taken;

    if (crew_reserve(s->crew, 1) != WEFT_OK)
        return false;
    pthread_mutex_lock(&s->lock);
    is_taken = s->free && !s->first;
    if (is_taken)
        s->free--;
    pthread_mutex_unlock(&s->lock);
    if (!is_taken)
        crew_release(s->crew, 1);
    return is_taken;
}
