/* Sessions that follow each other; see sessions.h. */
#include "core/sessions.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/random.h"
#include "core/attempt.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/settings.h"
#include "core/waits.h"
#include "sync/cancel.h"
#include "sync/park.h"
#include "sync/wake.h"

/* What callbacks have beyond the deadline of sessions_stop. */
#define GRACE_MS    1000
#define STACK_BYTES (256u * 1024u)
/* While a callback of the last session runs, so often is looked whether the next one is still wanted. */
#define LOOK_MS 50

/* --- life --- */

static void free_client(struct weft_client *client)
{
    if (client->session)
        conn_unref(client->session);
    if (client->ep)
        endpoint_unref(client->ep);
    if (client->cancel_fd >= 0)
        close(client->cancel_fd);
    failure_free(client->failure);
    client_how_fini(&client->how);
    pthread_mutex_destroy(&client->lock);
    mem_free(client);
}

static int make_endpoint(struct weft_client *client, struct engine *e, const struct engine_hooks *hooks)
{
    struct settings settings = {0};
    int rc = settings_init_client(&settings, &client->how.opts);

    if (rc == WEFT_OK)
        rc = endpoint_new(&client->ep, e, &settings, hooks);
    return rc;
}

int sessions_new(struct weft_client **out, struct engine *e, const char *url, const weft_client_opts *opts,
                 const struct engine_hooks *hooks)
{
    struct weft_client *client = mem_calloc(1, sizeof *client);
    int rc;

    if (!client)
        return WEFT_E_NOMEM;
    pthread_mutex_init(&client->lock, NULL);
    atomic_init(&client->making, 0);
    atomic_init(&client->handles, 1);
    atomic_init(&client->refs, 1);
    client->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->failure = failure_new();
    rc = client->cancel_fd < 0 ? WEFT_E_SYSTEM : client->failure ? WEFT_OK : WEFT_E_NOMEM;
    if (rc == WEFT_OK)
        rc = client_how_init(&client->how, url, opts);
    if (rc == WEFT_OK)
        rc = make_endpoint(client, e, hooks);
    if (rc != WEFT_OK) {
        free_client(client);
        return rc;
    }
    *out = client;
    return WEFT_OK;
}

static void unref_memory(struct weft_client *client)
{
    if (atomic_fetch_sub_explicit(&client->refs, 1, ORDER(CLIENT_LAST, memory_order_acq_rel)) == 1)
        free_client(client);
}

/* --- ending a session --- */

static void tell(int event_fd)
{
    if (!wake_tell(event_fd))
        LOG(WEFT_LOG_ERROR, 0, "an eventfd takes no count");
}

/* K3. No more attempts, and the session closes. */
static void stop_attempts(struct weft_client *client)
{
    pthread_mutex_lock(&client->lock);
    tell(client->cancel_fd);
    client->is_stopping = true;
    if (client->session)
        outbox_close(client->session, WEFT_CLOSE_GOING_AWAY, NULL);
    pthread_mutex_unlock(&client->lock);
}

static void drop_session(struct weft_client *client)
{
    pthread_mutex_lock(&client->lock);
    client->is_dropped = true;
    if (client->session)
        conn_abort(client->session);
    pthread_mutex_unlock(&client->lock);
}

/* On the thread that makes sessions, so in on_failure or should_retry. */
static bool is_maker(struct weft_client *client)
{
    bool is;

    pthread_mutex_lock(&client->lock);
    /* Relaxed: changed under the lock. */
    is = atomic_load_explicit(&client->making, memory_order_relaxed) &&
         pthread_equal(client->maker, pthread_self());
    pthread_mutex_unlock(&client->lock);
    return is;
}

/* K3. False: until_ms came first. */
static bool wait_for_all(struct weft_client *client, uint64_t until_ms)
{
    return engine_wait_for_zero(&client->making, until_ms) && endpoint_wait(client->ep, until_ms);
}

/* The thread of the client has nothing more to wait for. False: it is joined already, or was never started.
 * */
static bool may_join(struct weft_client *client)
{
    bool may;

    pthread_mutex_lock(&client->lock);
    may = client->is_started && !client->is_joined;
    client->is_joined = true;
    pthread_mutex_unlock(&client->lock);
    return may;
}

int sessions_stop(struct weft_client *client, uint32_t deadline_ms)
{
    uint64_t until_ms = clock_now_ms() + deadline_ms;

    if (thr_owner() == client->ep->engine || is_maker(client))
        return WEFT_E_STATE;
    stop_attempts(client);
    if (!wait_for_all(client, until_ms)) {
        drop_session(client);
        if (!wait_for_all(client, clock_now_ms() + GRACE_MS))
            return WEFT_E_TIMEOUT;
    }
    if (may_join(client))
        pthread_join(client->thread, NULL);
    return WEFT_OK;
}

struct weft_client *sessions_ref(struct weft_client *client)
{
    atomic_fetch_add_explicit(&client->handles, 1, memory_order_relaxed); /* who takes one has one */
    return client;
}

void sessions_unref(struct weft_client *client)
{
    if (atomic_fetch_sub_explicit(&client->handles, 1, ORDER(CLIENT_LAST, memory_order_acq_rel)) != 1)
        return;
    stop_attempts(client);
    drop_session(client);
    if (may_join(client)) {
        /* Its thread has nothing to wait for any more, but for us if it called us. */
        if (thr_owner() == client->ep->engine || pthread_equal(pthread_self(), client->thread))
            pthread_detach(client->thread);
        else
            pthread_join(client->thread, NULL);
    }
    unref_memory(client);
}

/* --- delays --- */

static uint32_t random_below(uint32_t bound)
{
    uint32_t n = 0;

    if (!random_fill(&n, sizeof n))
        n = (uint32_t)clock_now_ns();
    return n % bound;
}

/* Before the attempt behind so many failures. */
static uint32_t delay_ms(const weft_client_opts *o, uint32_t failures)
{
    double ms = o->reconnect_min_ms;

    if (failures <= 1)
        return random_below(o->reconnect_first_ms + 1);
    for (uint32_t i = 2; i < failures && ms < o->reconnect_max_ms; i++)
        ms *= 1.618;
    return ms < o->reconnect_max_ms ? (uint32_t)ms : o->reconnect_max_ms;
}

static bool is_passing(const struct weft_failure *f)
{
    switch (f->error) {
    case WEFT_E_REFUSED:
        return f->status == 500 || (f->status >= 502 && f->status <= 504);
    case WEFT_E_SYSTEM:
    case WEFT_E_TIMEOUT:
    case WEFT_E_ADDRESS:
    case WEFT_E_CLOSED:
    case WEFT_E_NOMEM:
    case WEFT_E_AGAIN:
        return true;
    default:
        return false;
    }
}

/* --- the next session --- */

/* True: another attempt is due, at not_before_ms. */
static bool shall_retry(struct weft_client *client)
{
    const weft_client_opts *o = &client->how.opts;
    const struct weft_failure *f = client->failure;
    uint32_t ms = UINT32_MAX;
    bool retry = o->reconnect && (o->should_retry ? o->should_retry(f, o->app) : is_passing(f));

    if (retry) {
        ms = delay_ms(o, ++client->failures);
        client->not_before_ms = clock_now_ms() + ms;
    }
    LOG(WEFT_LOG_INFO, 0, "no connection: %s", f->text);
    if (o->on_failure)
        o->on_failure(f, ms, o->app);
    return retry;
}

/* K2, K3 */
static int keep_session(struct weft_client *client, struct weft_conn *c)
{
    bool is_late;

    pthread_mutex_lock(&client->lock);
    is_late = client->is_stopping;
    client->session = c;
    if (client->is_dropped)
        conn_abort(c);
    else if (is_late)
        outbox_close(c, WEFT_CLOSE_GOING_AWAY, NULL);
    pthread_mutex_unlock(&client->lock);
    return is_late ? WEFT_E_CLOSED : WEFT_OK;
}

static void forget_session(struct weft_client *client)
{
    struct weft_conn *c;

    pthread_mutex_lock(&client->lock);
    c = client->session;
    client->session = NULL;
    pthread_mutex_unlock(&client->lock);
    conn_unref(c);
}

/* K5. Not of the session alone: an attempt that was canceled may have opened one, too. */
static int wait_for_callbacks(struct weft_client *client, uint64_t deadline_ms)
{
    struct await_limit limit = {deadline_ms, client->cancel_fd};
    int rc = WEFT_OK;

    while (rc == WEFT_OK && !endpoint_wait(client->ep, clock_now_ms() + LOOK_MS))
        rc = await_look(&limit);
    return rc;
}

/* Until the last session has ended. */
static int wait_for_end(struct weft_client *client, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t left_ms = deadline_ms == AWAIT_FOREVER ? WEFT_FOREVER
                       : deadline_ms > now_ms       ? deadline_ms - now_ms
                                                    : 0;
    int rc;

    if (!client->session)
        return wait_for_callbacks(client, deadline_ms);
    rc = waits_closed(client->session, (uint32_t)left_ms);
    if (rc == WEFT_OK)
        rc = wait_for_callbacks(client, deadline_ms);
    if (rc != WEFT_OK)
        return rc;
    forget_session(client);
    if (client->how.opts.reconnect)
        client->not_before_ms = clock_now_ms() + random_below(client->how.opts.reconnect_first_ms + 1);
    return WEFT_OK;
}

static int attempt(struct weft_client *client, uint64_t deadline_ms, struct weft_conn **c)
{
    struct await_limit limit = {clock_now_ms() + client->how.opts.open_timeout_ms, client->cancel_fd};
    int rc;

    if (deadline_ms < limit.deadline_ms)
        limit.deadline_ms = deadline_ms;
    rc = attempt_run(client->ep, &client->how, &limit, c, client->failure);
    if (rc == WEFT_OK)
        client->failures = 0;
    return rc;
}

/* Until the next attempt is due. */
static int wait_for_turn(struct weft_client *client, uint64_t deadline_ms)
{
    struct await_limit limit = {deadline_ms, client->cancel_fd};
    struct pollfd fds[1];
    int rc;

    do {
        rc = await_fds(fds, 1, &limit, client->not_before_ms);
    } while (rc == WEFT_OK);
    if (rc == WEFT_E_TIMEOUT && clock_now_ms() < deadline_ms)
        rc = WEFT_OK;
    return rc;
}

static int make_session(struct weft_client *client, uint64_t deadline_ms, struct weft_conn **c)
{
    int rc = wait_for_end(client, deadline_ms);

    while (rc == WEFT_OK) {
        rc = wait_for_turn(client, deadline_ms);
        if (rc != WEFT_OK)
            return rc;
        rc = attempt(client, deadline_ms, c);
        if (rc == WEFT_OK)
            return keep_session(client, *c);
        if (rc == WEFT_E_CANCELED || (rc == WEFT_E_TIMEOUT && clock_now_ms() >= deadline_ms))
            return rc;
        if (shall_retry(client))
            rc = WEFT_OK;
    }
    return rc;
}

static int claim(struct weft_client *client, bool is_own_thread)
{
    int rc = WEFT_OK;

    pthread_mutex_lock(&client->lock);
    if (client->is_stopping)
        rc = WEFT_E_CLOSED;
    else if (atomic_load_explicit(&client->making, memory_order_relaxed) ||
             (client->is_started && !is_own_thread))
        rc = WEFT_E_STATE; /* relaxed: changed under the lock */
    if (rc == WEFT_OK) {
        client->was_asked = true;
        client->maker = pthread_self();
        atomic_store_explicit(&client->making, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&client->lock);
    return rc;
}

static int release(struct weft_client *client, int rc)
{
    pthread_mutex_lock(&client->lock);
    atomic_store_explicit(&client->making, 0, ORDER(MAKING, memory_order_release));
    if (rc == WEFT_E_CANCELED && client->is_stopping)
        rc = WEFT_E_CLOSED;
    pthread_mutex_unlock(&client->lock);
    park_futex_wake(&client->making, INT32_MAX);
    return rc;
}

/* What cancels the calling task ends the attempt. */
struct task_hook {
    struct cancel_hook hook; /* first */
    int event_fd;
};

static void cancel_attempt(struct cancel_hook *hook)
{
    tell(((struct task_hook *)hook)->event_fd);
}

/* What was canceled was the calling task; the client goes on. */
static void unless_stopping_drain(struct weft_client *client)
{
    pthread_mutex_lock(&client->lock);
    if (!client->is_stopping && !wake_take(client->cancel_fd))
        LOG(WEFT_LOG_ERROR, 0, "an eventfd lost its count");
    pthread_mutex_unlock(&client->lock);
}

static int make_session_of_task(struct weft_client *client, uint64_t deadline_ms, struct weft_conn **c)
{
    struct task_hook hook = {{.fire = cancel_attempt}, client->cancel_fd};
    int rc;

    if (!cancel_add(&hook.hook))
        return WEFT_E_CANCELED;
    rc = make_session(client, deadline_ms, c);
    if (!cancel_remove(&hook.hook))
        unless_stopping_drain(client);
    return rc;
}

static int next(struct weft_client *client, struct weft_conn **out, uint32_t timeout_ms, bool is_own_thread)
{
    uint64_t deadline_ms = timeout_ms == WEFT_FOREVER ? AWAIT_FOREVER : clock_now_ms() + timeout_ms;
    struct weft_conn *c = NULL;
    int rc = claim(client, is_own_thread);

    if (rc != WEFT_OK)
        return rc;
    rc = make_session_of_task(client, deadline_ms, &c);
    if (rc == WEFT_OK && out) {
        conn_ref(c);
        *out = c;
    }
    return release(client, rc);
}

int sessions_next(struct weft_client *client, struct weft_conn **out, uint32_t timeout_ms)
{
    return thr_kind() == THR_IO ? WEFT_E_STATE : next(client, out, timeout_ms, false);
}

int sessions_connect(struct weft_client *client, struct weft_conn **out)
{
    int rc;

    client->how.opts.reconnect = false; /* nobody else knows this client */
    rc = sessions_next(client, out, WEFT_FOREVER);
    if (rc == WEFT_OK)
        forget_session(client);
    return rc;
}

/* --- the client's own thread --- */

static void *run_sessions(void *arg)
{
    struct weft_client *client = arg;
    int rc;

    thr_name("weft-client");
    do {
        rc = next(client, NULL, WEFT_FOREVER, true);
    } while (rc == WEFT_OK && client->how.opts.reconnect);
    unref_memory(client);
    return NULL;
}

static int start_thread(struct weft_client *client)
{
    pthread_attr_t attributes;
    int failed;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES + thr_local_bytes());
    atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
    failed = pthread_create(&client->thread, &attributes, run_sessions, client);
    pthread_attr_destroy(&attributes);
    if (failed)
        atomic_fetch_sub_explicit(&client->refs, 1,
                                  memory_order_relaxed); /* never the last: the caller's handle */
    return failed ? WEFT_E_AGAIN : WEFT_OK;
}

int sessions_start(struct weft_client *client)
{
    const weft_client_opts *o = &client->how.opts;
    int rc;

    if (!o->handler && !o->on_message && !o->on_drain && !o->on_open && !o->on_close)
        return WEFT_E_INVAL;
    pthread_mutex_lock(&client->lock);
    rc = client->is_stopping || client->is_started || client->was_asked ? WEFT_E_STATE : start_thread(client);
    if (rc == WEFT_OK)
        client->is_started = true;
    pthread_mutex_unlock(&client->lock);
    return rc;
}
