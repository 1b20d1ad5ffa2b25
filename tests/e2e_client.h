/* A small blocking WebSocket client for the end-to-end tests.
 *
 * It shares no code with the library, so that a mistake of one is not made by the other too. It writes what
 * it is told, byte for byte, and reads frame by frame. Every call is bounded in time: one that waits longer
 * than the patience answers CLIENT_TIMEOUT (or false), which no test expects. Its calls make no CUnit
 * assertions, so any thread may use a client of its own. */
#ifndef WEFT_TESTS_E2E_CLIENT_H
#define WEFT_TESTS_E2E_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLIENT_TEXT = 1, CLIENT_BINARY = 2, CLIENT_CLOSE = 8, CLIENT_PING = 9, CLIENT_PONG = 10 };

/* Key and answer of RFC 6455 section 1.3. */
#define CLIENT_KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define CLIENT_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct client {
    int fd;
    uint8_t *bytes; /* received and not used yet: [at, have) */
    size_t at, have, room;
    bool allows_compressed; /* RSV1 is no fault: permessage-deflate was agreed */
};

struct frame {
    unsigned opcode;
    bool is_final;
    bool is_compressed; /* RSV1 */
    const uint8_t *payload; /* until the next call for this client */
    size_t bytes;
};

enum client_result {
    CLIENT_OK,
    CLIENT_END,   /* the server ended its side, with nothing half said */
    CLIENT_RESET, /* the connection was reset, or ended inside a frame */
    CLIENT_TIMEOUT,
    CLIENT_BAD /* a frame that no server may send */
};

/* Where the server listens: a port of 127.0.0.1, or a path. */
bool client_connect(struct client *k, uint16_t port);
bool client_connect_path(struct client *k, const char *path);
void client_adopt(struct client *k, int fd);
void client_close(struct client *k); /* also twice, or when it was never connected but zero */
void client_reset(struct client *k); /* the server sees a reset instead of an end */
void client_end(struct client *k);   /* end of our side only */
/* Before connecting: how much the kernel keeps for this socket. 0: as usual. */
void client_buffer_bytes(int receive_bytes, int send_bytes);

bool client_put(struct client *k, const void *bytes, size_t n);
bool client_put_text(struct client *k, const char *text);
/* Write without waiting for the reader: how many bytes went before the socket was full for quiet_ms. */
size_t client_put_until_full(struct client *k, const void *bytes, size_t n, int quiet_ms);

/* The opening handshake, extra headers each ending with CRLF; NULL for none. */
bool client_ask(struct client *k, const char *path, const char *extra);
/* The status of the response, 0 for none; its head and body as text into the room. */
int client_status(struct client *k, char *head, size_t room);
/* Connect, ask, and read a right 101. */
bool client_open(struct client *k, uint16_t port);

/* One masked frame with this first byte (FIN is 0x80) appended at dst; returns its length, at most n + 14. */
size_t client_frame(uint8_t *dst, unsigned first, const void *payload, size_t n);
bool client_send(struct client *k, unsigned opcode, const void *payload, size_t n);
bool client_say(struct client *k, const char *text);
bool client_say_close(struct client *k, unsigned code);

/* The next frame, whatever it is. */
enum client_result client_next(struct client *k, struct frame *f);
enum client_result client_next_within(struct client *k, struct frame *f, int timeout_ms);
/* The next data or Close frame; Pings are answered, Pongs passed over. */
enum client_result client_hear(struct client *k, struct frame *f);
bool client_hears(struct client *k, const char *text);
/* A Close frame with this code comes next; it is answered, and then the end comes. */
bool client_hears_close(struct client *k, unsigned code);
unsigned client_skip_to_close(struct client *k); /* the code; 1005 for none, 1006 when no Close came */
/* Nothing but the end of the stream comes; reset or not. */
bool client_sees_end(struct client *k);
unsigned frame_code(const struct frame *f);
bool frame_is(const struct frame *f, unsigned opcode, const char *text);

#endif
