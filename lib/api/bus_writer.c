/* The thread that writes histories into their file; see bus_writer.h. */
#include "api/bus_writer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thr.h"
#include "sync/wake.h"

#define WRITER_BATCH_MAX 4096 /* writes in one transaction: how long bus_writer_end may have to wait */

struct bus_writer {
    struct store *store;
    pthread_t thread;
    int done_fd;
    bool is_running; /* its thread; the bus's own */
    bool is_failed;  /* the writer's own: W3 */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct bus_writes todo; /* under lock */
    struct bus_writes done; /* under lock */
    bool is_ending;         /* under lock */
    char problem[WRITER_PROBLEM_BYTES];
};

void bus_writes_append(struct bus_writes *list, struct bus_write *w)
{
    w->next = NULL;
    *(list->first ? &list->last->next : &list->first) = w;
    list->last = w;
}

/* `more` is empty behind it. */
static void append_all(struct bus_writes *list, struct bus_writes *more)
{
    if (!more->first)
        return;
    *(list->first ? &list->last->next : &list->first) = more->first;
    list->last = more->last;
    *more = (struct bus_writes){0};
}

/* --- the thread --- */

static void keep_problem(struct bus_writer *w)
{
    pthread_mutex_lock(&w->lock);
    snprintf(w->problem, sizeof w->problem, "%s", store_problem(w->store));
    pthread_mutex_unlock(&w->lock);
}

static bool write_all(struct bus_writer *w, const struct bus_writes *batch)
{
    bool is_well = store_begin(w->store);

    for (struct bus_write *one = batch->first; one && is_well; one = one->next)
        is_well = store_write(w->store, &one->what);
    is_well = is_well && store_commit(w->store);
    if (!is_well) {
        keep_problem(w);
        store_undo(w->store);
    }
    return is_well;
}

/* The first of all. A STORE_TEST begins a transaction: it may be what ends the failing. */
static struct bus_writes cut_batch(struct bus_writes *all)
{
    struct bus_writes batch = {all->first, all->first};

    for (unsigned n = 1; n < WRITER_BATCH_MAX; n++) {
        struct bus_write *next = batch.last->next;
        if (!next || next->what.kind == STORE_TEST)
            break;
        batch.last = next;
    }
    all->first = batch.last->next;
    batch.last->next = NULL;
    return batch;
}

static void do_batch(struct bus_writer *w, struct bus_writes *batch, bool is_ending)
{
    bool may = !is_ending && (!w->is_failed || batch->first->what.kind == STORE_TEST);
    bool is_written = may && write_all(w, batch);

    w->is_failed = !is_written;
    for (struct bus_write *one = batch->first; one; one = one->next)
        one->is_written = is_written;
}

/* What was taken before it was told to end, batch after batch. */
static void do_all(struct bus_writer *w, struct bus_writes *all)
{
    while (all->first) {
        struct bus_writes batch = cut_batch(all);
        bool is_ending;

        pthread_mutex_lock(&w->lock);
        is_ending = w->is_ending;
        pthread_mutex_unlock(&w->lock);
        do_batch(w, &batch, is_ending);
        pthread_mutex_lock(&w->lock);
        append_all(&w->done, &batch);
        pthread_mutex_unlock(&w->lock);
        wake_tell(w->done_fd);
    }
}

static void *run(void *arg)
{
    struct bus_writer *w = arg;
    bool is_over;

    thr_name("weft-history");
    do {
        struct bus_writes all;

        pthread_mutex_lock(&w->lock);
        while (!w->todo.first && !w->is_ending)
            pthread_cond_wait(&w->changed, &w->lock);
        all = w->todo;
        w->todo = (struct bus_writes){0};
        is_over = w->is_ending;
        pthread_mutex_unlock(&w->lock);
        do_all(w, &all);
    } while (!is_over);
    return NULL;
}

/* No signal is handled there; and the one for a file that is too large (SIGXFSZ) would end the process, where
 * an error is wanted. */
static int start(struct bus_writer *w)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&w->thread, NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? WEFT_OK : WEFT_E_SYSTEM;
}

/* --- the bus's side --- */

int bus_writer_open(struct bus_writer **out, struct store *s)
{
    struct bus_writer *w = mem_calloc(1, sizeof *w);

    *out = NULL;
    if (!w)
        return WEFT_E_NOMEM;
    w->store = s;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    w->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->done_fd < 0 || start(w) != WEFT_OK) {
        bus_writer_free(w);
        return WEFT_E_SYSTEM;
    }
    w->is_running = true;
    *out = w;
    return WEFT_OK;
}

void bus_writer_put(struct bus_writer *w, struct bus_writes *list)
{
    if (!list->first)
        return;
    pthread_mutex_lock(&w->lock);
    append_all(&w->todo, list);
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

int bus_writer_fd(const struct bus_writer *w)
{
    return w->done_fd;
}

/* The eventfd is emptied first, so what comes back behind that makes it readable again. */
struct bus_write *bus_writer_take(struct bus_writer *w)
{
    struct bus_write *first;

    wake_take(w->done_fd);
    pthread_mutex_lock(&w->lock);
    first = w->done.first;
    w->done = (struct bus_writes){0};
    pthread_mutex_unlock(&w->lock);
    return first;
}

void bus_writer_problem(struct bus_writer *w, char out[WRITER_PROBLEM_BYTES])
{
    pthread_mutex_lock(&w->lock);
    snprintf(out, WRITER_PROBLEM_BYTES, "%s", w->problem);
    pthread_mutex_unlock(&w->lock);
}

bool bus_writer_end(struct bus_writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->is_ending = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    w->is_running = false;
    return !w->is_failed;
}

void bus_writer_free(struct bus_writer *w)
{
    if (!w)
        return;
    if (w->is_running)
        bus_writer_end(w);
    if (w->done_fd >= 0)
        close(w->done_fd);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}
