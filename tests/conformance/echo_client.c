/* An echo client of weft/client.h: what the conformance program judges as a server.
 *
 *     echo_client URL [--callbacks] [--times N] [--ca FILE]
 *
 * Connects again and again and echoes each message, N times, or until the answer is 4xx or nobody listens:
 * then it ends with 0. A connection that fails is followed by the next. Straight-line, or with callbacks. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/client.h>

#define MESSAGE_BYTES_MAX (32u << 20)
#define STOP_MS           30000u

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    (void)app;
    if (weft_conn_send(c, m) != WEFT_OK)
        weft_msg_unref(m);
}

static void echo(weft_conn *c)
{
    weft_msg *m;

    while (weft_conn_recv(c, &m, WEFT_FOREVER) == WEFT_OK)
        on_message(c, m, NULL);
}

/* Whether the server says that there is nothing more to do, or is not there. */
static bool is_final(int rc, const weft_failure *f)
{
    int status = f ? weft_failure_status(f) : 0;

    if (rc == WEFT_E_INVAL || rc == WEFT_E_NOMEM || rc == WEFT_E_STATE) {
        fprintf(stderr, "cannot connect: %s\n", weft_strerror(rc));
        exit(1);
    }
    return (status >= 400 && status < 500) || (f && weft_failure_errno(f) == ECONNREFUSED);
}

/* False: there is nothing more to do. */
static bool connect_once(const char *url, bool callbacks, const char *ca_file)
{
    weft_failure *failure = NULL;
    weft_client_opts opts = {.size = sizeof opts,
                             .on_message = callbacks ? on_message : NULL,
                             .failure = &failure,
                             .ca_file = ca_file,
                             .message_bytes_max = MESSAGE_BYTES_MAX};
    weft_conn *c = NULL;
    int rc = weft_client_connect(&c, url, &opts);
    bool final = rc != WEFT_OK && is_final(rc, failure);

    weft_failure_free(failure);
    if (rc != WEFT_OK)
        return !final;
    if (!callbacks)
        echo(c);
    weft_conn_wait_closed(c, WEFT_FOREVER);
    weft_conn_unref(c);
    return true;
}

int main(int argc, char **argv)
{
    unsigned long times = 0;
    bool callbacks = false;
    const char *ca_file = NULL;

    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--callbacks") == 0)
            callbacks = true;
        else if (strcmp(argv[i], "--times") == 0 && i + 1 < argc)
            times = strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--ca") == 0 && i + 1 < argc)
            ca_file = argv[++i];
        else
            argc = 0;
    }
    if (argc < 2) {
        fprintf(stderr, "usage: echo_client URL [--callbacks] [--times N] [--ca FILE]\n");
        return 2;
    }
    for (unsigned long done = 0; (times == 0 || done < times) && connect_once(argv[1], callbacks, ca_file); done++)
        ;
    return weft_client_stop_threads(STOP_MS) == WEFT_OK ? 0 : 1;
}
