/* The link that things in queues carry as their first member, and chains of them. */
#ifndef WEFT_BASE_NODE_H
#define WEFT_BASE_NODE_H

#include <stddef.h>

struct node {
    struct node *next;
};

/* Turn a chain round: what a stack gives newest first becomes oldest first. */
static inline struct node *node_reverse(struct node *n)
{
    struct node *done = NULL;

    while (n) {
        struct node *next = n->next;
        n->next = done;
        done = n;
        n = next;
    }
    return done;
}

#endif
