/* An attempt to connect to a node of Redis (N5).
 *
 * Its thread has all of it until ended_fd tells; who began it has it from then on. */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "api/bus_redis.h"
#include "base/mem.h"
#include "base/thr.h"
#include "sync/wake.h"

struct node_dial {
    pthread_t thread;
    int ended_fd;
    struct bus_seed at; /* the node's, which stays until it is joined */
    const char *path;
    struct tls_context *tls;
    bool checks_name;
    struct await_limit limit;
    struct resp_link commands, subscriptions;
    int result;
    char why[RESP_WHY_BYTES];
};

static int open_link(struct node_dial *d, struct resp_link *l, struct tls_scratch *scratch)
{
    return resp_open(l, d->at.host, d->at.port, d->path, d->tls, d->checks_name, scratch, &d->limit, d->why);
}

static void *dial(void *arg)
{
    struct node_dial *d = arg;
    struct tls_scratch *scratch = d->tls ? tls_scratch_new(0, 0) : NULL;

    thr_name("weft-bus-dial");
    d->result = scratch || !d->tls ? open_link(d, &d->commands, scratch) : WEFT_E_NOMEM;
    if (d->result == WEFT_OK)
        d->result = open_link(d, &d->subscriptions, scratch);
    if (d->tls) {
        if (scratch)
            tls_scratch_free(scratch);
        tls_thread_leave();
    }
    wake_tell(d->ended_fd);
    return NULL;
}

struct node_dial *dial_begin(const struct weft_bus *b, const struct bus_seed *at, uint64_t now_ms,
                             const char **why)
{
    struct redis *r = redis_of(b);
    struct node_dial *d = mem_calloc(1, sizeof *d);

    if (!d) {
        *why = "no memory";
        return NULL;
    }
    *d = (struct node_dial){.ended_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                            .at = *at,
                            .path = at->host ? NULL : r->url.path,
                            .tls = r->tls,
                            .checks_name = !b->opts.insecure,
                            .limit = {now_ms + b->opts.connect_timeout_ms, b->stop_fd}};
    resp_init(&d->commands);
    resp_init(&d->subscriptions);
    if (d->ended_fd >= 0 && pthread_create(&d->thread, NULL, dial, d) == 0)
        return d;
    if (d->ended_fd >= 0)
        close(d->ended_fd);
    mem_free(d);
    *why = "no thread to connect";
    return NULL;
}

int dial_fd(const struct node_dial *d)
{
    return d->ended_fd;
}

static void join(struct node_dial *d)
{
    pthread_join(d->thread, NULL);
    close(d->ended_fd);
}

static void drop_joined(struct node_dial *d)
{
    resp_close(&d->commands);
    resp_close(&d->subscriptions);
    mem_free(d);
}

int dial_take(struct node_dial *d, struct resp_link *commands, struct resp_link *subscriptions, char *why)
{
    int rc;

    join(d);
    rc = d->result;
    if (rc != WEFT_OK) {
        snprintf(why, RESP_WHY_BYTES, "%s", d->why[0] ? d->why : weft_strerror(rc));
        drop_joined(d);
        return rc;
    }
    *commands = d->commands;
    *subscriptions = d->subscriptions;
    mem_free(d);
    return WEFT_OK;
}

void dial_drop(struct node_dial *d)
{
    join(d);
    drop_joined(d);
}
