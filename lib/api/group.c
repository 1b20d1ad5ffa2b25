/* Groups: who is a member, and the broadcast to a snapshot of them.
 *
 * G1  A group's members stand in an array that is counted by reference. A snapshot takes a reference and
 *     reads without a lock. Who changes the members of an array that somebody else reads makes a copy first.
 * G2  An array holds a reference of each connection in it, and so does its copy.
 * G3  A membership (struct member) joins a group and a connection. Lists of memberships are under the
 *     connection's member lock, arrays and indexes under the group's lock. Order: member lock, then group
 *     lock.
 * G4  A connection that left all its groups for good (is_closed was set before) can enter none.
 * G5  No lock is held while a message is pushed or the program is called.
 * A group lives as long as it has a handle or a member: each membership holds a reference. */
#include "api/group.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"

struct array {
    _Atomic uint32_t refs; /* acq_rel at the end: ARRAY_LAST */
    size_t count, room;
    struct member *members[];
};

/* struct member, in core/conn.h:
 *   group   under the member lock: one reference, given back by who takes the member off the connection's
 *           list; NULL: it is on no list
 *   next    under the member lock: other groups of the connection
 *   index   under the group's lock: place in the current array
 *   refs    MEMBER_ONE for each array that holds it; acq_rel at the end: MEMBER_LAST. With the last one
 *           goes a reference of the connection
 * The first membership of a connection stands in the connection, which its address tells; that place is
 * free while refs is 0. It heads the list of the others, also while it is itself on none. Those others are
 * far members, and know their connection. */
struct far_member {
    struct member member;
    struct weft_conn *conn; /* (c) */
};

#define MEMBER_IS_FAR 1u /* in refs, constant */
#define MEMBER_ONE    2u

struct weft_group {
    pthread_mutex_t lock;
    struct array *array; /* under lock; NULL: no member yet */
    _Atomic uint32_t refs;
};

#define RETRY_US 1000

/* Locks for the lists of memberships, shared by connections whose numbers fall together. */
#define MEMBER_LOCKS 64
static pthread_mutex_t member_locks[MEMBER_LOCKS] = {
#define LOCKS_4                                                                                              \
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER
#define LOCKS_16 LOCKS_4, LOCKS_4, LOCKS_4, LOCKS_4
    LOCKS_16, LOCKS_16, LOCKS_16, LOCKS_16};

static pthread_mutex_t *member_lock(const struct weft_conn *c)
{
    return &member_locks[c->id % MEMBER_LOCKS];
}

/* --- references --- */

int weft_group_new(weft_group **out)
{
    weft_group *g;

    if (!out)
        return WEFT_E_INVAL;
    g = mem_calloc(1, sizeof *g);
    if (!g)
        return WEFT_E_NOMEM;
    pthread_mutex_init(&g->lock, NULL);
    atomic_init(&g->refs, 1);
    *out = g;
    return WEFT_OK;
}

weft_group *weft_group_ref(weft_group *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed); /* who takes one has one */
    return g;
}

/* Relaxed: the bit is constant while one has a reference. */
static struct weft_conn *conn_of(struct member *m)
{
    if (atomic_load_explicit(&m->refs, memory_order_relaxed) & MEMBER_IS_FAR)
        return ((struct far_member *)m)->conn;
    return (struct weft_conn *)(void *)((char *)m - offsetof(struct weft_conn, first_member));
}

static void unref_member(struct member *m)
{
    struct weft_conn *c = conn_of(m); /* behind the last reference its place may be in use again */
    uint32_t before =
        atomic_fetch_sub_explicit(&m->refs, MEMBER_ONE, ORDER(MEMBER_LAST, memory_order_acq_rel));

    if (before / MEMBER_ONE != 1)
        return;
    if (before & MEMBER_IS_FAR)
        mem_free(m);
    conn_unref(c);
}

static void unref_array(struct array *a)
{
    if (!a || atomic_fetch_sub_explicit(&a->refs, 1, ORDER(ARRAY_LAST, memory_order_acq_rel)) != 1)
        return;
    for (size_t i = 0; i < a->count; i++)
        unref_member(a->members[i]);
    mem_free(a);
}

void weft_group_unref(weft_group *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, ORDER(GROUP_LAST, memory_order_acq_rel)) != 1)
        return;
    unref_array(g->array);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

/* --- members --- */

/* Under the group's lock: an array of our own with room for one more (G1). NULL: no memory, nothing
 * changed. */
static struct array *own_array(weft_group *g, size_t room)
{
    struct array *old = g->array, *a;
    bool is_ours = old && atomic_load_explicit(&old->refs, ORDER(ARRAY_LAST, memory_order_acquire)) == 1;

    if (is_ours && old->room >= room)
        return old;
    /* Not doubled: it is part of what an idle member keeps. */
    if (old && room < old->count + old->count / 4 + 4)
        room = old->count + old->count / 4 + 4;
    a = is_ours ? mem_realloc(old, sizeof *a + room * sizeof a->members[0])
                : mem_alloc(sizeof *a + room * sizeof a->members[0]);
    if (!a)
        return NULL;
    a->room = room;
    if (!is_ours) {
        atomic_init(&a->refs, 1);
        a->count = old ? old->count : 0;
        for (size_t i = 0; i < a->count; i++) {
            a->members[i] = old->members[i];
            atomic_fetch_add_explicit(&a->members[i]->refs, MEMBER_ONE,
                                      memory_order_relaxed); /* under the lock old holds it */
        }
        unref_array(old);
    }
    g->array = a;
    return a;
}

/* Under the member lock. */
static struct member *find_member(struct weft_conn *c, const weft_group *g)
{
    for (struct member *m = &c->first_member; m; m = m->next)
        if (m->group == g)
            return m;
    return NULL;
}

static int put_into_array(weft_group *g, struct member *m)
{
    struct array *a;

    pthread_mutex_lock(&g->lock);
    a = own_array(g, g->array ? g->array->count + 1 : 1);
    if (a) {
        m->index = (uint32_t)a->count;
        a->members[a->count++] = m;
    }
    pthread_mutex_unlock(&g->lock);
    return a ? WEFT_OK : WEFT_E_NOMEM;
}

/* Under the member lock, which makes it the only one that takes the first place. The group's lock hands it
 * over. */
static struct member *new_member(struct weft_conn *c)
{
    struct member *m = &c->first_member;
    struct far_member *far;

    if (atomic_load_explicit(&m->refs, ORDER(MEMBER_LAST, memory_order_acquire)) == 0) {
        atomic_store_explicit(&m->refs, MEMBER_ONE, memory_order_relaxed);
    } else {
        far = mem_calloc(1, sizeof *far);
        if (!far)
            return NULL;
        far->conn = c;
        m = &far->member;
        atomic_init(&m->refs, MEMBER_ONE | MEMBER_IS_FAR);
    }
    conn_ref(c);
    return m;
}

/* Under the member lock: put it on the connection's list. */
static void list_member(struct weft_conn *c, struct member *m, weft_group *g)
{
    m->group = weft_group_ref(g);
    if (m == &c->first_member)
        return;
    m->next = c->first_member.next;
    c->first_member.next = m;
}

/* Under the member lock: and off it. */
static void unlist_member(struct weft_conn *c, struct member *m)
{
    struct member *before = &c->first_member;

    m->group = NULL;
    if (m == before)
        return;
    while (before->next != m)
        before = before->next;
    before->next = m->next;
}

/* Under the member lock. */
static int add_member(weft_group *g, struct weft_conn *c)
{
    struct member *m;

    if (atomic_load_explicit(&c->is_closed, ORDER(CLOSE_INFO, memory_order_acquire)))
        return WEFT_E_CLOSED;
    if (find_member(c, g))
        return WEFT_OK;
    m = new_member(c);
    if (!m)
        return WEFT_E_NOMEM;
    if (put_into_array(g, m) != WEFT_OK) {
        unref_member(m);
        return WEFT_E_NOMEM;
    }
    list_member(c, m, g);
    return WEFT_OK;
}

int weft_group_add(weft_group *g, weft_conn *c)
{
    int rc;

    if (!g || !c)
        return WEFT_E_INVAL;
    pthread_mutex_lock(member_lock(c));
    rc = add_member(g, c);
    pthread_mutex_unlock(member_lock(c));
    return rc;
}

/* Take the member out of the array. False: a snapshot reads the array, and there is no memory for a copy. */
static bool take_out(weft_group *g, struct member *m)
{
    struct array *a;

    pthread_mutex_lock(&g->lock);
    a = own_array(g, g->array->count);
    if (a) {
        a->members[m->index] = a->members[--a->count];
        a->members[m->index]->index = m->index;
    }
    pthread_mutex_unlock(&g->lock);
    return a != NULL;
}

int weft_group_remove(weft_group *g, weft_conn *c)
{
    struct member *m;

    if (!g || !c)
        return WEFT_E_INVAL;
    pthread_mutex_lock(member_lock(c));
    m = find_member(c, g);
    if (m && !take_out(g, m)) {
        pthread_mutex_unlock(member_lock(c));
        return WEFT_E_NOMEM;
    }
    if (m)
        unlist_member(c, m);
    pthread_mutex_unlock(member_lock(c));
    if (m) {
        unref_member(m);
        weft_group_unref(g);
    }
    return WEFT_OK;
}

/* A group of which it is a member, with a reference for the caller; NULL: none is left. */
static weft_group *any_group(weft_conn *c)
{
    weft_group *g = NULL;

    pthread_mutex_lock(member_lock(c));
    for (struct member *m = &c->first_member; m && !g; m = m->next)
        if (m->group)
            g = weft_group_ref(m->group);
    pthread_mutex_unlock(member_lock(c));
    return g;
}

void group_leave_all(weft_conn *c)
{
    for (;;) {
        weft_group *g = any_group(c);

        if (!g)
            return;
        if (weft_group_remove(g, c) == WEFT_E_NOMEM)
            usleep(RETRY_US); /* the reader of the snapshot lets go of it, or memory comes back */
        weft_group_unref(g);
    }
}

/* --- snapshots --- */

static struct array *snapshot(weft_group *g)
{
    struct array *a;

    pthread_mutex_lock(&g->lock);
    a = g->array;
    if (a)
        atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed); /* under the lock the group holds it */
    pthread_mutex_unlock(&g->lock);
    return a;
}

size_t weft_group_count(weft_group *g)
{
    size_t count;

    pthread_mutex_lock(&g->lock);
    count = g->array ? g->array->count : 0;
    pthread_mutex_unlock(&g->lock);
    return count;
}

int weft_group_each(weft_group *g, bool (*visit)(weft_conn *c, void *arg), void *arg)
{
    struct array *a;

    if (!g || !visit)
        return WEFT_E_INVAL;
    a = snapshot(g);
    for (size_t i = 0; a && i < a->count; i++)
        if (!visit(conn_of(a->members[i]), arg))
            break;
    unref_array(a);
    return WEFT_OK;
}

/* --- broadcast --- */

static size_t receivers(const struct array *a, const weft_conn *except)
{
    size_t count = a->count;

    for (size_t i = 0; except && i < a->count; i++)
        count -= conn_of(a->members[i]) == except;
    return count;
}

/* Members are far apart in memory: fetch the one that comes soon. */
static void prefetch(const struct array *a, size_t i)
{
    if (i + 8 < a->count)
        __builtin_prefetch(&a->members[i + 8]->refs);
    if (i + 4 < a->count)
        __builtin_prefetch(&conn_of(a->members[i + 4])->outbox);
}

int weft_group_broadcast(weft_group *g, weft_msg *m, weft_conn *except)
{
    struct outbox_fan fan;
    struct array *a;
    size_t count;

    if (!g || !m)
        return WEFT_E_INVAL;
    a = snapshot(g);
    count = a ? receivers(a, except) : 0;
    if (!outbox_fan_init(&fan, m, count)) {
        unref_array(a);
        return WEFT_E_NOMEM;
    }
    for (size_t i = 0; fan.left; i++) {
        prefetch(a, i);
        if (conn_of(a->members[i]) != except)
            outbox_fan_send(&fan, conn_of(a->members[i]));
    }
    outbox_fan_fini(&fan);
    unref_array(a);
    weft_msg_unref(m);
    return WEFT_OK;
}
