/* The echo server and client with faults; see faulty.h. A blocking thread for each connection of a server;
 * one connection at a time for a client. */
#include "faulty.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "case.h"
#include "handshake.h"

#define READ_BYTES     65536
#define FRAGMENT_BYTES 1000
#define MASKED         0x80
#define PIECES_MIN     5 /* of a head that comes octet by octet; whole, it is one, and what follows another */

/* The UTF-8 read so far: how many octets are still missing, and from where to where the next one may be. */
struct utf8 {
    unsigned missing;
    uint8_t first, last;
};

struct peer {
    int fd;
    bool connects; /* as a client */
    bool opened;
    bool unwanted; /* a client that was answered with 4xx */
    uint32_t masks;
    bool compressed; /* the message */
    enum fault fault;
    struct octets in;
    struct ws_head head;
    uint64_t seen; /* octets of the frame's payload that are unmasked and checked */
    struct octets message;
    uint8_t message_opcode; /* 0: none begun */
    struct utf8 utf8;
    struct octets pong; /* one that is not sent yet */
    bool pong_waits;
    bool echo_waits; /* for the pong to the server's own ping */
    bool closed;     /* the Close frame has been sent */
    bool ended;
};

static bool has(const struct peer *p, enum fault fault)
{
    return p->fault == fault;
}

static bool mirrors(const struct peer *p)
{
    return p->fault >= ODD_MIRRORS_DEFLATE && p->fault <= FAULT_MIRRORS_WITHOUT_RSV;
}

static void put_all(struct peer *p, const uint8_t *octets, size_t bytes)
{
    size_t step = has(p, ODD_ONE_OCTET_WRITES) ? 1 : bytes;

    for (size_t at = 0; at < bytes;) {
        ssize_t n = send(p->fd, octets + at, bytes - at < step ? bytes - at : step, MSG_NOSIGNAL);

        if (n <= 0) {
            p->ended = true;
            return;
        }
        at += (size_t)n;
    }
}

static void put_length(struct octets *out, size_t bytes, bool longer, uint8_t masked)
{
    unsigned extended = bytes > 65535 ? 8 : bytes > 125 || longer ? 2 : 0;
    uint8_t head[9] = {(uint8_t)(masked | (extended == 8 ? 127 : extended == 2 ? 126 : bytes))};

    for (unsigned i = 0; i < extended; i++)
        head[1 + i] = (uint8_t)((uint64_t)bytes >> (8 * (extended - 1 - i)));
    octets_put(out, head, 1 + extended);
}

static void make_mask(struct peer *p, uint8_t mask[4])
{
    p->masks++;
    ws_random(mask, 4);
    if (has(p, FAULT_SAME_MASK))
        memcpy(mask, "mask", 4);
    if (has(p, FAULT_MASKS_BEGIN_AGAIN))
        memcpy(mask, &p->masks, 4);
}

static void make_frame(struct peer *p, struct octets *out, uint8_t first_octet, const uint8_t *payload,
                       size_t bytes)
{
    bool data = (first_octet & 0x0f) <= OP_BINARY, masked = p->connects != has(p, FAULT_MASKING);
    uint8_t mask[4];

    if (data && has(p, FAULT_SETS_RSV))
        first_octet |= RSV(2);
    octets_put(out, &first_octet, 1);
    put_length(out, bytes, data && has(p, FAULT_LONG_LENGTH), masked ? MASKED : 0);
    if (masked) {
        make_mask(p, mask);
        octets_put(out, mask, sizeof mask);
    }
    octets_put(out, payload, bytes);
    for (size_t i = 0; masked && i < bytes; i++)
        out->data[out->bytes - bytes + i] ^= mask[i % 4];
}

static void put_frame(struct peer *p, uint8_t first_octet, const uint8_t *payload, size_t bytes)
{
    struct octets out = {0};

    make_frame(p, &out, first_octet, payload, bytes);
    put_all(p, out.data, out.bytes);
    octets_fini(&out);
}

static void put_close(struct peer *p, int code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

    if (has(p, FAULT_ANSWERS_ONE_OCTET))
        put_frame(p, FIN | OP_CLOSE, payload, 1);
    else if (!has(p, FAULT_DROPS_WITHOUT_CLOSE) && !has(p, FAULT_NO_CLOSE_ANSWER))
        put_frame(p, FIN | OP_CLOSE, payload, code == NO_CODE ? 0 : 2);
    p->closed = true;
    p->ended = !has(p, FAULT_GOES_ON_AFTER_CLOSE);
}

static void fail(struct peer *p, int code)
{
    if (!p->closed)
        put_close(p, has(p, FAULT_ERROR_CODE_1000) ? 1000 : code);
    p->ended = true;
}

static bool utf8_lead(const struct peer *p, struct utf8 *u, uint8_t octet)
{
    *u = (struct utf8){.first = 0x80, .last = 0xbf};
    if (octet >= 0xc2 && octet <= 0xdf)
        u->missing = 1;
    else if ((octet & 0xf0) == 0xe0)
        u->missing = 2;
    else if (octet >= 0xf0 && octet <= 0xf4)
        u->missing = 3;
    if (octet == 0xe0)
        u->first = 0xa0;
    if (octet == 0xed && !has(p, FAULT_TAKES_SURROGATES))
        u->last = 0x9f;
    if (octet == 0xf0)
        u->first = 0x90;
    if (octet == 0xf4)
        u->last = 0x8f;
    return octet < 0x80 || u->missing > 0;
}

static bool utf8_goes_on(const struct peer *p, struct utf8 *u, const uint8_t *octets, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (u->missing == 0) {
            if (!utf8_lead(p, u, octets[i]))
                return false;
        } else {
            if (octets[i] < u->first || octets[i] > u->last)
                return false;
            *u = (struct utf8){.missing = u->missing - 1, .first = 0x80, .last = 0xbf};
        }
    }
    return true;
}

static void check_text(struct peer *p, const uint8_t *octets, size_t bytes)
{
    if (has(p, FAULT_NO_UTF8_CHECK) || mirrors(p))
        return;
    if (!utf8_goes_on(p, &p->utf8, octets, bytes) || (has(p, FAULT_UTF8_TOO_EARLY) && p->utf8.missing > 0))
        fail(p, has(p, FAULT_UTF8_CODE_1002) ? 1002 : 1007);
}

static void put_echo(struct peer *p)
{
    uint8_t opcode = has(p, FAULT_ECHOES_TEXT_AS_BINARY) ? OP_BINARY : p->message_opcode;
    struct octets *m = &p->message;
    size_t at = 0;

    if (m->bytes > 0 && has(p, FAULT_FLIPS_LAST_BIT))
        m->data[m->bytes - 1] ^= 1;
    if (p->compressed && !has(p, FAULT_MIRRORS_WITHOUT_RSV))
        opcode |= RSV(4);
    if (m->bytes > 0 && has(p, FAULT_MIRRORS_WRONG_BIT))
        m->data[m->bytes / 2] ^= 1;
    if (m->bytes > 0 && has(p, FAULT_CUTS_LAST_OCTET))
        m->bytes--;
    for (; has(p, ODD_FRAGMENTED_ECHO) && m->bytes - at >= FRAGMENT_BYTES; at += FRAGMENT_BYTES) {
        put_frame(p, opcode, m->data + at, FRAGMENT_BYTES);
        opcode = OP_CONT;
    }
    put_frame(p, FIN | opcode, m->data + at, m->bytes - at);
}

static void flush_pong(struct peer *p)
{
    if (p->pong_waits)
        put_frame(p, FIN | OP_PONG, p->pong.data, p->pong.bytes);
    p->pong_waits = false;
}

static void echo(struct peer *p)
{
    if (!has(p, FAULT_NO_ECHO))
        put_echo(p);
    if (has(p, FAULT_ECHOES_TWICE))
        put_echo(p);
    p->message.bytes = 0;
    p->message_opcode = 0;
    p->echo_waits = false;
    flush_pong(p);
}

static void end_message(struct peer *p)
{
    if (p->message_opcode == OP_TEXT && !has(p, FAULT_NO_UTF8_CHECK)) {
        if (has(p, FAULT_UTF8_AT_MESSAGE_END))
            check_text(p, p->message.data, p->message.bytes);
        if (p->utf8.missing > 0)
            fail(p, has(p, FAULT_UTF8_CODE_1002) ? 1002 : 1007);
    }
    p->utf8.missing = 0;
    p->echo_waits = has(p, ODD_PING_BEFORE_ECHO);
    if (p->echo_waits)
        put_frame(p, FIN | OP_PING, NULL, 0);
    else if (!p->ended)
        echo(p);
}

static bool code_is_bad(const uint8_t *payload)
{
    unsigned code = (unsigned)payload[0] << 8 | payload[1];

    return code < 1000 || (code >= 1004 && code <= 1006) || (code >= 1015 && code <= 2999) || code > 4999;
}

static void answer_close(struct peer *p, const uint8_t *payload, size_t bytes)
{
    struct utf8 reason = {0};

    if (has(p, FAULT_ANSWERS_1011))
        put_close(p, 1011);
    else if (bytes == 0)
        put_close(p, has(p, FAULT_ANSWERS_1005) ? 1005 : NO_CODE);
    else if (bytes == 1)
        put_close(p, has(p, FAULT_TAKES_ONE_OCTET_CLOSE) ? 1000 : 1002);
    else if (code_is_bad(payload) && !has(p, FAULT_TAKES_BAD_CODES))
        put_close(p, 1002);
    else if ((!utf8_goes_on(p, &reason, payload + 2, bytes - 2) || reason.missing > 0) &&
             !has(p, FAULT_TAKES_BAD_REASON))
        put_close(p, 1007);
    else
        put_close(p, payload[0] << 8 | payload[1]);
}

static void answer_ping(struct peer *p, const uint8_t *payload, size_t bytes)
{
    if (has(p, FAULT_NO_PONG))
        return;
    p->pong.bytes = 0;
    octets_put(&p->pong, payload, has(p, FAULT_EMPTY_PONG) ? 0 : bytes);
    p->pong_waits = true;
    if (!has(p, FAULT_MERGES_PONGS) && !(has(p, FAULT_PONG_AFTER_MESSAGE) && p->message_opcode))
        flush_pong(p);
}

static void take_data(struct peer *p, uint8_t opcode, const uint8_t *payload, size_t bytes)
{
    if (opcode != OP_CONT || !p->message_opcode) {
        p->message_opcode = opcode == OP_TEXT ? OP_TEXT : OP_BINARY;
        p->compressed = p->head.first_octet & RSV(4) && mirrors(p);
    }
    if (p->message_opcode == OP_TEXT && has(p, FAULT_UTF8_AT_FRAME_END))
        check_text(p, payload, bytes);
    octets_put(&p->message, payload, bytes);
    if (p->head.first_octet & FIN)
        end_message(p);
}

static void take_frame(struct peer *p, const uint8_t *payload, size_t bytes)
{
    uint8_t opcode = p->head.first_octet & 0x0f;

    if (p->head.first_octet & RSV(7) && has(p, FAULT_SKIPS_RSV_FRAMES))
        return;
    if (opcode == OP_CLOSE)
        answer_close(p, payload, bytes);
    else if (opcode == OP_PING)
        answer_ping(p, payload, bytes);
    else if (opcode == OP_PONG && p->echo_waits)
        echo(p);
    else if (opcode != OP_PONG)
        take_data(p, opcode, payload, bytes);
}

static bool head_is_refused(const struct peer *p)
{
    uint8_t first = p->head.first_octet, opcode = first & 0x0f;
    bool control = opcode & 8;

    if (p->head.masked == p->connects && !has(p, FAULT_TAKES_ANY_MASKING))
        return true;
    if ((first & RSV(7)) == RSV(4) && mirrors(p) && (opcode == OP_TEXT || opcode == OP_BINARY))
        first &= (uint8_t)~RSV(4);
    if (first & RSV(7) && !has(p, FAULT_IGNORES_RSV) && !has(p, FAULT_SKIPS_RSV_FRAMES))
        return true;
    if (opcode > (control ? OP_PONG : OP_BINARY))
        return !has(p, FAULT_TAKES_RESERVED_OPCODES);
    if (control && p->head.payload_bytes > 125)
        return !has(p, FAULT_TAKES_LONG_CONTROL);
    if (control)
        return !(first & FIN) && !has(p, FAULT_TAKES_FRAGMENTED_CONTROL);
    if (opcode == OP_CONT)
        return !p->message_opcode && !has(p, FAULT_TAKES_LONE_CONTINUATION);
    return p->message_opcode && !has(p, FAULT_TAKES_TEXT_IN_MESSAGE);
}

static bool frame_is_text(const struct peer *p)
{
    uint8_t opcode = p->head.first_octet & 0x0f;

    return opcode == OP_TEXT || (opcode == OP_CONT && p->message_opcode == OP_TEXT);
}

/* Unmasks and checks what has come of the frame's payload since the last read. */
static void look_at_new(struct peer *p, uint8_t *payload, size_t bytes)
{
    const uint8_t *mask = payload - 4;

    for (size_t i = p->seen; p->head.masked && i < bytes; i++)
        payload[i] ^= mask[i % 4];
    if (frame_is_text(p) && !has(p, FAULT_UTF8_AT_FRAME_END) && !has(p, FAULT_UTF8_AT_MESSAGE_END))
        check_text(p, payload + p->seen, bytes - p->seen);
    p->seen = bytes;
}

/* One frame, or what there is of it; false when more octets are needed. */
static bool read_frame(struct peer *p)
{
    size_t bytes;
    uint8_t *payload;

    if (p->ended || !ws_head_read(p->in.data, p->in.bytes, &p->head))
        return false;
    if (head_is_refused(p)) {
        fail(p, 1002);
        return false;
    }
    payload = p->in.data + p->head.bytes;
    bytes = p->in.bytes - p->head.bytes;
    if (bytes > p->head.payload_bytes)
        bytes = (size_t)p->head.payload_bytes;
    look_at_new(p, payload, bytes);
    if (p->ended || bytes < p->head.payload_bytes)
        return false;
    take_frame(p, payload, bytes);
    octets_drop_front(&p->in, p->head.bytes + bytes);
    p->seen = 0;
    return true;
}

static bool receive(struct peer *p)
{
    uint8_t buffer[READ_BYTES];
    ssize_t n = recv(p->fd, buffer, sizeof buffer, 0);

    if (n > 0)
        octets_put(&p->in, buffer, (size_t)n);
    return n > 0;
}

static bool put_response(struct peer *p, const char *key)
{
    char accept[WS_ACCEPT_CHARS + 1], response[400];
    int chars;

    ws_accept_of(key, accept);
    if (has(p, FAULT_WRONG_ACCEPT))
        accept[0] ^= 1;
    chars = snprintf(
        response, sizeof response,
        "HTTP/1.1 %s\r\nupgrade:websocket\r\nCONNECTION: keep-alive, Upgrade \r\n"
        "Sec-WebSocket-Accept: %s\r\n%s%s\r\n",
        has(p, FAULT_STATUS_200) ? "200 OK" : "101 Switching Protocols", accept,
        has(p, FAULT_EXTENSION) || mirrors(p) ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "",
        has(p, FAULT_SUBPROTOCOL) ? "Sec-WebSocket-Protocol: chat\r\n" : "");
    put_all(p, (const uint8_t *)response, (size_t)chars);
    return !p->ended;
}

static bool opened_as_server(struct peer *p)
{
    static const char name[] = "Sec-WebSocket-Key: ";
    const char *key;

    do {
        if (!receive(p))
            return false;
    } while (!memmem(p->in.data, p->in.bytes, "\r\n\r\n", 4));
    key = memmem(p->in.data, p->in.bytes, name, sizeof name - 1);
    p->in.bytes = 0;
    return key && !has(p, FAULT_SILENT) && put_response(p, key + sizeof name - 1);
}

/* What goes before the answer goes with the request: sent after it, it may come after the answer. */
static void put_request(struct peer *p, unsigned port, char key[WS_KEY_CHARS + 1])
{
    struct octets out = {0};
    char request[400], host[32];
    int chars;

    ws_key_make(key);
    if (has(p, FAULT_SAME_KEY))
        strcpy(key, "dGhlIHNhbXBsZSBub25jZQ==");
    snprintf(host, sizeof host, "Host: 127.0.0.1:%u\r\n", port);
    chars = snprintf(request, sizeof request,
                     "GET /chat?x=1 HTTP/1.1\r\n%sUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "%s%sSec-WebSocket-Key: %s\r\n\r\n",
                     has(p, FAULT_NO_HOST) ? "" : host,
                     has(p, FAULT_NO_VERSION) ? "" : "Sec-WebSocket-Version: 13\r\n",
                     mirrors(p) ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "",
                     has(p, FAULT_SHORT_KEY) ? key + 4 : key);
    octets_put(&out, request, (size_t)chars);
    if (has(p, FAULT_FRAME_BEFORE_ANSWER))
        make_frame(p, &out, FIN | OP_PONG, NULL, 0);
    put_all(p, out.data, out.bytes);
    octets_fini(&out);
}

static bool status_is_right(const struct peer *p, const char *head)
{
    if (has(p, FAULT_TAKES_ANY_STATUS))
        return true;
    if (has(p, FAULT_TAKES_HTTP_1_0) && strncmp(head, "HTTP/1.0 101 ", 13) == 0)
        return true;
    return strncmp(head, "HTTP/1.1 101 ", 13) == 0;
}

static bool accept_is_right(const struct peer *p, const char *head, const char *key)
{
    char value[VALUE_CHARS_MAX], accept[WS_ACCEPT_CHARS + 1];
    unsigned count = head_value(head, "Sec-WebSocket-Accept", value);

    ws_accept_of(key, accept);
    if (has(p, FAULT_TAKES_ANY_ACCEPT))
        return true;
    if (has(p, FAULT_TAKES_TWO_ACCEPTS) && count == 2)
        return true;
    if (has(p, FAULT_ACCEPT_WITHOUT_CASE))
        return strcasecmp(value, accept) == 0;
    if (has(p, FAULT_ACCEPT_BEGINS))
        return strncmp(value, accept, WS_ACCEPT_CHARS) == 0;
    return count == 1 && strcmp(value, accept) == 0;
}

static bool headers_are_right(const struct peer *p, const char *head)
{
    char value[VALUE_CHARS_MAX];

    if (has(p, FAULT_NAMES_AS_WRITTEN) && !strstr(head, "\nUpgrade: websocket\r"))
        return false;
    if (!has(p, FAULT_TAKES_ANY_UPGRADE) &&
        (head_value(head, "Upgrade", value) != 1 || strcasecmp(value, "websocket") != 0))
        return false;
    if (!has(p, FAULT_TAKES_ANY_CONNECTION) &&
        (head_value(head, "Connection", value) != 1 || !head_list_has(value, "upgrade")))
        return false;
    if (!has(p, FAULT_TAKES_SUBPROTOCOL) && head_value(head, "Sec-WebSocket-Protocol", value) != 0)
        return false;
    return has(p, FAULT_TAKES_EXTENSION) || mirrors(p) ||
           head_value(head, "Sec-WebSocket-Extensions", value) == 0;
}

static bool response_is_right(struct peer *p, const char *head, const char *key)
{
    p->unwanted = strncmp(head, "HTTP/1.1 4", 10) == 0;
    return !p->unwanted && status_is_right(p, head) &&
           (has(p, FAULT_TAKES_ANY_LINE) || head_lines_are_right(head)) && headers_are_right(p, head) &&
           accept_is_right(p, head, key);
}

/* Some faults see another head than the one that came: without a NUL, or without what makes it too long. */
static int64_t take_head(struct peer *p, char head[HEADER_BYTES_MAX + 1])
{
    const uint8_t *end;
    const char *why;

    for (size_t i = 0; has(p, FAULT_TAKES_NUL) && i < p->in.bytes; i++)
        p->in.data[i] = p->in.data[i] ? p->in.data[i] : 'x';
    if (!has(p, FAULT_HEAD_WITHOUT_LIMIT) || p->in.bytes <= HEADER_BYTES_MAX)
        return head_take(&p->in, head, &why);
    end = memmem(p->in.data, p->in.bytes, "\r\n\r\n", 4);
    if (!end)
        return HANDSHAKE_MORE;
    snprintf(head, HEADER_BYTES_MAX, "%.8000s\r\n\r\n", (const char *)p->in.data);
    return end - p->in.data + 4;
}

/* Asked of TCP, not seen from the reads: one that comes late would find all of it. */
static bool came_in_pieces(const struct peer *p)
{
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;

    return getsockopt(p->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 &&
           info.tcpi_data_segs_in >= PIECES_MIN;
}

static bool opened_as_client(struct peer *p, unsigned port)
{
    char head[HEADER_BYTES_MAX + 1], key[WS_KEY_CHARS + 1];
    int64_t bytes;

    if (has(p, FAULT_SILENT))
        return false;
    put_request(p, port, key);
    do {
        if (!receive(p))
            return false;
        bytes = take_head(p, head);
    } while (bytes == HANDSHAKE_MORE);
    if (bytes <= 0 || (has(p, FAULT_HEAD_IN_ONE_READ) && came_in_pieces(p)) ||
        !response_is_right(p, head, key)) {
        if (has(p, FAULT_REFUSES_WITH_CLOSE))
            put_close(p, 1002);
        return false;
    }
    octets_drop_front(&p->in, has(p, FAULT_LOSES_GLUED) ? p->in.bytes : (size_t)bytes);
    return true;
}

/* Whether it ends TCP before it waits for the other side to do so. */
static bool ends_tcp_first(const struct peer *p)
{
    if (has(p, FAULT_KEEPS_TCP) || has(p, FAULT_NO_CLOSE_ANSWER) || has(p, FAULT_SILENT))
        return false;
    return !p->connects || !p->opened || has(p, FAULT_ENDS_TCP_FIRST) || has(p, FAULT_DROPS_WITHOUT_CLOSE);
}

/* Reads to the end, or unread octets would make the kernel send a reset that overtakes the Close frame. */
static void leave(struct peer *p)
{
    if (ends_tcp_first(p))
        shutdown(p->fd, SHUT_WR);
    do {
        p->in.bytes = 0;
    } while (receive(p));
    if (p->connects && p->opened && has(p, FAULT_KEEPS_TCP))
        poll(NULL, 0, FAULTY_KEEPS_TCP_MS);
    close(p->fd);
    octets_fini(&p->in);
    octets_fini(&p->message);
    octets_fini(&p->pong);
}

static void converse(struct peer *p)
{
    p->opened = true;
    if (has(p, FAULT_CLOSES_AT_ONCE))
        put_close(p, 1000);
    do {
        while (read_frame(p))
            ;
        if (has(p, FAULT_MERGES_PONGS))
            flush_pong(p);
    } while (!p->closed && receive(p));
}

static void no_delay(int fd)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void *serve_one(void *arg)
{
    struct peer *p = arg;

    no_delay(p->fd);
    if (opened_as_server(p))
        converse(p);
    leave(p);
    free(p);
    return NULL;
}

void faulty_visit(unsigned port, enum fault fault)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool unwanted = false;

    while (!unwanted) {
        struct peer p = {.fault = fault, .connects = true, .fd = socket(AF_INET, SOCK_STREAM, 0)};

        if (p.fd < 0 || connect(p.fd, (struct sockaddr *)&address, sizeof address) != 0)
            return;
        no_delay(p.fd);
        if (opened_as_client(&p, port))
            converse(&p);
        unwanted = p.unwanted || fault == FAULT_SILENT; /* would not hear that it is unwanted */
        leave(&p);
    }
}

void faulty_serve(int listener, enum fault fault)
{
    for (;;) {
        struct peer *p = memory_resize(NULL, 1, sizeof *p);
        pthread_t thread;

        *p = (struct peer){.fault = fault, .fd = accept(listener, NULL, NULL)};
        if (p->fd < 0 || pthread_create(&thread, NULL, serve_one, p) != 0)
            _exit(2);
        pthread_detach(thread);
    }
}
