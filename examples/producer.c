/* The producer pattern: send until the peer is gone. A send waits while the peer is slower than we are. */
#include <stdio.h>

#include "serve.h"

static int producer(weft_conn *c, void *app)
{
    int rc = WEFT_OK;

    (void)app;
    for (unsigned n = 0; rc == WEFT_OK; n++) {
        char text[32];

        snprintf(text, sizeof text, "number %u", n);
        rc = weft_conn_send_text(c, text);
        if (rc == WEFT_OK)
            rc = weft_conn_sleep(c, 10);
    }
    return rc;
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = producer};

    return serve(argc, argv, &opts, NULL);
}
