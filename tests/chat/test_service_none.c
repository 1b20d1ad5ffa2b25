/* Without libsystemd: nothing of a service manager is followed, and what cannot be followed is said. */
#include "service.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char said[256];

static int take(const char *pid, const char *count)
{
    struct service_sockets sockets;
    FILE *err = fmemopen(said, sizeof said, "w");
    int status;

    memset(said, 0, sizeof said);
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", count, 1);
    status = service_sockets_take(&sockets, "test", err);
    fclose(err);
    CU_ASSERT_EQUAL(sockets.count, 0);
    service_sockets_fini(&sockets);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    return status;
}

static void sockets_that_are_handed_over_are_an_error(void)
{
    char self[32];

    snprintf(self, sizeof self, "%d", (int)getpid());
    CU_ASSERT_EQUAL(take(self, "2"), 1);
    CU_ASSERT_STRING_EQUAL(
        said, "test: sockets were handed over (LISTEN_FDS=2), but this is built without libsystemd\n");
    CU_ASSERT_EQUAL(take("1", "2"), 0); /* another process's */
    CU_ASSERT_STRING_EQUAL(said, "");
    CU_ASSERT_EQUAL(take("", ""), 0);
}

static void without_a_manager_nothing_is_said(void)
{
    unsetenv("NOTIFY_SOCKET");
    CU_ASSERT_FALSE(service_is_managed());
    service_ready();
    service_reloading();
    service_alive();
    service_stopping();
    CU_ASSERT_EQUAL(service_alive_interval_us(), 0);
}

static void a_manager_that_waits_is_known(void)
{
    setenv("NOTIFY_SOCKET", "/nowhere", 1);
    CU_ASSERT(service_is_managed());
    unsetenv("NOTIFY_SOCKET");
}

static const struct unit_case cases[] = {
    CASE(sockets_that_are_handed_over_are_an_error),
    CASE(without_a_manager_nothing_is_said),
    CASE(a_manager_that_waits_is_known),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "service_none", cases, sizeof cases / sizeof cases[0]);
}
