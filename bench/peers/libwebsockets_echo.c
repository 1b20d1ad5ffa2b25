/* What does the same work cost with libwebsockets? An echo (and broadcast) server over it, to be measured
 * beside weft-echo by bench/run; nothing of weft is in it.
 *
 * The same behaviour as weft-echo --inline --no-compression: a message is assembled whole, text is checked to
 * be UTF-8, TCP_NODELAY is on (libwebsockets does that itself), and each message goes back as one frame. A
 * connection sends all it has in one turn for as long as its socket takes it, which is what
 * lws_send_pipe_choked is for. One thread over libwebsockets' own poll loop, which took less time than
 * libuv's wherever both were tried: 3.8 us an echo against 6.2 with 64 connections, 5.0 against 8.2 with
 * 1000.
 * SIGTERM ends it where it stands.
 *
 * usage: libwebsockets_echo [--host ADDRESS] [--port N] [--broadcast]; --version */
#include <getopt.h>
#include <libwebsockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define RECEIVE_BYTES   65536 /* libwebsockets hands over at most that much at once */
#define CONNECTIONS_MAX 20000

/* Shared by all connections it is to be sent to. libwebsockets writes the frame header into the LWS_PRE bytes
 * in front of the payload, each time the same. */
struct message {
    unsigned refs;
    bool is_text;
    size_t bytes, room;
    unsigned char data[];
};

struct waiting {
    struct waiting *next;
    struct message *message;
};

/* libwebsockets allocates one for each connection, zeroed. */
struct connection {
    struct lws *wsi;
    struct connection *next, **link; /* in the list of all */
    struct message *incoming;
    struct waiting *first, **last;
};

static struct connection *connections;
static bool is_broadcast;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "libwebsockets_echo: %s\n", what);
    exit(1);
}

static void *checked(void *memory)
{
    if (!memory)
        die("out of memory");
    return memory;
}

static void message_unref(struct message *m)
{
    if (m && --m->refs == 0)
        free(m);
}

static void send_later(struct connection *c, struct message *m)
{
    struct waiting *w = checked(malloc(sizeof *w));

    m->refs++;
    *w = (struct waiting){.message = m};
    *c->last = w;
    c->last = &w->next;
    lws_callback_on_writable(c->wsi);
}

static struct waiting *take_first(struct connection *c)
{
    struct waiting *w = c->first;

    c->first = w->next;
    if (!c->first)
        c->last = &c->first;
    return w;
}

/* 0, or -1: the connection is over. */
static int send_waiting(struct connection *c)
{
    while (c->first) {
        struct waiting *w = take_first(c);
        struct message *m = w->message;
        int sent =
            lws_write(c->wsi, m->data + LWS_PRE, m->bytes, m->is_text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY);

        free(w);
        message_unref(m);
        if (sent < 0)
            return -1;
        if (c->first && lws_send_pipe_choked(c->wsi)) {
            lws_callback_on_writable(c->wsi);
            break;
        }
    }
    return 0;
}

static void append(struct connection *c, const void *data, size_t bytes)
{
    struct message *m = c->incoming;
    size_t have = m ? m->bytes : 0;
    size_t needed = have + bytes + lws_remaining_packet_payload(c->wsi);

    if (!m || needed > m->room) {
        m = checked(realloc(m, sizeof *m + LWS_PRE + needed));
        m->room = needed;
        if (!c->incoming)
            m->refs = 1, m->bytes = 0, m->is_text = !lws_frame_is_binary(c->wsi);
        c->incoming = m;
    }
    memcpy(m->data + LWS_PRE + m->bytes, data, bytes);
    m->bytes += bytes;
}

static void receive(struct connection *c, const void *data, size_t bytes)
{
    struct message *m;

    append(c, data, bytes);
    if (!lws_is_final_fragment(c->wsi))
        return;
    m = c->incoming;
    c->incoming = NULL;
    if (is_broadcast)
        for (struct connection *each = connections; each; each = each->next)
            send_later(each, m);
    else
        send_later(c, m);
    message_unref(m);
}

static void joined(struct connection *c, struct lws *wsi)
{
    c->wsi = wsi;
    c->last = &c->first;
    c->link = &connections;
    c->next = connections;
    if (c->next)
        c->next->link = &c->next;
    connections = c;
}

static void left(struct connection *c)
{
    if (!c->link)
        return;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    message_unref(c->incoming);
    while (c->first) {
        struct waiting *w = take_first(c);
        message_unref(w->message);
        free(w);
    }
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *data, size_t bytes)
{
    struct connection *c = user;

    switch ((int)reason) {
    case LWS_CALLBACK_ESTABLISHED:
        joined(c, wsi);
        return 0;
    case LWS_CALLBACK_RECEIVE:
        receive(c, data, bytes);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return send_waiting(c);
    case LWS_CALLBACK_CLOSED:
        left(c);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, data, bytes);
    }
}

static void stop(int signal)
{
    (void)signal;
    _exit(0);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < CONNECTIONS_MAX ? limit.rlim_max : CONNECTIONS_MAX;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void serve(const char *host, int port)
{
    static const struct lws_protocols protocols[] = {
        {.name = "echo",
         .callback = on_event,
         .per_session_data_size = sizeof(struct connection),
         .rx_buffer_size = RECEIVE_BYTES},
        {0},
    };
    struct lws_context_creation_info info = {
        .port = port,
        .iface = host,
        .protocols = protocols,
        .pt_serv_buf_size = RECEIVE_BYTES,
        .options = LWS_SERVER_OPTION_VALIDATE_UTF8 | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
    };
    struct lws_context *context;
    struct lws_vhost *vhost;

    lws_set_log_level(LLL_ERR, NULL);
    context = lws_create_context(&info);
    vhost = context ? lws_create_vhost(context, &info) : NULL;
    if (!vhost)
        die("cannot listen");
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    printf("listening on %s:%d\n", host, lws_get_vhost_listen_port(vhost));
    fflush(stdout);
    while (lws_service(context, 0) >= 0) {
    }
    die("the loop ended");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"host", required_argument, NULL, 'h'},
                                            {"broadcast", no_argument, NULL, 'b'},
                                            {"version", no_argument, NULL, 'v'},
                                            {0}};
    const char *host = "127.0.0.1";
    int port = 0, option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            host = optarg;
        else if (option == 'p')
            port = atoi(optarg);
        else if (option == 'b')
            is_broadcast = true;
        else if (option == 'v')
            return puts(LWS_LIBRARY_VERSION) < 0;
        else
            return 2;
    }
    raise_descriptor_limit();
    serve(host, port);
    return 0;
}
