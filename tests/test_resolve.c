/* Looking names up, without a name server: the look-up itself is put in place by the test, and can be
 * held. */
#include "unit.h"
#include "io/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "weft/error.h"

static const struct await_limit forever = {AWAIT_FOREVER, -1};

static bool is_address(const struct resolve_address *a, const char *text, uint16_t port)
{
    const struct sockaddr *at = (const struct sockaddr *)&a->at;
    char out[INET6_ADDRSTRLEN] = "";

    if (at->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)at;
        inet_ntop(AF_INET, &v4->sin_addr, out, sizeof out);
        return strcmp(out, text) == 0 && ntohs(v4->sin_port) == port && a->bytes == sizeof *v4;
    }
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)at)->sin6_addr, out, sizeof out);
    return strcmp(out, text) == 0 && ntohs(((const struct sockaddr_in6 *)at)->sin6_port) == port &&
           a->bytes == sizeof(struct sockaddr_in6);
}

/* --- a look-up of the test's own --- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_open; /* the gate at which "held" look-ups wait */
    unsigned inside, inside_max, calls;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void pass_gate(bool waits)
{
    pthread_mutex_lock(&gate.lock);
    gate.calls++;
    gate.inside++;
    if (gate.inside > gate.inside_max)
        gate.inside_max = gate.inside;
    pthread_cond_broadcast(&gate.changed);
    while (waits && !gate.is_open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.inside--;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

/* Hosts that begin with "held" wait at the gate; the rest of the name says what comes of it. */
static int lookup(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    pass_gate(strncmp(host, "held", 4) == 0);
    if (strstr(host, "unknown"))
        return EAI_NONAME;
    if (strstr(host, "later"))
        return EAI_AGAIN;
    if (strstr(host, "memory"))
        return EAI_MEMORY;
    if (strstr(host, "system")) {
        errno = EMFILE;
        return EAI_SYSTEM;
    }
    return getaddrinfo("192.0.2.7", service, hints, out);
}

static void begin(void)
{
    gate.is_open = false;
    gate.inside = gate.inside_max = gate.calls = 0;
    resolve_set_lookup(lookup);
}

static void open_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.is_open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void wait_until_inside(unsigned count)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.inside != count)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static unsigned calls(void)
{
    unsigned n;

    pthread_mutex_lock(&gate.lock);
    n = gate.calls;
    pthread_mutex_unlock(&gate.lock);
    return n;
}

static void end(void)
{
    open_gate();
    wait_until_inside(0);
    resolve_set_lookup(NULL);
}

/* --- without a thread --- */

static void addresses_are_read_and_not_looked_up(void)
{
    static const char *const hosts[] = {"192.0.2.1", "2001:db8::1", "::1", "127.0.0.1"};
    struct resolve_list list;

    begin();
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        CU_ASSERT_EQUAL(resolve(hosts[i], 443, &forever, &list), WEFT_OK);
        CU_ASSERT_EQUAL(list.count, 1);
        CU_ASSERT(is_address(&list.addresses[0], hosts[i], 443));
    }
    CU_ASSERT_EQUAL(calls(), 0);
    end();
}

static void localhost_is_the_loopback_whatever_the_name_service_says(void)
{
    static const char *const hosts[] = {"localhost", "LocalHost", "localhost.", "a.b.localhost",
                                        "x.localhost."};
    static const char *const others[] = {"notlocalhost", "localhost.example", "ocalhost"};
    struct resolve_list list;

    begin();
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        CU_ASSERT_EQUAL(resolve(hosts[i], 80, &forever, &list), WEFT_OK);
        CU_ASSERT_EQUAL_FATAL(list.count, 2);
        CU_ASSERT(is_address(&list.addresses[0], "::1", 80));
        CU_ASSERT(is_address(&list.addresses[1], "127.0.0.1", 80));
    }
    CU_ASSERT_EQUAL(calls(), 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CU_ASSERT_EQUAL(resolve(others[i], 80, &forever, &list), WEFT_OK);
    CU_ASSERT_EQUAL(calls(), 3);
    end();
}

/* --- with one --- */

static void a_name_is_looked_up(void)
{
    struct resolve_list list;

    begin();
    CU_ASSERT_EQUAL(resolve("name.example", 8080, &forever, &list), WEFT_OK);
    CU_ASSERT_EQUAL(list.count, 1);
    CU_ASSERT(is_address(&list.addresses[0], "192.0.2.7", 8080));
    CU_ASSERT_EQUAL(calls(), 1);
    end();
}

static void each_failure_is_told_apart(void)
{
    struct resolve_list list;
    char long_name[RESOLVE_HOST_BYTES_MAX + 2];

    begin();
    CU_ASSERT_EQUAL(resolve("unknown", 1, &forever, &list), WEFT_E_ADDRESS);
    CU_ASSERT_STRING_EQUAL(list.reason, gai_strerror(EAI_NONAME));
    CU_ASSERT_EQUAL(resolve("later", 1, &forever, &list), WEFT_E_ADDRESS);
    CU_ASSERT_STRING_EQUAL(list.reason, gai_strerror(EAI_AGAIN));
    CU_ASSERT_EQUAL(resolve("memory", 1, &forever, &list), WEFT_E_NOMEM);
    errno = 0;
    CU_ASSERT_EQUAL(resolve("system", 1, &forever, &list), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EMFILE);
    CU_ASSERT_EQUAL(calls(), 4);
    CU_ASSERT_EQUAL(resolve("", 1, &forever, &list), WEFT_E_ADDRESS);
    memset(long_name, 'a', sizeof long_name);
    long_name[RESOLVE_HOST_BYTES_MAX + 1] = '\0';
    CU_ASSERT_EQUAL(resolve(long_name, 1, &forever, &list), WEFT_E_ADDRESS);
    CU_ASSERT_PTR_NOT_NULL(list.reason);
    CU_ASSERT_EQUAL(calls(), 4);
    end();
}

/* RFC 6761 section 6.4: .invalid never exists, so whatever answers, it is not an address. */
static void the_real_look_up_is_getaddrinfo(void)
{
    const struct await_limit limit = {clock_now_ms() + 5000, -1};
    struct resolve_list list;
    int rc;

    resolve_set_lookup(NULL);
    rc = resolve("name.invalid", 1, &limit, &list);
    CU_ASSERT(rc == WEFT_E_ADDRESS || rc == WEFT_E_TIMEOUT);
}

static void when_time_is_over_the_caller_goes_and_the_look_up_is_thrown_away(void)
{
    struct resolve_list list;
    uint64_t began;
    int64_t before;

    begin();
    mem_count_live(true);
    before = mem_live_blocks();
    do { /* until its thread had begun before the time was over */
        began = clock_now_ms();
        CU_ASSERT_EQUAL(resolve("held", 1, &(struct await_limit){began + 30, -1}, &list), WEFT_E_TIMEOUT);
        CU_ASSERT(clock_now_ms() >= began + 30);
    } while (calls() == 0);
    CU_ASSERT(mem_live_blocks() > before); /* it goes on without us */
    end();
    while (mem_live_blocks() != before) /* the thread frees it, or the test hangs and fails */
        usleep(100);
    mem_count_live(false);
    CU_ASSERT_EQUAL(resolve("name", 1, &(struct await_limit){0, -1}, &list), WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(resolve("127.0.0.1", 1, &(struct await_limit){0, -1}, &list), WEFT_OK);
}

/* --- several --- */

struct caller {
    pthread_t thread;
    char host[32];
    struct await_limit limit;
    struct resolve_list list;
    int rc;
};

static void *call(void *arg)
{
    struct caller *c = arg;

    c->rc = resolve(c->host, 1, &c->limit, &c->list);
    return NULL;
}

static void start(struct caller *c, const char *host, int cancel_fd)
{
    snprintf(c->host, sizeof c->host, "%s", host);
    c->limit = (struct await_limit){AWAIT_FOREVER, cancel_fd};
    c->rc = 1;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&c->thread, NULL, call, c), 0);
}

static void who_cancels_goes_at_once(void)
{
    struct caller c;
    int cancel = eventfd(0, EFD_CLOEXEC);
    uint64_t one = 1;

    begin();
    start(&c, "held", cancel);
    wait_until_inside(1);
    CU_ASSERT_EQUAL(write(cancel, &one, sizeof one), sizeof one);
    pthread_join(c.thread, NULL);
    CU_ASSERT_EQUAL(c.rc, WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(resolve("name", 1, &c.limit, &c.list), WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(calls(), 1);
    end();
    close(cancel);
}

#define CALLERS (2 * RESOLVE_THREADS_MAX)

static void threads_are_bounded_and_the_rest_waits_its_turn(void)
{
    static struct caller callers[CALLERS];

    begin();
    for (size_t i = 0; i < CALLERS; i++)
        start(&callers[i], "held", -1);
    wait_until_inside(RESOLVE_THREADS_MAX);
    open_gate();
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        CU_ASSERT_EQUAL(callers[i].rc, WEFT_OK);
        CU_ASSERT_EQUAL(callers[i].list.count, 1);
    }
    CU_ASSERT_EQUAL(gate.inside_max, RESOLVE_THREADS_MAX);
    CU_ASSERT_EQUAL(calls(), CALLERS);
    end();
}

/* All threads are held, so what is asked for now stays in the queue, and is taken out of it. */
static void who_goes_while_it_waits_in_the_queue_is_never_looked_up(void)
{
    static struct caller held[RESOLVE_THREADS_MAX], waiting[3];
    int cancel = eventfd(0, EFD_CLOEXEC);
    struct resolve_list list;
    uint64_t one = 1;

    begin();
    for (size_t i = 0; i < RESOLVE_THREADS_MAX; i++)
        start(&held[i], "held", -1);
    wait_until_inside(RESOLVE_THREADS_MAX);
    start(&waiting[0], "first", cancel);
    start(&waiting[1], "second", -1);
    start(&waiting[2], "third", cancel);
    CU_ASSERT_EQUAL(resolve("fourth", 1, &(struct await_limit){clock_now_ms() + 20, -1}, &list),
                    WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(write(cancel, &one, sizeof one), sizeof one);
    pthread_join(waiting[0].thread, NULL);
    pthread_join(waiting[2].thread, NULL);
    CU_ASSERT_EQUAL(waiting[0].rc, WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(waiting[2].rc, WEFT_E_CANCELED);
    open_gate();
    for (size_t i = 0; i < RESOLVE_THREADS_MAX; i++)
        pthread_join(held[i].thread, NULL);
    pthread_join(waiting[1].thread, NULL);
    CU_ASSERT_EQUAL(waiting[1].rc, WEFT_OK);
    CU_ASSERT_EQUAL(calls(), RESOLVE_THREADS_MAX + 1);
    end();
    close(cancel);
}

static void look_ups_that_meet_their_deadline_leave_nothing_behind(void)
{
    struct resolve_list list;
    int64_t before;

    begin();
    open_gate();
    mem_count_live(true);
    before = mem_live_blocks();
    for (int i = 0; i < (unit_is_slow() ? 200 : 2000); i++) {
        int rc = resolve("held", 1, &(struct await_limit){clock_now_ms() + 1, -1}, &list);
        CU_ASSERT(rc == WEFT_OK || rc == WEFT_E_TIMEOUT);
    }
    end();
    while (mem_live_blocks() != before)
        usleep(100);
    mem_count_live(false);
}

static void without_memory_there_is_no_look_up(void)
{
    struct resolve_list list;

    begin();
    mem_fail_at(1);
    CU_ASSERT_EQUAL(resolve("name", 1, &forever, &list), WEFT_E_NOMEM);
    mem_fail_at(0);
    CU_ASSERT_EQUAL(calls(), 0);
    end();
}

static void without_a_descriptor_there_is_no_look_up(void)
{
    struct rlimit before, none;
    struct resolve_list list;

    begin();
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 2; /* so many does poll look at */
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    CU_ASSERT_EQUAL(resolve("name", 1, &forever, &list), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EMFILE);
    setrlimit(RLIMIT_NOFILE, &before);
    CU_ASSERT_EQUAL(calls(), 0);
    end();
}

static const struct unit_case cases[] = {
    CASE(addresses_are_read_and_not_looked_up),
    CASE(localhost_is_the_loopback_whatever_the_name_service_says),
    CASE(a_name_is_looked_up),
    CASE(each_failure_is_told_apart),
    CASE(the_real_look_up_is_getaddrinfo),
    CASE(when_time_is_over_the_caller_goes_and_the_look_up_is_thrown_away),
    CASE(who_cancels_goes_at_once),
    CASE(threads_are_bounded_and_the_rest_waits_its_turn),
    CASE(who_goes_while_it_waits_in_the_queue_is_never_looked_up),
    CASE(look_ups_that_meet_their_deadline_leave_nothing_behind),
    CASE(without_a_descriptor_there_is_no_look_up),
    CASE(without_memory_there_is_no_look_up),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "resolve", cases, sizeof cases / sizeof cases[0]);
}
