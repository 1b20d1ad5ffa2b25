/* The epoll loop; see loop.h. */
#include "io/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "weft/error.h"

#define EVENTS_MAX 512

static void read_clock(struct loop *l)
{
    l->now_ns = clock_now_ns();
    l->now_ms = l->now_ns / 1000000;
}

int loop_init(struct loop *l, const struct loop_hooks *hooks)
{
    memset(l, 0, sizeof *l);
    l->hooks = *hooks;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0)
        return WEFT_E_SYSTEM;
    read_clock(l);
    timer_wheel_init(&l->wheel, l->now_ms);
    return WEFT_OK;
}

void loop_fini(struct loop *l)
{
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    l->epoll_fd = -1;
}

static int add(struct loop *l, int fd, struct loop_source *source, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = source};
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? WEFT_OK : WEFT_E_SYSTEM;
}

int loop_add(struct loop *l, int fd, struct loop_source *source)
{
    return add(l, fd, source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int loop_add_level(struct loop *l, int fd, struct loop_source *source)
{
    return add(l, fd, source, EPOLLIN);
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

void loop_run(struct loop *l)
{
    struct epoll_event events[EVENTS_MAX];

    read_clock(l); /* setup may be long ago, and the first wait is measured from now */
    while (!l->stopping) {
        int timeout = choose_timeout(l);
        int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, timeout);

        l->hooks.after_wait(l->hooks.arg);
        read_clock(l);
        for (int i = 0; i < n; i++) {
            struct loop_source *source = events[i].data.ptr;
            source->ready(source, translate(events[i].events));
        }
        timer_expire(&l->wheel, l->now_ms, l->hooks.timer, l->hooks.arg);
        l->hooks.turn_end(l->hooks.arg);
    }
}
