/* Registration and broadcast: who is connected is in a group, and what one says all hear. A connection leaves
 * its groups by itself when it closes. */
#include "serve.h"

static int member(weft_conn *c, void *app)
{
    weft_group *room = app;
    weft_msg *m;
    int rc = weft_group_add(room, c);

    if (rc == WEFT_OK)
        rc = weft_conn_send_text(c, "welcome");
    while (rc == WEFT_OK && (rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        rc = weft_group_broadcast(room, m, c); /* to all but the one who said it; encoded once */
        if (rc != WEFT_OK)
            weft_msg_unref(m);
    }
    return rc;
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = member};
    weft_group *room;
    int status;

    if (weft_group_new(&room) != WEFT_OK)
        return 1;
    opts.app = room;
    status = serve(argc, argv, &opts, NULL);
    weft_group_unref(room);
    return status;
}
