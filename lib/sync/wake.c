/* Waking an I/O thread; see wake.h. */
#include "sync/wake.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/order.h"
#include "weft/error.h"

int wake_init(struct wake *w)
{
    w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->fd < 0)
        return WEFT_E_SYSTEM;
    atomic_init(&w->asleep, false);
    atomic_init(&w->writes, 0);
    return WEFT_OK;
}

void wake_fini(struct wake *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

void wake_prepare(struct wake *w)
{
    atomic_store_explicit(&w->asleep, true, ORDER(WAKE_LOOK, memory_order_seq_cst));
}

/* Relaxed: a waker that still sees true writes the eventfd for nothing, which costs one turn. */
void wake_cancel(struct wake *w)
{
    atomic_store_explicit(&w->asleep, false, memory_order_relaxed);
}

bool wake_tell(int event_fd)
{
    static const uint64_t one = 1;
    ssize_t n;

    do
        n = write(event_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof one;
}

bool wake_take(int event_fd)
{
    uint64_t count;
    ssize_t n;

    do
        n = read(event_fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof count;
}

void wake_clear(struct wake *w)
{
    wake_take(w->fd);
}

void wake_up(struct wake *w)
{
    if (!atomic_load_explicit(&w->asleep, ORDER(WAKE_LOOK, memory_order_seq_cst)))
        return;
    if (!atomic_exchange_explicit(&w->asleep, false, memory_order_relaxed))
        return;
    atomic_fetch_add_explicit(&w->writes, 1, memory_order_relaxed);
    /* A full counter (EAGAIN) is readable too, which is all that is wanted. */
    wake_tell(w->fd);
}
