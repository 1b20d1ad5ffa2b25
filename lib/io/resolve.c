/* Names looked up in helper threads; see resolve.h. */
#include "io/resolve.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thr.h"
#include "weft/error.h"

/* QUEUED > RUNNING > DONE, or RUNNING > ABANDONED. The caller frees a job that is not RUNNING, the thread
 * one that was abandoned. */
enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_ABANDONED };

struct job {
    struct job *next; /* in the queue */
    enum job_state state;
    int done_fd; /* the caller's, who closes it */
    resolve_lookup_fn *lookup;
    int code, saved_errno; /* of the look-up */
    struct addrinfo *found;
    char service[8];
    char host[RESOLVE_HOST_BYTES_MAX + 1];
};

/* All of it under the lock. */
static struct {
    pthread_mutex_t lock;
    struct job *first, **end;
    unsigned threads;
    resolve_lookup_fn *lookup;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .end = &pool.first};

static const struct addrinfo hints_for_tcp = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};

/* ---- the threads ---- */

static struct job *take_first(void)
{
    struct job *j = pool.first;

    if (!j)
        return NULL;
    pool.first = j->next;
    if (!pool.first)
        pool.end = &pool.first;
    j->state = JOB_RUNNING;
    return j;
}

static void take_out(struct job *j)
{
    struct job **at = &pool.first;

    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (!j->next)
        pool.end = at;
}

static void free_job(struct job *j)
{
    if (j->found)
        freeaddrinfo(j->found);
    mem_free(j);
}

static void tell(struct job *j)
{
    uint64_t one = 1;
    ssize_t written;

    do
        written = write(j->done_fd, &one, sizeof one);
    while (written < 0 && errno == EINTR);
}

static void finish(struct job *j)
{
    if (j->state == JOB_ABANDONED) {
        free_job(j);
        return;
    }
    j->state = JOB_DONE;
    tell(j);
}

static void *run_jobs(void *arg)
{
    struct job *j;

    (void)arg;
    thr_name("weft-resolve");
    pthread_mutex_lock(&pool.lock);
    while ((j = take_first())) {
        pthread_mutex_unlock(&pool.lock);
        j->code = j->lookup(j->host, j->service, &hints_for_tcp, &j->found);
        j->saved_errno = errno;
        pthread_mutex_lock(&pool.lock);
        finish(j);
    }
    pool.threads--;
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* No signal of the program's is for these threads. */
static int start_with(const pthread_attr_t *attributes)
{
    sigset_t all, before;
    pthread_t thread;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, attributes, run_jobs, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int start_thread(void)
{
    pthread_attr_t attributes;
    int rc = pthread_attr_init(&attributes);

    if (rc != 0)
        return rc;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, thr_local_bytes() + RESOLVE_STACK_BYTES);
    rc = start_with(&attributes);
    pthread_attr_destroy(&attributes);
    return rc;
}

/* ---- asking them ---- */

/* With one thread alive the job will be taken; with none and none to be had it has no place in the queue. */
static int put_job(struct job *j)
{
    int rc = 0;

    pthread_mutex_lock(&pool.lock);
    j->lookup = pool.lookup ? pool.lookup : getaddrinfo;
    if (pool.threads < RESOLVE_THREADS_MAX) {
        rc = start_thread();
        pool.threads += rc == 0;
    }
    if (pool.threads > 0) {
        *pool.end = j;
        pool.end = &j->next;
        rc = 0;
    }
    pthread_mutex_unlock(&pool.lock);
    if (rc == 0)
        return WEFT_OK;
    errno = rc;
    return WEFT_E_SYSTEM;
}

/* Does the job belong to the caller now? */
static bool stop_waiting(struct job *j)
{
    bool is_ours;

    pthread_mutex_lock(&pool.lock);
    if (j->state == JOB_QUEUED)
        take_out(j);
    is_ours = j->state != JOB_RUNNING;
    if (!is_ours)
        j->state = JOB_ABANDONED;
    pthread_mutex_unlock(&pool.lock);
    return is_ours;
}

static void keep(struct resolve_list *out, const struct addrinfo *found)
{
    for (const struct addrinfo *a = found; a && out->count < RESOLVE_ADDRESSES_MAX; a = a->ai_next) {
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
            a->ai_addrlen > sizeof out->addresses[0].at)
            continue;
        out->addresses[out->count].bytes = a->ai_addrlen;
        memcpy(&out->addresses[out->count++].at, a->ai_addr, a->ai_addrlen);
    }
}

static int result(struct resolve_list *out, int code, int saved_errno, const struct addrinfo *found)
{
    if (code == EAI_MEMORY)
        return WEFT_E_NOMEM;
    if (code == EAI_SYSTEM) {
        errno = saved_errno;
        return WEFT_E_SYSTEM;
    }
    if (code == 0)
        keep(out, found);
    if (out->count > 0)
        return WEFT_OK;
    out->reason = gai_strerror(code == 0 ? EAI_NONAME : code);
    return WEFT_E_ADDRESS;
}

static int wait_for(struct job *j, const struct await_limit *limit, struct resolve_list *out)
{
    struct pollfd fds[2] = {{.fd = -1}, {.fd = j->done_fd, .events = POLLIN}};
    int rc = await_fds(fds, 2, limit, AWAIT_FOREVER), saved = errno;

    if (!stop_waiting(j)) {
        errno = saved;
        return rc;
    }
    if (rc == WEFT_OK)
        rc = result(out, j->code, j->saved_errno, j->found);
    saved = rc == WEFT_E_SYSTEM ? errno : saved;
    free_job(j);
    errno = saved;
    return rc;
}

static int ask(const char *host, const char *service, const struct await_limit *limit,
               struct resolve_list *out)
{
    struct job *j = mem_calloc(1, sizeof *j);
    int done_fd, rc, saved;

    if (!j)
        return WEFT_E_NOMEM;
    snprintf(j->host, sizeof j->host, "%s", host);
    snprintf(j->service, sizeof j->service, "%s", service);
    done_fd = j->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = done_fd < 0 ? WEFT_E_SYSTEM : put_job(j);
    if (rc == WEFT_OK)
        rc = wait_for(j, limit, out);
    else
        mem_free(j);
    saved = errno;
    if (done_fd >= 0)
        close(done_fd);
    errno = saved;
    return rc;
}

/* ---- what needs no thread ---- */

static bool is_localhost(const char *host)
{
    size_t n = strlen(host), name = strlen("localhost");

    if (n > 0 && host[n - 1] == '.')
        n--;
    if (n < name || strncasecmp(host + n - name, "localhost", name) != 0)
        return false;
    return n == name || host[n - name - 1] == '.';
}

static void keep_loopback(struct resolve_list *out, uint16_t port)
{
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    out->count = 2;
    out->addresses[0].bytes = sizeof v6;
    memcpy(&out->addresses[0].at, &v6, sizeof v6);
    out->addresses[1].bytes = sizeof v4;
    memcpy(&out->addresses[1].at, &v4, sizeof v4);
}

static int read_address(const char *host, const char *service, struct resolve_list *out)
{
    struct addrinfo hints = hints_for_tcp, *found = NULL;
    int code, rc;

    hints.ai_flags |= AI_NUMERICHOST;
    code = getaddrinfo(host, service, &hints, &found);
    rc = result(out, code, errno, found);
    if (code == 0)
        freeaddrinfo(found);
    return rc;
}

int resolve(const char *host, uint16_t port, const struct await_limit *limit, struct resolve_list *out)
{
    char service[8];
    int rc;

    memset(out, 0, sizeof *out);
    if (!*host || strlen(host) > RESOLVE_HOST_BYTES_MAX) {
        out->reason = gai_strerror(EAI_NONAME);
        return WEFT_E_ADDRESS;
    }
    snprintf(service, sizeof service, "%u", port);
    if (is_localhost(host)) {
        keep_loopback(out, port);
        return WEFT_OK;
    }
    rc = read_address(host, service, out);
    if (rc != WEFT_E_ADDRESS)
        return rc;
    rc = await_look(limit);
    return rc == WEFT_OK ? ask(host, service, limit, out) : rc;
}

void resolve_set_lookup(resolve_lookup_fn *lookup)
{
    pthread_mutex_lock(&pool.lock);
    pool.lookup = lookup;
    pthread_mutex_unlock(&pool.lock);
}
