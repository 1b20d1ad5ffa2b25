/* The consumer pattern: receive until the peer is gone. */
#include <stdio.h>

#include "serve.h"

static int consumer(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        printf("received %.*s\n", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
        fflush(stdout);
        weft_msg_unref(m);
    }
    return rc; /* WEFT_E_CLOSED: the peer has closed */
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = consumer};

    return serve(argc, argv, &opts, NULL);
}
