/* A consumer and a producer for one connection: the first to end cancels the other. */
#include <stdio.h>

#include "serve.h"

/* Ends with "stop", and when the peer closes. */
static int consumer(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        bool is_stop = weft_msg_bytes(m) == 4;

        printf("received %.*s\n", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
        fflush(stdout);
        weft_msg_unref(m);
        if (is_stop)
            return WEFT_OK;
    }
    return rc;
}

static int producer(weft_conn *c, void *app)
{
    int rc;

    (void)app;
    while ((rc = weft_conn_send_text(c, "tick")) == WEFT_OK && (rc = weft_conn_sleep(c, 10)) == WEFT_OK) {
    }
    return rc; /* WEFT_E_CANCELED, when the consumer has ended */
}

static int handler(weft_conn *c, void *app)
{
    return weft_conn_race(c, app, consumer, producer);
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = handler};

    return serve(argc, argv, &opts, NULL);
}
