/* The service manager, by libsystemd; see service.h. A word that cannot be sent is lost: the manager's own
 * time limits notice, and nobody else could be told. */
#include "service.h"

#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

int service_sockets_take(struct service_sockets *to, const char *program, FILE *err)
{
    char *given = getenv("LISTEN_FDS") ? strdup(getenv("LISTEN_FDS")) : NULL;
    int n;

    *to = (struct service_sockets){.first = SD_LISTEN_FDS_START};
    n = sd_listen_fds_with_names(1, &to->names);
    if (n < 0)
        fprintf(err, "%s: cannot take the sockets that were handed over (LISTEN_FDS=%s): %s\n", program,
                given ? given : "", strerror(-n));
    free(given);
    to->count = n < 0 ? 0 : n;
    return n < 0 ? 1 : 0;
}

void service_sockets_fini(struct service_sockets *sockets)
{
    for (char **name = sockets->names; name && *name; name++)
        free(*name);
    free(sockets->names);
    sockets->names = NULL;
}

bool service_is_managed(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

void service_ready(void)
{
    sd_notify(0, "READY=1");
}

/* The time is for Type=notify-reload. */
void service_reloading(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
               (unsigned long long)t.tv_sec * 1000000u + (unsigned long long)t.tv_nsec / 1000u);
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

/* Half of what is allowed, as sd_watchdog_enabled(3) asks for. */
uint64_t service_alive_interval_us(void)
{
    uint64_t us;

    return sd_watchdog_enabled(0, &us) > 0 ? us / 2 + 1 : 0;
}

void service_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}
