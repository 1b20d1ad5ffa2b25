/* The peers of a script; see peer.h. */
#include "peer.h"

#include "base/mem.h"
#include "proto/compose.h"
#include "weft/error.h"
#include "wire.h"

static const char handshake[] =
    "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

static const char wrong_key[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static void send_frame(struct stage_socket *s, unsigned first, const void *p, size_t n)
{
    struct wire w;

    wire_init(&w, !s->is_client);
    wire_frame(&w, first, p, n);
    stage_send(s, w.p, w.bytes);
    wire_fini(&w);
}

static void send_raw(struct stage_socket *s, struct fuzz_input *in)
{
    size_t n = fuzz_byte(in);

    n = n < in->n ? n : in->n;
    stage_send(s, in->p, n);
    in->p += n;
    in->n -= n;
}

static void send_handshake(struct stage_socket *s)
{
    stage_send(s, handshake, sizeof handshake - 1);
    stage_send(s, "\r\n", 2);
}

static void send_request(struct stage_socket *s, struct fuzz_input *in)
{
    static const char *const more[] = {"\r\n", "Sec-WebSocket-Protocol: chat\r\n\r\n",
                                       "Origin: http://x\r\n\r\n",
                                       "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"};
    static const char *const paths[] = {"/chat",  "/later",   "/page",      "/secret",
                                        "/wrong", "/no-pack", "/odd-field", "/nothing"};
    unsigned how = fuzz_byte(in);
    const char *path = paths[(how & 3) | (how >> 3 & 4)];
    char text[512];

    snprintf(text, sizeof text, "GET %s%s%s", path, handshake + 9, more[how >> 2 & 3]);
    if (how & 16)
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    if (how & 64)
        *strstr(text, "\r\n") = 'x'; /* behind it nothing is as it should be */
    if (how & 128)
        text[strlen(text) - 2] = '\0'; /* the end comes later */
    stage_send(s, text, strlen(text));
}

static void send_filled(struct stage_socket *s, unsigned first, struct fuzz_input *in)
{
    static uint8_t payload[65536];
    size_t n = fuzz_number(in);

    memset(payload, 'a' + (int)(n % 20), n);
    send_frame(s, first, payload, n);
}

static void send_short(struct stage_socket *s, unsigned first, struct fuzz_input *in)
{
    size_t n = fuzz_byte(in);

    n = n < in->n ? n : in->n;
    send_frame(s, first, in->p, n);
    in->p += n;
    in->n -= n;
}

void peer_act(unsigned what, struct stage_socket *s, struct fuzz_input *in)
{
    switch (what) {
    case 1:
        send_raw(s, in);
        break;
    case 2:
        send_handshake(s);
        break;
    case 3:
        send_request(s, in);
        break;
    case 4:
        send_short(s, 0x80 | (1 + (fuzz_byte(in) & 1)), in);
        break;
    case 5:
        send_filled(s, 0x82, in);
        break;
    case 6:
        send_short(s, fuzz_byte(in), in);
        break;
    case 7:
        send_filled(s, fuzz_byte(in) & 0x83, in);
        break;
    case 8:
        stage_end(s);
        break;
    case 9:
        stage_reset(s);
        break;
    case 10:
        stage_give_room(s, 0);
        break;
    case 11:
        stage_give_room(s, 1 + fuzz_number(in));
        break;
    case 12:
        stage_give_room(s, SIZE_MAX);
        break;
    case 13:
        s->fails_again = true;
        break;
    case 14:
        send_short(s, 0x88, in);
        break;
    default:
        send_short(s, 0x89, in);
    }
}

/* The request that a client has written, read to its end; NULL: it is not there yet, or no memory. */
static struct http_head *request_of(const struct stage_socket *s)
{
    struct http_head *h = http_head_new(HTTP_ROLE_SERVER, NULL);
    size_t used;

    if (h && http_head_feed(h, s->out, s->out_bytes, &used) == HTTP_DONE)
        return h;
    http_head_free(h);
    return NULL;
}

static void accept_it(struct stage_socket *s, const struct http_head *h, unsigned how)
{
    struct http_accept a = {.subprotocol = how & 8 && http_offers_subprotocol(h, "chat") ? "chat" : NULL,
                            .extensions = how & 16 ? "permessage-deflate" : NULL};
    uint8_t *out;
    size_t n;

    if (http_compose_accept(h, &a, &out, &n) != WEFT_OK)
        return;
    stage_send(s, out, n);
    mem_free(out);
    if (how & 32)
        send_frame(s, 0x81, "hello", 5); /* in the same read */
}

void peer_answer(struct stage_socket *s, struct fuzz_input *in)
{
    static const char *const others[] = {
        wrong_key, "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nno", /* the rest comes later, or never */
        "SSH-2.0-x\r\n\r\n"};
    unsigned how = fuzz_byte(in);
    struct http_head *h = s->is_client ? request_of(s) : NULL;

    if (!h)
        return;
    if (how & 4)
        stage_send(s, others[how & 3], strlen(others[how & 3]));
    else
        accept_it(s, h, how);
    http_head_free(h);
}

void peer_act_oddly(struct stage_socket *s, struct fuzz_input *in)
{
    static const uint8_t hello[] = {0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}; /* RFC 7692, section 7.2.3.1 */
    unsigned how = fuzz_byte(in);

    if ((how & 3) == 0)
        send_frame(s, 0xc1, hello, sizeof hello);
    else if ((how & 3) == 1)
        s->held /= 2;
    else if ((how & 3) == 2)
        send_frame(s, 0x8a, "ping", 4);
    else
        for (unsigned i = 0; i < 70; i++) /* more than may wait for an answer */
            send_frame(s, 0x89, "many", 4);
}
