/* The stack that its owner takes whole, and chains of nodes. */
#include "unit.h"
#include "crew.h"
#include "sync/stack.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static void a_chain_turns_round(void)
{
    struct node n[4];

    CU_ASSERT_PTR_NULL(node_reverse(NULL));
    n[0].next = NULL;
    CU_ASSERT_PTR_EQUAL(node_reverse(&n[0]), &n[0]);
    CU_ASSERT_PTR_NULL(n[0].next);
    for (int i = 0; i < 4; i++)
        n[i].next = i < 3 ? &n[i + 1] : NULL;
    CU_ASSERT_PTR_EQUAL(node_reverse(&n[0]), &n[3]);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_PTR_EQUAL(n[i].next, i ? &n[i - 1] : NULL);
}

static void what_is_taken_is_newest_first(void) /* I1, I2 */
{
    struct stack s;
    struct node n[5];

    stack_init(&s);
    CU_ASSERT_TRUE(stack_is_empty(&s));
    CU_ASSERT_PTR_NULL(stack_take_all(&s));
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(stack_push(&s, &n[i]), i ? STACK_MORE : STACK_FIRST);
        CU_ASSERT_FALSE(stack_is_empty(&s));
        for (int k = i; k >= 0; k--)
            CU_ASSERT_PTR_EQUAL(n[k].next, k ? &n[k - 1] : NULL);
    }
    CU_ASSERT_PTR_EQUAL(stack_take_all(&s), &n[4]);
    CU_ASSERT_TRUE(stack_is_empty(&s));
    CU_ASSERT_PTR_NULL(stack_take_all(&s));
    CU_ASSERT_EQUAL(stack_push(&s, &n[0]), STACK_FIRST); /* I3: it is the only one again */
    CU_ASSERT_PTR_NULL(n[0].next);
}

static void a_closed_stack_refuses_and_gives_what_it_has(void)
{
    struct stack s;
    struct node a, b, c;

    stack_init(&s);
    stack_push(&s, &a);
    stack_push(&s, &b);
    CU_ASSERT_FALSE(stack_is_closed(&s));
    stack_close(&s);
    CU_ASSERT_TRUE(stack_is_closed(&s));
    c.next = &a;
    CU_ASSERT_EQUAL(stack_push(&s, &c), STACK_CLOSED);
    CU_ASSERT_EQUAL(stack_push_last(&s, &c), STACK_CLOSED);
    CU_ASSERT_PTR_EQUAL(c.next, &a); /* a refused node is not touched */
    CU_ASSERT_FALSE(stack_is_empty(&s));
    CU_ASSERT_PTR_EQUAL(stack_take_all(&s), &b);
    CU_ASSERT_TRUE(stack_is_empty(&s));
    CU_ASSERT_TRUE(stack_is_closed(&s)); /* I1: for ever */
    CU_ASSERT_EQUAL(stack_push(&s, &c), STACK_CLOSED);
    CU_ASSERT_PTR_NULL(stack_take_all(&s));
    stack_close(&s);
    CU_ASSERT_TRUE(stack_is_closed(&s));
}

static void an_empty_stack_can_be_closed(void)
{
    struct stack s;
    struct node n;

    stack_init(&s);
    stack_close(&s);
    CU_ASSERT_TRUE(stack_is_closed(&s));
    CU_ASSERT_TRUE(stack_is_empty(&s));
    CU_ASSERT_PTR_NULL(stack_take_all(&s));
    CU_ASSERT_EQUAL(stack_push(&s, &n), STACK_CLOSED);
}

static void push_last_puts_and_closes_in_one_step(void) /* I4 */
{
    struct stack s;
    struct node a, b, c;

    stack_init(&s);
    CU_ASSERT_EQUAL(stack_push_last(&s, &a), STACK_FIRST);
    CU_ASSERT_TRUE(stack_is_closed(&s));
    CU_ASSERT_EQUAL(stack_push(&s, &b), STACK_CLOSED);
    CU_ASSERT_PTR_EQUAL(stack_take_all(&s), &a);
    CU_ASSERT_PTR_NULL(a.next);
    stack_init(&s);
    stack_push(&s, &a);
    CU_ASSERT_EQUAL(stack_push_last(&s, &b), STACK_MORE);
    CU_ASSERT_EQUAL(stack_push_last(&s, &c), STACK_CLOSED);
    CU_ASSERT_PTR_EQUAL(stack_take_all(&s), &b);
    CU_ASSERT_PTR_EQUAL(b.next, &a);
}

/* --- many threads --- */

enum { PUSHERS = 4, PUSHES_MAX = 100000 };

/* Plain fields: only the stack carries them to the owner. */
struct item {
    struct node node;
    uint32_t pusher, number;
};

static struct item items[PUSHERS][PUSHES_MAX];

struct pusher {
    struct stack *stack;
    unsigned index, count;
    unsigned firsts, pushed;
    bool ends_with_last; /* the final push closes the stack */
    bool was_last;
    _Atomic unsigned *running;
};

static void *push_items(void *arg)
{
    struct pusher *p = arg;

    for (unsigned i = 0; i < p->count; i++) {
        struct item *item = &items[p->index][i];
        bool is_last = p->ends_with_last && i + 1 == p->count;
        enum stack_result result;

        item->pusher = p->index;
        item->number = i;
        result = is_last ? stack_push_last(p->stack, &item->node) : stack_push(p->stack, &item->node);
        if (result == STACK_CLOSED)
            break;
        p->pushed++;
        p->firsts += result == STACK_FIRST;
        p->was_last = is_last;
    }
    atomic_fetch_sub_explicit(p->running, 1, memory_order_relaxed);
    return NULL;
}

struct owner {
    struct stack *stack;
    _Atomic unsigned *running;
    unsigned takes, reordered;
    unsigned next[PUSHERS]; /* number expected from each pusher: nothing lost, doubled or overtaken */
    const struct item *newest;
};

static bool take(struct owner *o)
{
    struct node *n = node_reverse(stack_take_all(o->stack));

    if (!n)
        return false;
    o->takes++;
    for (; n; n = n->next) {
        o->newest = (const struct item *)n;
        o->reordered += o->newest->number != o->next[o->newest->pusher];
        o->next[o->newest->pusher] = o->newest->number + 1;
    }
    return true;
}

/* The main thread owns the stack while the others push. */
static void own(struct owner *o, struct pusher *pushers, unsigned count)
{
    struct crew crew = {0};

    for (unsigned i = 0; i < count; i++)
        crew_add(&crew, push_items, &pushers[i]);
    while (atomic_load_explicit(o->running, memory_order_relaxed))
        if (!take(o))
            sched_yield();
    crew_join(&crew);
    take(o);
}

static void many_pushers_lose_double_and_reorder_nothing(void) /* STACK_PUSH */
{
    struct pusher pushers[PUSHERS];
    struct stack s;
    _Atomic unsigned running = PUSHERS;
    struct owner o = {.stack = &s, .running = &running};
    unsigned firsts = 0, each = crew_rounds(PUSHES_MAX);

    stack_init(&s);
    for (unsigned i = 0; i < PUSHERS; i++)
        pushers[i] = (struct pusher){.stack = &s, .index = i, .count = each, .running = &running};
    own(&o, pushers, PUSHERS);
    for (unsigned i = 0; i < PUSHERS; i++) {
        CU_ASSERT_EQUAL(o.next[i], each);
        firsts += pushers[i].firsts;
    }
    CU_ASSERT_EQUAL(o.reordered, 0);
    CU_ASSERT_EQUAL(firsts, o.takes); /* I3: the owner is told once for each time there is something */
    CU_ASSERT_TRUE(stack_is_empty(&s));
}

/* Each round several threads push and then try to close behind a last node of their own. */
static void of_many_last_pushes_one_wins_and_nothing_is_behind_it(void) /* I4 */
{
    unsigned rounds = crew_rounds(2000);

    for (unsigned round = 0; round < rounds; round++) {
        struct pusher pushers[PUSHERS];
        struct stack s;
        _Atomic unsigned running = PUSHERS;
        struct owner o = {.stack = &s, .running = &running};
        unsigned winners = 0, winner = 0;

        stack_init(&s);
        for (unsigned i = 0; i < PUSHERS; i++)
            pushers[i] = (struct pusher){
                .stack = &s, .index = i, .count = 20, .ends_with_last = true, .running = &running};
        own(&o, pushers, PUSHERS);
        for (unsigned i = 0; i < PUSHERS; i++) {
            CU_ASSERT_EQUAL(o.next[i],
                            pushers[i].pushed); /* what was accepted came out, what was refused did not */
            if (pushers[i].was_last) {
                winners++;
                winner = i;
            }
        }
        CU_ASSERT_EQUAL(winners, 1);
        CU_ASSERT_EQUAL(o.reordered, 0);
        CU_ASSERT_PTR_EQUAL(o.newest, &items[winner][19]);
        CU_ASSERT_TRUE(stack_is_closed(&s));
    }
}

struct closer {
    struct stack *stack;
    _Atomic unsigned *running;
    unsigned seed;
};

static void *close_after_a_while(void *arg)
{
    struct closer *c = arg;

    for (unsigned i = crew_random(&c->seed) % 2000; i; i--)
        THR_RELAX();
    stack_close(c->stack);
    return NULL;
}

static void a_close_among_pushes_splits_them_into_accepted_and_refused(void)
{
    unsigned rounds = crew_rounds(2000), seed = 4711;

    for (unsigned round = 0; round < rounds; round++) {
        struct pusher pushers[2];
        struct stack s;
        struct crew crew = {0};
        _Atomic unsigned running = 2;
        struct owner o = {.stack = &s, .running = &running};
        struct closer c = {.stack = &s, .seed = crew_random(&seed)};

        stack_init(&s);
        for (unsigned i = 0; i < 2; i++)
            pushers[i] = (struct pusher){.stack = &s, .index = i, .count = 200, .running = &running};
        crew_add(&crew, close_after_a_while, &c);
        own(&o, pushers, 2);
        crew_join(&crew);
        take(&o);
        CU_ASSERT_EQUAL(o.reordered, 0);
        for (unsigned i = 0; i < 2; i++)
            CU_ASSERT_EQUAL(o.next[i], pushers[i].pushed);
        CU_ASSERT_EQUAL(stack_push(&s, &items[0][0].node), STACK_CLOSED);
    }
}

static const struct unit_case cases[] = {
    CASE(a_chain_turns_round),
    CASE(what_is_taken_is_newest_first),
    CASE(a_closed_stack_refuses_and_gives_what_it_has),
    CASE(an_empty_stack_can_be_closed),
    CASE(push_last_puts_and_closes_in_one_step),
    CASE(many_pushers_lose_double_and_reorder_nothing),
    CASE(of_many_last_pushes_one_wins_and_nothing_is_behind_it),
    CASE(a_close_among_pushes_splits_them_into_accepted_and_refused),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "stack", cases, sizeof cases / sizeof cases[0]);
}
