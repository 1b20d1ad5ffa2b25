/* The epoll loop; see loop.h. */
#include "io/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "weft/error.h"

#define EVENTS_MAX 512
/* In what epoll gives back: this is a struct loop_source, not an owner for hooks.ready. */
#define IS_SOURCE ((uintptr_t)1)

static void read_clock(struct loop *l)
{
    l->now_ns = clock_now_ns();
    l->now_ms = l->now_ns / 1000000;
}

int loop_init(struct loop *l, const struct loop_hooks *hooks)
{
    memset(l, 0, sizeof *l);
    l->hooks = *hooks;
    l->events = mem_alloc(EVENTS_MAX * sizeof *l->events);
    l->epoll_fd = l->events ? epoll_create1(EPOLL_CLOEXEC) : -1;
    if (l->epoll_fd < 0) {
        int rc = l->events ? WEFT_E_SYSTEM : WEFT_E_NOMEM;
        loop_fini(l);
        return rc;
    }
    read_clock(l);
    timer_wheel_init(&l->wheel, l->now_ms);
    return WEFT_OK;
}

void loop_fini(struct loop *l)
{
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    l->epoll_fd = -1;
    mem_free(l->events);
    l->events = NULL;
}

static int add(struct loop *l, int fd, uintptr_t what, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u64 = what};
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? WEFT_OK : WEFT_E_SYSTEM;
}

int loop_add(struct loop *l, int fd, void *owner)
{
    return add(l, fd, (uintptr_t)owner, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int loop_add_level(struct loop *l, int fd, struct loop_source *source)
{
    return add(l, fd, (uintptr_t)source | IS_SOURCE, EPOLLIN);
}

void loop_remove(struct loop *l, int fd)
{
    epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}

static int timeout_until(uint64_t deadline_ms, uint64_t now_ms)
{
    if (deadline_ms == TIMER_NEVER)
        return -1;
    if (deadline_ms <= now_ms)
        return 0;
    return deadline_ms - now_ms < 60000 ? (int)(deadline_ms - now_ms) : 60000;
}

static int choose_timeout(struct loop *l)
{
    int timeout = timeout_until(timer_next_ms(&l->wheel), l->now_ms);
    uint32_t allowed;

    if (timeout == 0)
        return 0;
    allowed = l->hooks.before_wait(l->hooks.arg);
    if (allowed != UINT32_MAX && (timeout < 0 || allowed < (uint32_t)timeout))
        timeout = (int)allowed;
    return timeout;
}

static unsigned translate(uint32_t events)
{
    unsigned out = 0;

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        out |= LOOP_READ;
    if (events & EPOLLOUT)
        out |= LOOP_WRITE;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        out |= LOOP_END;
    return out;
}

void loop_cut(struct loop *l)
{
    l->is_cut = true;
}

bool loop_has_events(const struct loop *l)
{
    return l->next < l->count;
}

/* A thread that was kept off its core, or stopped by a signal, returns from its wait long after the kernel has looked:
 * then what came meanwhile is looked for before the clock's time counts for the timers (I4). */
static void wait_for_events(struct loop *l)
{
    int n;

    l->looked_ms = l->now_ms;
    n = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, choose_timeout(l));
    l->hooks.after_wait(l->hooks.arg);
    read_clock(l);
    if (n <= 0 && timer_next_ms(&l->wheel) <= l->now_ms) {
        l->looked_ms = l->now_ms;
        n = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, 0);
    }
    l->next = 0;
    l->count = n > 0 ? n : 0;
}

static void call(struct loop *l, uintptr_t what, unsigned events)
{
    struct loop_source *source;

    if (!(what & IS_SOURCE)) {
        l->hooks.ready((void *)what, events);
        return;
    }
    source = (struct loop_source *)(what & ~IS_SOURCE);
    source->ready(source, events);
}

static void call_sources(struct loop *l)
{
    l->is_cut = false;
    while (l->next < l->count && !l->is_cut) {
        const struct epoll_event *e = &l->events[l->next++];
        call(l, (uintptr_t)e->data.u64, translate(e->events));
    }
}

bool loop_run(struct loop *l)
{
    if (!loop_has_events(l))
        read_clock(l); /* setup may be long ago, and the first wait is measured from now */
    while (!l->stopping) {
        if (loop_has_events(l))
            read_clock(l);
        else
            wait_for_events(l);
        call_sources(l);
        if (!loop_has_events(l))
            timer_expire(&l->wheel, l->looked_ms, l->hooks.timer, l->hooks.arg);
        if (!l->hooks.turn_end(l->hooks.arg))
            return false;
    }
    return true;
}
