/* See serve.h. */
#include "serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int listen_and_start(weft_server *server, uint16_t port)
{
    int rc = weft_server_listen_tcp(server, NULL, port, &port);

    if (rc == WEFT_OK)
        rc = weft_server_start(server);
    if (rc == WEFT_OK) {
        printf("listening on 127.0.0.1:%u\n", port);
        fflush(stdout);
    }
    return rc;
}

static sigset_t signals;

void serve_block_signals(void)
{
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

int serve(int argc, char **argv, const weft_server_opts *opts, void (*beside)(weft_server *server))
{
    uint16_t port = argc > 2 && strcmp(argv[1], "--port") == 0 ? (uint16_t)atoi(argv[2]) : 0;
    weft_server *server;
    int caught, rc;

    serve_block_signals(); /* before there are threads, which inherit it */
    rc = weft_server_new(&server, opts);
    if (rc != WEFT_OK) {
        fprintf(stderr, "%s\n", weft_strerror(rc));
        return 1;
    }
    rc = listen_and_start(server, port);
    if (rc == WEFT_OK && beside)
        beside(server);
    if (rc == WEFT_OK)
        sigwait(&signals, &caught);
    else
        fprintf(stderr, "%s\n", weft_strerror(rc));
    weft_server_stop(server, 1000);
    weft_server_unref(server);
    return rc != WEFT_OK;
}
