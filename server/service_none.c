/* Built without libsystemd; see service.h. To serve on another address than those handed over would be worse
 * than to end. */
#include "service.h"

#include <stdlib.h>
#include <unistd.h>

int service_sockets_take(struct service_sockets *to, const char *program, FILE *err)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

    *to = (struct service_sockets){0};
    if (!pid || !count || strtol(pid, NULL, 10) != getpid())
        return 0;
    fprintf(err, "%s: sockets were handed over (LISTEN_FDS=%s), but this is built without libsystemd\n",
            program, count);
    return 1;
}

void service_sockets_fini(struct service_sockets *sockets)
{
    (void)sockets;
}

bool service_is_managed(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

void service_ready(void)
{
    static bool has_warned;

    if (service_is_managed() && !has_warned)
        fputs("built without libsystemd: no word goes to NOTIFY_SOCKET; let the unit have Type=exec\n",
              stderr);
    has_warned = true;
}

void service_reloading(void) {}

void service_stopping(void) {}

uint64_t service_alive_interval_us(void)
{
    return 0;
}

void service_alive(void) {}
