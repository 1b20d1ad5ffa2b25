/* The way from the library's threads to the terminal; see events.h. */
#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool events_init(struct events *q)
{
    *q = (struct events){.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (q->wake_fd < 0)
        return false;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->room, NULL);
    return true;
}

void events_fini(struct events *q)
{
    struct event e;

    while (events_get(q, &e))
        event_fini(&e);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->room);
    close(q->wake_fd);
}

void event_fini(struct event *e)
{
    weft_conn_unref(e->conn);
    weft_msg_unref(e->msg);
    free(e->text);
    free(e->body);
}

static size_t bytes_of(const struct event *e)
{
    return e->msg ? weft_msg_bytes(e->msg) : 0;
}

void events_wake(const struct events *q)
{
    int error = errno; /* of whom the signal has interrupted */
    uint64_t one = 1;
    ssize_t rc = write(q->wake_fd, &one, sizeof one);

    (void)rc; /* it fails only when the count is full: readable all the same */
    errno = error;
}

void events_calm(struct events *q)
{
    uint64_t n;
    ssize_t rc = read(q->wake_fd, &n, sizeof n);

    (void)rc;
}

static bool has_room(const struct events *q, const struct event *e)
{
    size_t bytes = bytes_of(e);

    return q->count < EVENTS_MAX && (bytes == 0 || q->bytes == 0 || q->bytes + bytes <= EVENTS_BYTES_MAX);
}

/* With the lock held. */
static void append(struct events *q, const struct event *e)
{
    q->ring[(q->first + q->count++) % EVENTS_MAX] = *e;
    q->bytes += bytes_of(e);
    if (q->count == 1)
        events_wake(q);
}

bool events_put(struct events *q, struct event *e)
{
    bool is_stopped;

    pthread_mutex_lock(&q->lock);
    while (!q->is_stopped && !has_room(q, e))
        pthread_cond_wait(&q->room, &q->lock);
    is_stopped = q->is_stopped;
    if (!is_stopped)
        append(q, e);
    pthread_mutex_unlock(&q->lock);
    if (is_stopped)
        event_fini(e);
    return !is_stopped;
}

void events_try_put(struct events *q, struct event *e)
{
    bool is_put;

    pthread_mutex_lock(&q->lock);
    is_put = !q->is_stopped && has_room(q, e);
    if (is_put)
        append(q, e);
    else
        q->left_out++;
    pthread_mutex_unlock(&q->lock);
    if (!is_put)
        event_fini(e);
}

bool events_get(struct events *q, struct event *e)
{
    bool is_there;

    pthread_mutex_lock(&q->lock);
    is_there = q->count > 0;
    if (is_there) {
        *e = q->ring[q->first];
        q->first = (q->first + 1) % EVENTS_MAX;
        q->count--;
        q->bytes -= bytes_of(e);
        pthread_cond_broadcast(&q->room);
    }
    pthread_mutex_unlock(&q->lock);
    return is_there;
}

bool events_waiting(struct events *q)
{
    bool is_there;

    pthread_mutex_lock(&q->lock);
    is_there = q->count > 0;
    pthread_mutex_unlock(&q->lock);
    return is_there;
}

void events_stop(struct events *q)
{
    pthread_mutex_lock(&q->lock);
    q->is_stopped = true;
    pthread_cond_broadcast(&q->room);
    pthread_mutex_unlock(&q->lock);
}
