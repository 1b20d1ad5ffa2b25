/* Groups and broadcasts, from end to end (promises P3 and P8). */
#include "e2e_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first n clients with their handles, in order of opening. */
static void open_all(struct e2e *t, struct client *k, weft_conn **c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CU_ASSERT(e2e_open(t, &k[i]));
        if (c)
            c[i] = e2e_take(t, i);
    }
}

static void close_all(struct client *k, weft_conn **c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        client_close(&k[i]);
        if (c)
            weft_conn_unref(c[i]);
    }
}

static void broadcast(weft_group *g, const char *text, weft_conn *except)
{
    CU_ASSERT_EQUAL(weft_group_broadcast(g, e2e_text(text), except), WEFT_OK);
}

ALL_MODES(a_broadcast_reaches_every_member_but_the_excepted_one)
{
    enum { CONNS = 5 };
    struct client k[CONNS];
    weft_conn *c[CONNS];
    weft_group *all;

    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, k, c, CONNS);
    all = weft_server_group(t->server);
    CU_ASSERT_EQUAL(weft_group_count(all), CONNS);
    broadcast(all, "one", NULL);
    broadcast(all, "two", c[2]);
    broadcast(all, "three", NULL);
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT(client_hears(&k[i], "one"));
        if (i != 2)
            CU_ASSERT(client_hears(&k[i], "two"));
        CU_ASSERT(client_hears(&k[i], "three"));
    }
    close_all(k, c, CONNS);
}

ALL_MODES(only_members_are_reached_and_membership_is_by_group)
{
    enum { CONNS = 4 };
    struct client k[CONNS];
    weft_conn *c[CONNS];
    weft_group *even, *late;

    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, k, c, CONNS);
    CU_ASSERT_EQUAL(weft_group_new(&even), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_new(&late), WEFT_OK);
    broadcast(even, "nobody", NULL);
    CU_ASSERT_EQUAL(weft_group_add(even, c[0]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(even, c[2]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(even, c[2]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(late, c[2]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(late, c[3]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_count(even), 2);
    broadcast(even, "even", NULL);
    broadcast(late, "late", NULL);
    CU_ASSERT_EQUAL(weft_group_remove(even, c[2]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_remove(even, c[2]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_count(even), 1);
    broadcast(even, "left", NULL);
    broadcast(weft_server_group(t->server), "end", NULL);
    CU_ASSERT(client_hears(&k[0], "even") && client_hears(&k[0], "left") && client_hears(&k[0], "end"));
    CU_ASSERT(client_hears(&k[1], "end"));
    CU_ASSERT(client_hears(&k[2], "even") && client_hears(&k[2], "late") && client_hears(&k[2], "end"));
    CU_ASSERT(client_hears(&k[3], "late") && client_hears(&k[3], "end"));
    weft_group_unref(even);
    weft_group_unref(late);
    close_all(k, c, CONNS);
}

static void must_have_left(weft_conn *c, const weft_close_info *info, struct seen *s)
{
    (void)info;
    if (weft_group_add(s->t->arg, c) != WEFT_E_CLOSED)
        e2e_fault(s->t, "a closed connection may enter a group");
}

ALL_MODES(members_leave_when_they_close)
{
    enum { CONNS = 6 };
    struct client k[CONNS];
    weft_conn *c[CONNS];
    weft_group *g;

    CU_ASSERT_EQUAL(weft_group_new(&g), WEFT_OK);
    t->on_close = must_have_left;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, k, c, CONNS);
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT_EQUAL(weft_group_add(g, c[i]), WEFT_OK);
    client_close(&k[0]);
    client_reset(&k[1]);
    weft_conn_abort(c[2]);
    WAIT_FOR(t->closed == 3);
    CU_ASSERT_EQUAL(weft_group_count(g), 3);
    CU_ASSERT_EQUAL(weft_group_count(weft_server_group(t->server)), 3);
    broadcast(g, "the rest", NULL);
    for (int i = 3; i < CONNS; i++)
        CU_ASSERT(client_hears(&k[i], "the rest"));
    e2e_stop(t, 0);
    CU_ASSERT_EQUAL(weft_group_count(g), 0);
    broadcast(g, "nobody", NULL);
    close_all(k, c, CONNS);
    weft_group_unref(g);
}

/* The group's last handle goes before its members do. */
ALL_MODES(a_group_lives_as_long_as_it_has_members)
{
    struct client k;
    weft_conn *c;
    weft_group *g;

    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, &k, &c, 1);
    CU_ASSERT_EQUAL(weft_group_new(&g), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(g, c), WEFT_OK);
    weft_group_unref(g);
    close_all(&k, &c, 1);
    WAIT_FOR(t->closed == 1);
}

/* --- each --- */

struct walk {
    weft_group *group, *other;
    unsigned visits, limit;
};

static bool change_both(weft_conn *c, void *arg)
{
    struct walk *w = arg;

    w->visits++;
    if (weft_group_remove(w->group, c) != WEFT_OK || weft_group_add(w->other, c) != WEFT_OK)
        return false;
    weft_conn_send_text(c, "moved");
    return w->visits != w->limit;
}

ALL_MODES(visit_may_add_remove_and_send)
{
    enum { CONNS = 8 };
    struct client k[CONNS];
    weft_conn *c[CONNS];
    struct walk w = {0};

    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, k, c, CONNS);
    CU_ASSERT_EQUAL(weft_group_new(&w.group), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_new(&w.other), WEFT_OK);
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT_EQUAL(weft_group_add(w.group, c[i]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_each(w.group, change_both, &w), WEFT_OK);
    CU_ASSERT_EQUAL(w.visits, CONNS);
    CU_ASSERT_EQUAL(weft_group_count(w.group), 0);
    CU_ASSERT_EQUAL(weft_group_count(w.other), CONNS);
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_hears(&k[i], "moved"));
    w = (struct walk){.group = w.other, .other = w.group, .limit = 3};
    CU_ASSERT_EQUAL(weft_group_each(w.group, change_both, &w), WEFT_OK);
    CU_ASSERT_EQUAL(w.visits, 3);
    CU_ASSERT_EQUAL(weft_group_count(w.group), CONNS - 3);
    CU_ASSERT_EQUAL(weft_group_count(w.other), 3);
    weft_group_unref(w.group);
    weft_group_unref(w.other);
    close_all(k, c, CONNS);
}

static bool close_it(weft_conn *c, void *arg)
{
    (void)arg;
    weft_conn_close(c, 1000, NULL);
    return true;
}

ALL_MODES(visit_may_close)
{
    enum { CONNS = 8 };
    struct client k[CONNS];

    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, k, NULL, CONNS);
    CU_ASSERT_EQUAL(weft_group_each(weft_server_group(t->server), close_it, NULL), WEFT_OK);
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT(client_hears_close(&k[i], 1000));
        client_close(&k[i]);
    }
    WAIT_FOR(t->closed == CONNS);
    CU_ASSERT_EQUAL(weft_group_count(weft_server_group(t->server)), 0);
}

/* --- many at once --- */

struct speaker {
    pthread_t thread;
    struct e2e *t;
    unsigned number, count;
    int rc;
};

static void *speak(void *arg)
{
    struct speaker *s = arg;

    for (unsigned i = 0; i < s->count && s->rc == WEFT_OK; i++) {
        char text[32];
        weft_msg *m;
        snprintf(text, sizeof text, "%u %u", s->number, i);
        m = e2e_text(text);
        s->rc = weft_group_broadcast(weft_server_group(s->t->server), m, NULL);
        if (s->rc != WEFT_OK)
            weft_msg_unref(m);
    }
    return NULL;
}

ALL_MODES(broadcasts_of_four_threads_reach_two_hundred_connections_in_order)
{
    enum { CONNS = 200, SPEAKERS = 4 };
    unsigned count = unit_is_slow() ? 50 : 250, failed = 0;
    struct client *k = calloc(CONNS, sizeof *k);
    struct speaker s[SPEAKERS];

    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    WAIT_FOR(weft_group_count(weft_server_group(t->server)) == CONNS);
    for (unsigned i = 0; i < SPEAKERS; i++) {
        s[i] = (struct speaker){.t = t, .number = i, .count = count};
        pthread_create(&s[i].thread, NULL, speak, &s[i]);
    }
    for (int i = 0; i < CONNS; i++) {
        unsigned next[SPEAKERS] = {0};
        for (unsigned n = 0; n < SPEAKERS * count; n++) {
            char text[32] = "";
            unsigned who = SPEAKERS, number = 0;
            struct frame f;
            if (client_hear(&k[i], &f) != CLIENT_OK || f.bytes >= sizeof text) {
                failed++;
                break;
            }
            memcpy(text, f.payload, f.bytes);
            if (sscanf(text, "%u %u", &who, &number) != 2 || who >= SPEAKERS || number != next[who]++) {
                failed++;
                break;
            }
        }
    }
    CU_ASSERT_EQUAL(failed, 0);
    for (unsigned i = 0; i < SPEAKERS; i++) {
        pthread_join(s[i].thread, NULL);
        CU_ASSERT_EQUAL(s[i].rc, WEFT_OK);
    }
    for (int i = 0; i < CONNS; i++)
        client_close(&k[i]);
    free(k);
}

/* A burst from a handler leaves together: one write for each member, or little more. */
static void burst(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)c;
    for (int i = 0; i < 8; i++)
        if (weft_group_broadcast(weft_server_group(s->t->server), weft_msg_ref(m), NULL) != WEFT_OK)
            e2e_fault(s->t, "a broadcast failed");
    weft_msg_unref(m);
}

ALL_MODES(a_burst_of_broadcasts_costs_few_writes)
{
    enum { CONNS = 50, BURSTS = 20 };
    struct client k[CONNS];
    uint64_t before, writes;

    t->on_message = burst;
    CU_ASSERT_FATAL(e2e_start(t));
    open_all(t, k, NULL, CONNS);
    WAIT_FOR((before = e2e_stats(t).writes) >= CONNS); /* counted behind the call */
    for (int b = 0; b < BURSTS; b++) {
        CU_ASSERT(client_say(&k[0], "burst"));
        for (int i = 0; i < CONNS; i++)
            for (int n = 0; n < 8; n++)
                CU_ASSERT(client_hears(&k[i], "burst"));
    }
    WAIT_FOR(e2e_stats(t).writes - before >=
             BURSTS * CONNS); /* counted behind the call, so perhaps behind its effect */
    writes = e2e_stats(t).writes - before;
    if (t->mode->is_inline && t->mode->io_threads == 1)
        CU_ASSERT_EQUAL(writes, BURSTS * CONNS); /* the I/O thread itself was busy with the handler */
    CU_ASSERT(writes >= BURSTS * CONNS);
    CU_ASSERT(writes <= BURSTS * CONNS * 4);
    close_all(k, NULL, CONNS);
}

/* Connections come and go while others broadcast and walk. */
struct changer {
    pthread_t thread;
    struct e2e *t;
    weft_group *group;
    _Atomic int is_over;
};

static bool just_look(weft_conn *c, void *arg)
{
    (void)arg;
    return weft_conn_id(c) != 0;
}

static bool enter_or_leave(weft_conn *c, void *arg)
{
    struct changer *x = arg;

    if (weft_conn_id(c) % 2)
        weft_group_add(x->group, c);
    else
        weft_group_remove(x->group, c);
    return true;
}

static void *change_members(void *arg)
{
    struct changer *x = arg;

    while (!atomic_load(&x->is_over)) {
        weft_group_each(weft_server_group(x->t->server), enter_or_leave, x);
        weft_msg *m = e2e_text("members");
        if (weft_group_broadcast(x->group, m, NULL) != WEFT_OK) {
            weft_msg_unref(m);
            e2e_fault(x->t, "a broadcast failed");
        }
        weft_group_each(x->group, just_look, NULL);
        weft_group_count(x->group);
    }
    return NULL;
}

ALL_MODES(groups_survive_connections_that_come_and_go)
{
    unsigned rounds = unit_is_slow() ? 30 : 100;
    struct changer x[2];
    weft_group *g;
    int code;

    CU_ASSERT_EQUAL(weft_group_new(&g), WEFT_OK);
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 2; i++) {
        memset(&x[i], 0, sizeof x[i]);
        x[i].t = t;
        x[i].group = g;
        pthread_create(&x[i].thread, NULL, change_members, &x[i]);
    }
    for (unsigned i = 0; i < rounds; i++) {
        struct client k[3];
        for (int n = 0; n < 3; n++)
            CU_ASSERT(client_open(&k[n], t->port));
        client_close(&k[0]);
        client_reset(&k[1]);
        client_say_close(&k[2], 1000);
        /* The broadcasts come as fast as they can: the slow-reader policy may have been quicker. */
        code = client_skip_to_close(&k[2]);
        CU_ASSERT(code == 1000 || code == 1008);
        client_close(&k[2]);
    }
    for (int i = 0; i < 2; i++)
        atomic_store(&x[i].is_over, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(x[i].thread, NULL);
    WAIT_FOR(t->closed == 3 * rounds);
    CU_ASSERT_EQUAL(weft_group_count(g), 0);
    weft_group_unref(g);
}

static const struct unit_case cases[] = {
    CASE(a_broadcast_reaches_every_member_but_the_excepted_one),
    CASE(only_members_are_reached_and_membership_is_by_group),
    CASE(members_leave_when_they_close),
    CASE(a_group_lives_as_long_as_it_has_members),
    CASE(visit_may_add_remove_and_send),
    CASE(visit_may_close),
    CASE(broadcasts_of_four_threads_reach_two_hundred_connections_in_order),
    CASE(a_burst_of_broadcasts_costs_few_writes),
    CASE(groups_survive_connections_that_come_and_go),
};
E2E_MAIN("e2e_groups")
