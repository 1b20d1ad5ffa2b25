/* weft-chat: the demo. A page at `/`, the chat behind it at `/chat`; what is said there is in chat.c. */
#include "chat.h"
#include "serve.h"
#include "web.h"

#include <jansson.h>
#include <stdio.h>

#define DEFAULT_PORT 8080

static weft_server *server; /* set before the start */

static void on_request(weft_request *r, void *app)
{
    web_answer(r, server, app);
}

static int make_server(struct chat *chat)
{
    weft_server_opts opts = {
        .size = sizeof opts,
        .app = chat,
        .on_request = on_request,
        .on_open = chat_on_open,
        .on_message = chat_on_message,
        .on_close = chat_on_close,
        /* A full history is nearly 1 MiB, and who joins must be able to get it and go on. */
        .outbox_high_bytes = 1024 * 1024,
        .outbox_bytes_max = 4 * 1024 * 1024,
        .slow_policy = WEFT_SLOW_CLOSE,
    };

    serve_begin(&opts);
    return weft_server_new(&server, &opts);
}

int main(int argc, char **argv)
{
    const struct option_set set = {
        .program = "weft-chat",
        .about = "a chat in the browser; open http://127.0.0.1:8080/",
        .version = weft_version(),
        .tables = {serve_rows},
    };
    int status = options_read(&set, argc, argv, stdout, stderr);
    struct chat *chat;
    int rc;

    if (status != OPTIONS_RUN)
        return status;
    json_object_seed(0);
    chat = chat_new(NULL);
    rc = chat ? make_server(chat) : WEFT_E_NOMEM;
    if (rc == WEFT_OK) {
        status = serve("weft-chat", server, DEFAULT_PORT);
    } else {
        fprintf(stderr, "weft-chat: cannot make the server: %s\n", weft_strerror(rc));
        status = rc == WEFT_E_INVAL ? 2 : 1;
    }
    chat_free(chat);
    return status;
}
