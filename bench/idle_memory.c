/* What does an idle connection keep, from a thousand to a million?
 *
 * A million connections of the library in one process, without a socket: each comes by an opening handshake
 * that the library reads and answers, is a member of the group of all, has its timer armed, and then waits.
 * After each step of the table all of them have echoed one message, so that what a message leaves behind
 * would show.
 *
 * The transport is this program. It gives the functions of io/link.h, so that the linker leaves the
 * library's out, and takes epoll_ctl, since there is nothing to be watched: an event is a call of the
 * loop's hook. The rest is the library as it is, in inline mode and driven from main. So what the system
 * keeps for a socket is not counted, and nothing of the library is left out but the read and the write.
 * Before the first figure a few hundred connections come and go, for the thread keeps some free blocks for
 * all of them together.
 *
 * Columns: bytes of heap a connection, as malloc counts them, its own included; resident bytes a
 * connection; bytes of heap for each that came since the row above; and the first two once more behind the
 * echo.
 *
 * usage: idle_memory [--json] [quick]     quick: up to 15,000 */
#include "micro.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "api/group.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/io_thread.h"
#include "io/link.h"
#include "weft/weft.h"

enum { TURN = 256, COUNT_MAX = 1000000 };

static const unsigned counts[] = {1000, 15000, 100000, COUNT_MAX};
static const char *const columns[] = {"heap", "resident", "heap of new", "heap, echoed", "res., echoed"};
enum { ROWS = sizeof counts / sizeof counts[0], COLUMNS = sizeof columns / sizeof columns[0] };

static const char handshake[] =
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/* "hello", masked with zeros. */
static const uint8_t frame[] = {0x81, 0x85, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'};

/* --- the transport --- */

static struct {
    const uint8_t *p; /* what the connection that is called now may read */
    size_t bytes;
    uint64_t written, writes;
} transport;

ptrdiff_t link_read(struct link *l, struct iovec *iov, int count)
{
    size_t before = transport.bytes;

    (void)l;
    for (int i = 0; i < count; i++) {
        size_t n = transport.bytes < iov[i].iov_len ? transport.bytes : iov[i].iov_len;
        memcpy(iov[i].iov_base, transport.p, n);
        transport.p += n;
        transport.bytes -= n;
    }
    return before ? (ptrdiff_t)(before - transport.bytes) : WEFT_E_AGAIN;
}

ptrdiff_t link_write(struct link *l, const struct iovec *iov, int count)
{
    ptrdiff_t n = 0;

    (void)l;
    for (int i = 0; i < count; i++)
        n += (ptrdiff_t)iov[i].iov_len;
    transport.written += (uint64_t)n;
    transport.writes++;
    return n;
}

uint32_t link_held_bytes(struct link *l)
{
    (void)l;
    return 0;
}

void link_finish(struct link *l)
{
    (void)l;
}

void link_close(struct link *l, int with_reset)
{
    (void)l;
    (void)with_reset;
}

int epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event)
{
    (void)epoll_fd;
    (void)what;
    (void)fd;
    (void)event;
    return 0;
}

/* --- the server --- */

static weft_conn **conns;
static unsigned opened_count;
static weft_group *group;

static void opened(struct weft_conn *c, void *arg)
{
    (void)arg;
    if (weft_group_add(group, c) != WEFT_OK)
        abort();
    conns[opened_count++] = c;
}

static void closed(struct weft_conn *c, void *arg)
{
    (void)arg;
    group_leave_all(c);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    (void)app;
    if (weft_conn_send(c, m) != WEFT_OK)
        weft_msg_unref(m);
}

static struct engine *new_engine(void)
{
    weft_server_opts opts = {
        .size = sizeof opts, .io_threads = 1, .inline_handlers = true, .on_message = on_message};
    struct engine_hooks hooks = {.opened = opened, .closed = closed};
    struct engine *e;

    if (weft_group_new(&group) != WEFT_OK || engine_new(&e, &opts, &hooks) != WEFT_OK)
        abort();
    return e;
}

/* The end of a turn of the loop. */
static void end_turn(struct io_thread *io) ON_IO
{
    io->loop.hooks.turn_end(io->loop.hooks.arg);
}

static void arrives(struct weft_conn *c, const void *p, size_t bytes) ON_IO
{
    transport.p = p;
    transport.bytes = bytes;
    c->home->io->loop.hooks.ready(c, LOOP_READ);
}

static void open_up_to(struct io_thread *io, unsigned count) ON_IO
{
    struct sock_peer peer = {0};

    for (unsigned i = opened_count; i < count; i++) {
        struct weft_conn *c = conn_new(&io->engine->own.homes[0], -1, &peer, NULL);
        if (!c)
            abort();
        conn_register(c);
        arrives(c, handshake, sizeof handshake - 1);
        if (i % TURN == TURN - 1)
            end_turn(io);
    }
    end_turn(io);
    end_turn(io);
    if (opened_count != count)
        abort();
}

static void echo_all(struct io_thread *io) ON_IO
{
    uint64_t before = transport.written;

    for (unsigned i = 0; i < opened_count; i++) {
        arrives(conns[i], frame, sizeof frame);
        if (i % TURN == TURN - 1) {
            end_turn(io);
            end_turn(io); /* what was sent at the end of the last one */
        }
    }
    end_turn(io);
    end_turn(io);
    if (transport.written - before != opened_count * (sizeof frame - 4))
        abort();
}

static void abort_all(struct io_thread *io) ON_IO
{
    io_thread_command(io, IO_ABORT_ALL);
    end_turn(io);
    if (atomic_load(&io->engine->alive) != 0 || weft_group_count(group) != 0)
        abort();
    opened_count = 0;
}

/* --- the figures --- */

struct figures {
    double heap, resident;
};

static struct figures figures_now(void)
{
    struct mallinfo2 m = mallinfo2();
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
        abort();
    fclose(f);
    return (struct figures){(double)(m.uordblks + m.hblkhd),
                            (double)resident * (double)sysconf(_SC_PAGESIZE)};
}

static void measure(struct io_thread *io, unsigned rows) ON_IO
{
    struct figures first = figures_now(), last = first;
    unsigned last_count = 0;

    micro_table("an idle connection", "bytes", columns, COLUMNS);
    for (unsigned i = 0; i < rows; i++) {
        struct figures fresh, echoed;
        char name[32];

        open_up_to(io, counts[i]);
        fresh = figures_now();
        echo_all(io);
        echoed = figures_now();
        snprintf(name, sizeof name, "%u connections", counts[i]);
        micro_row(name, (double[COLUMNS]){(fresh.heap - first.heap) / counts[i],
                                          (fresh.resident - first.resident) / counts[i],
                                          (fresh.heap - last.heap) / (counts[i] - last_count),
                                          (echoed.heap - first.heap) / counts[i],
                                          (echoed.resident - first.resident) / counts[i]});
        last = echoed;
        last_count = counts[i];
    }
}

int main(int argc, char **argv) THR_ATTR(no_thread_safety_analysis)
{
    const char *word = micro_begin(argc, argv, "quick");
    struct io_thread *io;
    struct engine *e;

    mem_count_live(true);
    conns = malloc(COUNT_MAX * sizeof *conns);
    if (!conns)
        abort();
    memset(conns, 1, COUNT_MAX * sizeof *conns); /* it is resident before the first figure */
    e = new_engine();
    io = e->io_threads[0];
    mem_pool_join();
    io_thread_step_up(io);
    open_up_to(io, 2 * TURN);
    echo_all(io);
    abort_all(io);
    measure(io, word ? 2 : ROWS);
    abort_all(io);
    mem_pool_leave();
    engine_unref(e);
    weft_group_unref(group);
    micro_end();
    free(conns);
    if (mem_live_blocks() != 0)
        fprintf(stderr, "%lld blocks were not given back\n", (long long)mem_live_blocks());
    return mem_live_blocks() != 0;
}
