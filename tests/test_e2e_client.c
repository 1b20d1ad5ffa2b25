/* The client of the end-to-end tests, where the library would be blamed for what it does. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e_client.h"
#include "e2e_server.h"

#define SIGNALS 5

static _Atomic unsigned signals;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

struct interrupter {
    pthread_t thread, whom;
    int tid; /* of whom */
    int listening;
};

static bool sleeps(int tid)
{
    char path[64], state = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    file = fopen(path, "r");
    if (!file)
        return false;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    fclose(file);
    return state == 'S';
}

/* Its sleep is ended some times, and only then there is room for it. */
static void *interrupt(void *arg)
{
    struct interrupter *i = arg;

    for (unsigned n = 1; n <= SIGNALS; n++) {
        COMES_TRUE(sleeps(i->tid));
        pthread_kill(i->whom, SIGUSR1);
        COMES_TRUE(signals >= n);
    }
    close(accept(i->listening, NULL, NULL));
    return NULL;
}

static void a_connect_that_signals_interrupt_goes_on(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct sigaction before, s = {.sa_handler = on_signal};
    struct interrupter i = {.whom = pthread_self(), .tid = (int)syscall(SYS_gettid)};
    struct client fills, waits;

    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/weft-client-%ld", (long)getpid());
    i.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(i.listening, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_EQUAL(listen(i.listening, 0), 0);
    atomic_store(&signals, 0);
    sigaction(SIGUSR1, &s, &before);
    CU_ASSERT(client_connect_path(&fills, a.sun_path)); /* there is room for one */
    pthread_create(&i.thread, NULL, interrupt, &i);
    CU_ASSERT(client_connect_path(&waits, a.sun_path));
    pthread_join(i.thread, NULL);
    CU_ASSERT_EQUAL(signals, SIGNALS);
    sigaction(SIGUSR1, &before, NULL);
    client_close(&fills);
    client_close(&waits);
    close(i.listening);
    unlink(a.sun_path);
}

static const struct unit_case cases[] = {CASE(a_connect_that_signals_interrupt_goes_on)};
E2E_MAIN("e2e_client")
