/* Canceling what a thread does; see cancel.h. */
#include "sync/cancel.h"

#include <stddef.h>

static _Thread_local struct cancel_scope *innermost;

void cancel_init(struct cancel_scope *s)
{
    pthread_mutex_init(&s->lock, NULL);
    s->hooks = NULL;
    s->outer = NULL;
    atomic_init(&s->is_fired, false);
}

void cancel_fini(struct cancel_scope *s)
{
    pthread_mutex_destroy(&s->lock);
}

void cancel_enter(struct cancel_scope *s)
{
    s->outer = innermost;
    innermost = s;
}

void cancel_leave(void)
{
    innermost = innermost->outer;
}

void cancel_fire(struct cancel_scope *s)
{
    pthread_mutex_lock(&s->lock);
    if (!atomic_exchange_explicit(&s->is_fired, true, memory_order_relaxed))
        for (struct cancel_hook *h = s->hooks; h; h = h->next)
            h->fire(h);
    pthread_mutex_unlock(&s->lock);
}

bool cancel_add(struct cancel_hook *h)
{
    struct cancel_scope *s = innermost;
    bool is_fired;

    h->scope = s;
    if (!s)
        return true;
    pthread_mutex_lock(&s->lock);
    is_fired = atomic_load_explicit(&s->is_fired, memory_order_relaxed);
    if (!is_fired) {
        h->before = NULL;
        h->next = s->hooks;
        if (h->next)
            h->next->before = h;
        s->hooks = h;
    }
    pthread_mutex_unlock(&s->lock);
    return !is_fired;
}

bool cancel_remove(struct cancel_hook *h)
{
    struct cancel_scope *s = h->scope;
    bool is_fired;

    if (!s)
        return true;
    pthread_mutex_lock(&s->lock);
    is_fired = atomic_load_explicit(&s->is_fired, memory_order_relaxed);
    if (h->before)
        h->before->next = h->next;
    else
        s->hooks = h->next;
    if (h->next)
        h->next->before = h->before;
    pthread_mutex_unlock(&s->lock);
    return !is_fired;
}

/* Relaxed: a hint for a task that computes. */
bool cancel_is_fired(void)
{
    return innermost && atomic_load_explicit(&innermost->is_fired, memory_order_relaxed);
}
