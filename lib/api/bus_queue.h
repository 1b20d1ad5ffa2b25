/* A queue of things that carry a node as their first member. One thread's. */
#ifndef WEFT_API_BUS_QUEUE_H
#define WEFT_API_BUS_QUEUE_H

#include "base/node.h"

struct queue {
    struct node *first,
        **end; /* end is for the owner of the queue alone: it may be stale while first is NULL */
};

static inline void queue_put(struct queue *q, struct node *n)
{
    if (!q->first)
        q->end = &q->first;
    n->next = NULL;
    *q->end = n;
    q->end = &n->next;
}

/* NULL: it is empty. */
static inline void *queue_take(struct queue *q)
{
    struct node *n = q->first;

    if (n)
        q->first = n->next;
    return n;
}

/* All of `front` comes before what is in q; front is empty behind it. */
static inline void queue_put_before(struct queue *q, struct queue *front)
{
    if (!front->first)
        return;
    *front->end = q->first;
    if (!q->first)
        q->end = front->end;
    q->first = front->first;
    front->first = NULL;
}

#endif
