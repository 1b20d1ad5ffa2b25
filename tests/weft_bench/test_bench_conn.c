/* What a connection of the load writes when its socket is full or the server closes: no Close frame is lost,
 * and nothing follows one. */
#include "unit.h"
#include "weft_bench/loader.h"
#include "weft_bench/receive.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t ping[] = {0x89, 2, 'h', 'i'};
static const uint8_t going_away[] = {0x88, 2, 0x03, 0xe9};

static struct options options;
static struct payload payload;
static struct run run;
static struct loader loader;
static int server; /* the other end */

/* ends: ours and the server's. */
static struct conn *open_on(const struct mode *mode, const int ends[2])
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    struct conn *c;

    options = (struct options){
        .in_flight = 1, .threads = 1, .messages = OPTIONS_NO_LIMIT, .drain_s = 1, .rate = 1, .slow_ms = 5};
    run = (struct run){.options = &options, .payload = &payload, .mode = mode, .conn_count = 1};
    CU_ASSERT_FATAL(payload_init(&payload, PAYLOAD_TEXT, 20, false, 1));
    CU_ASSERT_PTR_NULL_FATAL(loader_init(&loader, &run, 0));
    c = &loader.conns[0];
    c->fd = ends[0];
    c->state = CONN_OPEN;
    e.data.ptr = c;
    CU_ASSERT_EQUAL(epoll_ctl(loader.epoll_fd, EPOLL_CTL_ADD, c->fd, &e), 0);
    loader.open = 1;
    loader.phase = PHASE_MEASURE;
    loader.explained = LOADER_EXPLAINED_MAX + 1; /* the failures are meant */
    server = ends[1];
    return c;
}

static struct conn *open_one(const struct mode *mode)
{
    int ends[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    return open_on(mode, ends);
}

/* TCP takes a part of a small frame when that fills its buffer, a Unix socket never does. */
static struct conn *open_tcp(const struct mode *mode)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t room = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), small = 4096, ends[2];

    CU_ASSERT_EQUAL_FATAL(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL_FATAL(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &room);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    CU_ASSERT_EQUAL_FATAL(connect(ends[0], (struct sockaddr *)&address, sizeof address), 0);
    ends[1] = accept(listener, NULL, NULL);
    CU_ASSERT_FATAL(ends[1] >= 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    close(listener);
    return open_on(mode, ends);
}

static void end(void)
{
    close(server);
    loader_fini(&loader);
    payload_fini(&payload);
}

/* Whatever the server can read now. */
static size_t read_all(uint8_t *out, size_t room)
{
    size_t held = 0;
    ssize_t got;

    while ((got = recv(server, out + held, room - held, 0)) > 0)
        held += (size_t)got;
    return held;
}

static size_t fill(struct conn *c)
{
    static const uint8_t zeros[4096];
    size_t held = 0;
    ssize_t sent;

    while ((sent = send(c->fd, zeros, sizeof zeros, MSG_NOSIGNAL)) > 0)
        held += (size_t)sent;
    CU_ASSERT_EQUAL(errno, EAGAIN);
    return held;
}

static bool unread(size_t bytes)
{
    uint8_t drop[4096];

    while (bytes) {
        ssize_t got = recv(server, drop, bytes < sizeof drop ? bytes : sizeof drop, 0);
        if (got <= 0)
            return false;
        bytes -= (size_t)got;
    }
    return true;
}

static void a_ping_is_answered_with_its_payload(void)
{
    struct conn *c = open_one(&mode_echo);
    uint8_t got[256];

    CU_ASSERT(receive_feed(c, ping, sizeof ping));
    CU_ASSERT(conn_flush(c));
    CU_ASSERT_EQUAL(read_all(got, sizeof got), 8);
    CU_ASSERT(got[0] == 0x8a && got[1] == (0x80 | 2));
    CU_ASSERT((got[6] ^ got[2]) == 'h' && (got[7] ^ got[3]) == 'i');
    end();
}

static void a_ping_does_not_replace_a_close_frame_that_waits(void)
{
    struct conn *c = open_one(&mode_echo);
    size_t held = fill(c);
    uint8_t got[256];

    conn_close(c, WEFT_CLOSE_NORMAL);
    CU_ASSERT(c->waits_to_write);
    for (size_t i = 0; i < sizeof ping; i++)
        CU_ASSERT(receive_feed(c, ping + i, 1));
    CU_ASSERT(unread(held));
    CU_ASSERT(conn_flush(c));
    CU_ASSERT_EQUAL(read_all(got, sizeof got), 8);
    CU_ASSERT_EQUAL(got[0], 0x88);
    CU_ASSERT(receive_feed(c, ping, sizeof ping)); /* nor does it follow one that is sent */
    CU_ASSERT(conn_flush(c));
    CU_ASSERT_EQUAL(read_all(got, sizeof got), 0);
    end();
}

static void of_pongs_that_wait_the_last_one_is_sent(void)
{
    static const uint8_t other[] = {0x89, 0};
    struct conn *c = open_one(&mode_echo);
    size_t held = fill(c);
    uint8_t got[256];

    for (int i = 0; i < 1000; i++)
        CU_ASSERT(receive_feed(c, ping, sizeof ping) && conn_flush(c));
    CU_ASSERT(receive_feed(c, other, sizeof other));
    CU_ASSERT(unread(held));
    CU_ASSERT(conn_flush(c));
    CU_ASSERT_EQUAL(read_all(got, sizeof got), 6);
    CU_ASSERT(got[0] == 0x8a && got[1] == 0x80);
    end();
}

/* Pongs until the socket is full, which is in the middle of one; another that is replaced; a Close frame. */
static void a_frame_that_is_half_sent_is_finished_before_the_next(void)
{
    enum { PONG_BYTES = FRAME_WHOLE_CONTROL_MAX, STREAM_BYTES = 64 * 1024 * 1024 };
    struct conn *c = open_tcp(&mode_echo);
    uint8_t said[FRAME_CONTROL_BYTES_MAX] = {0}, *stream = malloc(STREAM_BYTES);
    size_t held = 0, pongs, wrong = 0;
    ssize_t got;

    while (!c->waits_to_write) {
        conn_control(c, FRAME_PONG, said, sizeof said);
        CU_ASSERT(conn_flush(c));
    }
    conn_control(c, FRAME_PONG, said, 1);
    conn_close(c, WEFT_CLOSE_NORMAL);
    while (c->control) { /* what the server reads makes room, if not at once */
        got = recv(server, stream + held, STREAM_BYTES - held, MSG_DONTWAIT);
        held += got > 0 ? (size_t)got : 0;
        CU_ASSERT_FATAL(conn_flush(c));
    }
    shutdown(c->fd, SHUT_WR);
    while ((got = recv(server, stream + held, STREAM_BYTES - held, 0)) > 0)
        held += (size_t)got;
    pongs = held / PONG_BYTES;
    CU_ASSERT_EQUAL_FATAL(held, pongs * PONG_BYTES + 8);
    for (size_t i = 0; i < pongs; i++)
        wrong += stream[i * PONG_BYTES] != 0x8a || stream[i * PONG_BYTES + 1] != (0x80 | 125);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(stream[pongs * PONG_BYTES], 0x88);
    free(stream);
    end();
}

/* The answer to its Close frame is the last thing that a server gets. */
static void messages_that_were_due_do_not_follow_the_close_frame(void)
{
    struct conn *c = open_one(&mode_echo);
    uint8_t got[1024];

    c->tx_due = 5;
    loader.outstanding = 5;
    CU_ASSERT_FALSE(receive_feed(c, going_away, sizeof going_away));
    CU_ASSERT_EQUAL(read_all(got, sizeof got), 8);
    CU_ASSERT_EQUAL(got[0], 0x88);
    CU_ASSERT_EQUAL(loader.tally.errors[ERROR_DROPPED], 1);
    CU_ASSERT_EQUAL(loader.tally.errors[ERROR_LOST], 5);
    CU_ASSERT_EQUAL(loader.outstanding, 0);
    CU_ASSERT_EQUAL(c->state, CONN_IDLE);
    end();
}

static void a_wrong_close_frame_breaks_the_protocol(void)
{
    static const uint8_t wrong[][4] = {{0x88, 1, 3}, {0x88, 2, 0x03, 0xed}, {0x88, 2, 0, 0}};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct conn *c = open_one(&mode_echo);
        CU_ASSERT_FALSE(receive_feed(c, wrong[i], 2u + wrong[i][1]));
        CU_ASSERT_EQUAL(loader.tally.errors[ERROR_PROTOCOL], 1);
        CU_ASSERT_EQUAL(c->state, CONN_IDLE);
        end();
    }
}

static const struct unit_case cases[] = {
    CASE(a_ping_is_answered_with_its_payload),
    CASE(a_ping_does_not_replace_a_close_frame_that_waits),
    CASE(of_pongs_that_wait_the_last_one_is_sent),
    CASE(a_frame_that_is_half_sent_is_finished_before_the_next),
    CASE(messages_that_were_due_do_not_follow_the_close_frame),
    CASE(a_wrong_close_frame_breaks_the_protocol),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_conn", cases, sizeof cases / sizeof cases[0]);
}
