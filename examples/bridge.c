/* A bridge from a thread of the program's own: what it reads from standard input goes to all connections,
 * what they say goes to standard output. Any thread may send; no hand-over to a loop is needed. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "serve.h"

/* Until the end of its input. */
static void *read_input(void *arg)
{
    weft_group *all = weft_server_group(arg);
    char line[1024];

    while (fgets(line, sizeof line, stdin)) {
        weft_msg *m;

        if (weft_msg_new(&m, WEFT_TEXT, line, strcspn(line, "\n")) != WEFT_OK)
            break;
        if (weft_group_broadcast(all, m, NULL) != WEFT_OK)
            weft_msg_unref(m);
    }
    weft_server_unref(arg);
    return NULL;
}

static void begin_to_read(weft_server *server)
{
    pthread_t reader;

    if (pthread_create(&reader, NULL, read_input, weft_server_ref(server)) == 0)
        pthread_detach(reader);
    else
        weft_server_unref(server);
}

static int handler(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        printf("%.*s\n", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
        fflush(stdout);
        weft_msg_unref(m);
    }
    return rc;
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {.size = sizeof opts, .handler = handler};

    return serve(argc, argv, &opts, begin_to_read);
}
