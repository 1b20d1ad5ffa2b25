/* Waiting with a deadline and for somebody who changes his mind. */
#include "unit.h"
#include "io/await.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "weft/error.h"

static int ready_fd(void)
{
    return eventfd(1, EFD_CLOEXEC);
}
static int quiet_fd(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

static void an_event_ends_the_wait(void)
{
    const struct await_limit limit = {AWAIT_FOREVER, -1};
    struct pollfd fds[3] = {
        {.fd = -7}, {.fd = quiet_fd(), .events = POLLIN}, {.fd = ready_fd(), .events = POLLIN}};

    CU_ASSERT_EQUAL(await_fds(fds, 3, &limit, AWAIT_FOREVER), WEFT_OK);
    CU_ASSERT_EQUAL(fds[1].revents, 0);
    CU_ASSERT_EQUAL(fds[2].revents, POLLIN);
    close(fds[1].fd);
    close(fds[2].fd);
}

static void the_earlier_of_two_times_ends_the_wait_and_not_before(void)
{
    struct pollfd fds[2] = {{.fd = -1}, {.fd = quiet_fd(), .events = POLLIN}};
    uint64_t began = clock_now_ms();
    struct await_limit limit = {began + 30, -1};

    CU_ASSERT_EQUAL(await_fds(fds, 2, &limit, AWAIT_FOREVER), WEFT_E_TIMEOUT);
    CU_ASSERT(clock_now_ms() >= began + 30);
    limit.deadline_ms = AWAIT_FOREVER;
    began = clock_now_ms();
    CU_ASSERT_EQUAL(await_fds(fds, 2, &limit, began + 30), WEFT_E_TIMEOUT);
    CU_ASSERT(clock_now_ms() >= began + 30);
    CU_ASSERT_EQUAL(await_fds(fds, 2, &limit, 0), WEFT_E_TIMEOUT);
    close(fds[1].fd);
}

static void who_is_canceled_sees_nothing_else(void)
{
    const struct await_limit limit = {0, ready_fd()}; /* the time is over too */
    struct pollfd fds[2] = {{.fd = -1}, {.fd = ready_fd(), .events = POLLIN}};

    CU_ASSERT_EQUAL(await_fds(fds, 2, &limit, AWAIT_FOREVER), WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(await_look(&limit), WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(await_look(&limit), WEFT_E_CANCELED); /* it is not read */
    close(limit.cancel_fd);
    CU_ASSERT_EQUAL(await_look(&limit), WEFT_E_CANCELED);
    close(fds[1].fd);
}

static void a_look_says_how_it_stands(void)
{
    CU_ASSERT_EQUAL(await_look(&(struct await_limit){AWAIT_FOREVER, -1}), WEFT_OK);
    CU_ASSERT_EQUAL(await_look(&(struct await_limit){clock_now_ms() + 10000, -1}), WEFT_OK);
    CU_ASSERT_EQUAL(await_look(&(struct await_limit){clock_now_ms(), -1}), WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(await_look(&(struct await_limit){0, -1}), WEFT_E_TIMEOUT);
}

static void ignore(int signal)
{
    (void)signal;
}

struct disturbed {
    pthread_t thread;
    int fd;
};

static void *disturb(void *arg)
{
    struct disturbed *d = arg;
    uint64_t one = 1;

    for (int i = 0; i < 100; i++)
        pthread_kill(d->thread, SIGUSR1);
    return write(d->fd, &one, sizeof one) == sizeof one ? d : NULL;
}

static void signals_do_not_end_the_wait(void)
{
    struct sigaction action = {.sa_handler = ignore}, before;
    struct disturbed d = {pthread_self(), quiet_fd()};
    struct pollfd fds[2] = {{.fd = -1}, {.fd = d.fd, .events = POLLIN}};
    pthread_t other;
    void *result;

    sigaction(SIGUSR1, &action, &before);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&other, NULL, disturb, &d), 0);
    CU_ASSERT_EQUAL(await_fds(fds, 2, &(struct await_limit){AWAIT_FOREVER, -1}, AWAIT_FOREVER), WEFT_OK);
    pthread_join(other, &result);
    CU_ASSERT_PTR_NOT_NULL(result);
    sigaction(SIGUSR1, &before, NULL);
    close(d.fd);
}

static const struct unit_case cases[] = {
    CASE(an_event_ends_the_wait),
    CASE(the_earlier_of_two_times_ends_the_wait_and_not_before),
    CASE(who_is_canceled_sees_nothing_else),
    CASE(a_look_says_how_it_stands),
    CASE(signals_do_not_end_the_wait),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "await", cases, sizeof cases / sizeof cases[0]);
}
