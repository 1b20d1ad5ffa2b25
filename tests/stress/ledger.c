/* Counting and comparing; see ledger.h for L1 to L4. */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"

typedef unsigned long long ull;

void ledger_init(struct ledger *g, const struct shape *s)
{
    memset(g, 0, sizeof *g);
    g->shape = s;
    pthread_mutex_init(&g->lock, NULL);
}

void ledger_fini(struct ledger *g)
{
    if (LEDGER_GET(g->begun) != LEDGER_GET(g->ended))
        fault("%llu connections began, %llu ended", (ull)LEDGER_GET(g->begun), (ull)LEDGER_GET(g->ended));
    pthread_mutex_destroy(&g->lock);
}

/* --- comparing --- */

static void compare_sender(const struct life *l, int s, bool clean)
{
    uint64_t accepted = LEDGER_GET(l->accepted[s]), received = LEDGER_GET(l->received[s]);

    if (clean ? received != accepted : received > accepted)
        fault("connection %d: of sender %d %llu were accepted, %llu received%s", l->index, s, (ull)accepted,
              (ull)received, clean ? ", at a clean end" : "");
}

static void compare(const struct life *l)
{
    unsigned opened = LEDGER_GET(l->opened), closed = LEDGER_GET(l->closed);
    uint64_t sent = LEDGER_GET(l->sent), handled = LEDGER_GET(l->handled);
    bool clean = l->was_clean && l->got_close && l->sent_close;

    if (opened > 1 || closed != opened)
        fault("connection %d: opened %u times, closed %u times", l->index, opened, closed);
    if (l->must_end_clean && !clean)
        fault("connection %d: nothing was under way, yet its end was not clean (%d "
              "%d %d)",
              l->index, l->was_clean, l->got_close, l->sent_close);
    if (clean ? handled != sent : handled > sent)
        fault("connection %d: the client sent %llu, handled were %llu%s", l->index, (ull)sent, (ull)handled,
              clean ? ", at a clean end" : "");
    for (int s = 0; s <= ECHO; s++)
        compare_sender(l, s, clean);
    if (clean)
        LEDGER_ADD(l->ledger->clean, 1);
}

/* Nobody broadcasts now. What is on its way to entering the group when a broadcast begins may or may not
 * get it. */
static bool broadcasts_are_level(struct ledger *g, const struct life *l, weft_conn *c)
{
    uint64_t begun = LEDGER_GET(g->broadcasts_begun);
    uint64_t got = LEDGER_GET(l->received[ALL]) + weft_conn_dropped(c);

    /* Drops are not told apart by group. */
    if (g->shape->churns && g->shape->slow_policy != WEFT_SLOW_CLOSE)
        return true;
    return got >= begun - LEDGER_GET(l->joined_most) && got <= begun - LEDGER_GET(l->joined_least);
}

static bool life_is_level(struct ledger *g, const struct life *l, weft_conn *c)
{
    if (!c || weft_conn_data(c) != l || LEDGER_GET(l->is_ending) || !LEDGER_GET(l->is_quiet) ||
        LEDGER_GET(l->handled) != LEDGER_GET(l->sent))
        return false;
    if (g->shape->slow_policy == WEFT_SLOW_CLOSE && weft_conn_dropped(c))
        return false; /* its end is under way */
    for (int s = 0; s <= ECHO; s++)
        if (LEDGER_GET(l->accepted[s]) != LEDGER_GET(l->received[s]))
            return false;
    return broadcasts_are_level(g, l, c);
}

bool ledger_is_level(struct ledger *g)
{
    bool level = true;

    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < g->shape->connections && level; i++) {
        if (g->lives[i])
            level = life_is_level(g, g->lives[i], g->conns[i]);
        else
            level = g->conns[i] == NULL;
    }
    pthread_mutex_unlock(&g->lock);
    return level;
}

static void print_uneven(struct ledger *g, const struct life *l, weft_conn *c)
{
    fault("connection %d: %s%s%s; the client sent %llu, handled were %llu", l->index,
          LEDGER_GET(l->opened) ? "open" : "not open", LEDGER_GET(l->closed) ? ", closed" : "",
          LEDGER_GET(l->is_ending) ? ", ending" : "", (ull)LEDGER_GET(l->sent), (ull)LEDGER_GET(l->handled));
    if (c)
        fault("connection %d: of broadcasts %llu to %llu-%llu received %llu, "
              "dropped %llu; outbox %zu bytes",
              l->index, (ull)LEDGER_GET(g->broadcasts_begun), (ull)LEDGER_GET(l->joined_least),
              (ull)LEDGER_GET(l->joined_most), (ull)LEDGER_GET(l->received[ALL]), (ull)weft_conn_dropped(c),
              weft_conn_outbox_bytes(c));
    for (int s = 0; s <= ECHO; s++)
        if (LEDGER_GET(l->accepted[s]) != LEDGER_GET(l->received[s]))
            fault("connection %d: of sender %d %llu were accepted, %llu received", l->index, s,
                  (ull)LEDGER_GET(l->accepted[s]), (ull)LEDGER_GET(l->received[s]));
}

void ledger_print_uneven(struct ledger *g)
{
    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < g->shape->connections; i++) {
        if (g->lives[i] && !life_is_level(g, g->lives[i], g->conns[i]))
            print_uneven(g, g->lives[i], g->conns[i]);
        else if (!g->lives[i] && g->conns[i])
            fault("connection %u: its socket is closed, but not the connection", i);
    }
    pthread_mutex_unlock(&g->lock);
}

void ledger_demand_clean(struct ledger *g)
{
    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < g->shape->connections; i++)
        if (g->lives[i])
            g->lives[i]->must_end_clean = true;
    pthread_mutex_unlock(&g->lock);
}

uint64_t ledger_progress(struct ledger *g)
{
    uint64_t sum = LEDGER_GET(g->begun) + LEDGER_GET(g->ended) + LEDGER_GET(g->handovers);

    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < g->shape->connections; i++) {
        const struct life *l = g->lives[i];
        if (!l)
            continue;
        sum += LEDGER_GET(l->handled) + LEDGER_GET(l->sent) + LEDGER_GET(l->opened) + LEDGER_GET(l->closed);
        for (int s = 0; s < KINDS; s++)
            sum += LEDGER_GET(l->received[s]);
    }
    pthread_mutex_unlock(&g->lock);
    return sum;
}

/* --- lives --- */

struct life *ledger_begin(struct ledger *g, int index)
{
    struct life *l = calloc(1, sizeof *l);

    if (!l)
        abort();
    l->ledger = g;
    l->index = index;
    l->serial = LEDGER_ADD(g->begun, 1);
    atomic_init(&l->refs, 1);
    pthread_mutex_lock(&g->lock);
    g->lives[index] = l;
    pthread_mutex_unlock(&g->lock);
    return l;
}

void ledger_end(struct life *l)
{
    struct ledger *g = l->ledger;

    pthread_mutex_lock(&g->lock);
    g->lives[l->index] = NULL;
    pthread_mutex_unlock(&g->lock);
    life_unref(l);
}

struct life *life_ref(struct life *l)
{
    LEDGER_ADD(l->refs, 1);
    return l;
}

void life_unref(struct life *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    compare(l);
    LEDGER_ADD(l->ledger->ended, 1);
    free(l);
}

struct life *ledger_find(struct ledger *g, int index, uint64_t serial)
{
    struct life *l = NULL;

    pthread_mutex_lock(&g->lock);
    if (g->lives[index] && g->lives[index]->serial == serial)
        l = life_ref(g->lives[index]);
    pthread_mutex_unlock(&g->lock);
    return l;
}

/* The one before may still be on its way out, and one that its client has left may come late. */
void ledger_enter(struct life *l, weft_conn *c)
{
    struct ledger *g = l->ledger;

    pthread_mutex_lock(&g->lock);
    if (g->lives[l->index] == l) {
        weft_conn_unref(g->conns[l->index]);
        g->conns[l->index] = weft_conn_ref(c);
    }
    pthread_mutex_unlock(&g->lock);
}

void ledger_leave(struct life *l, weft_conn *c)
{
    struct ledger *g = l->ledger;

    pthread_mutex_lock(&g->lock);
    if (g->conns[l->index] == c) {
        g->conns[l->index] = NULL;
        weft_conn_unref(c);
    }
    pthread_mutex_unlock(&g->lock);
}

weft_conn *ledger_pick(struct ledger *g, unsigned start, struct life **life)
{
    weft_conn *c = NULL;

    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < g->shape->connections && !c; i++)
        c = g->conns[(start + i) % g->shape->connections];
    if (c) {
        weft_conn_ref(c);
        *life = life_ref(weft_conn_data(c));
    }
    pthread_mutex_unlock(&g->lock);
    return c;
}
