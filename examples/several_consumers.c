/* Several consumers for one connection: messages are handled at the same time, and their order is given up.
 * */
#include <stdio.h>
#include <unistd.h>

#include "serve.h"

#define CONSUMERS 4

/* What takes long, and need not be done in order. */
static int answer(weft_conn *c, weft_msg *m)
{
    char text[64];

    usleep(50000);
    snprintf(text, sizeof text, "done: %.*s", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
    return weft_conn_send_text(c, text);
}

static int consumer(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        rc = answer(c, m);
        weft_msg_unref(m);
        if (rc != WEFT_OK)
            break;
    }
    return rc;
}

static int handler(weft_conn *c, void *app)
{
    return weft_conn_gather(c, app, consumer, consumer, consumer, consumer);
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = handler, .handler_concurrency = CONSUMERS};

    return serve(argc, argv, &opts, NULL);
}
