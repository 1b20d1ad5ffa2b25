/* Two tasks for one connection, both of which have to end: a countdown is sent while an answer is waited for.
 * */
#include <stdio.h>

#include "serve.h"

struct talk {
    char name[32];
};

static int ask_name(weft_conn *c, void *app)
{
    struct talk *t = app;
    weft_msg *m;
    int rc = weft_conn_send_text(c, "who are you?");

    if (rc == WEFT_OK)
        rc = weft_conn_recv(c, &m, 10000);
    if (rc != WEFT_OK)
        return rc;
    snprintf(t->name, sizeof t->name, "%.*s", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
    weft_msg_unref(m);
    return WEFT_OK;
}

static int count_down(weft_conn *c, void *app)
{
    int rc = WEFT_OK;

    (void)app;
    for (int n = 3; n > 0 && rc == WEFT_OK; n--) {
        char text[16];

        snprintf(text, sizeof text, "%d", n);
        rc = weft_conn_send_text(c, text);
        if (rc == WEFT_OK)
            rc = weft_conn_sleep(c, 20);
    }
    return rc;
}

static int handler(weft_conn *c, void *app)
{
    struct talk t = {""};
    char text[64];
    int rc = weft_conn_gather(c, &t, ask_name, count_down);

    (void)app;
    if (rc != WEFT_OK)
        return rc;
    snprintf(text, sizeof text, "hello, %s", t.name);
    return weft_conn_send_text(c, text);
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = handler};

    return serve(argc, argv, &opts, NULL);
}
