/* What an idle connection costs in memory: ten thousand of them, held by a child process since each process
 * has its own limit of descriptors.
 *
 * Measured is what the library has taken from malloc; the figure is printed. It is held to its limit only
 * without a sanitizer, whose allocator tells other figures and adds to each block. */
#include "e2e_server.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX 320u

static unsigned count_possible(unsigned wanted)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > wanted + 200 ? wanted
                                                                            : (unsigned)limit.rlim_cur - 200;
}

/* The child: open them all, say so, and hold them until told to end. */
static int hold_connections(unsigned count, int from_parent, int to_parent)
{
    struct client *k = calloc(count, sizeof *k);
    uint16_t port;
    unsigned i;

    if (!k || read(from_parent, &port, sizeof port) != sizeof port)
        return 1;
    for (i = 0; i < count; i++) {
        if (!client_open(&k[i], port))
            return 2;
        free(k[i].bytes); /* the client's own buffer is not needed any more */
        k[i].bytes = NULL;
        k[i].at = k[i].have = k[i].room = 0;
    }
    if (write(to_parent, &i, sizeof i) != sizeof i || read(from_parent, &port, 1) != 1)
        return 3;
    return 0;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static size_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f) {
        if (fscanf(f, "%lu %lu", &size, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void measure(bool is_inline, unsigned io_threads, unsigned count)
{
    weft_server_opts opts = {.size = sizeof opts, .io_threads = io_threads, .inline_handlers = is_inline};
    weft_stats s = {.size = sizeof s};
    int down[2], up[2], status = -1;
    size_t heap, resident, each;
    weft_server *server;
    unsigned opened = 0;
    uint16_t port;
    pid_t child;

    CU_ASSERT_EQUAL_FATAL(pipe(down), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(up), 0);
    fflush(stdout);
    child = fork(); /* before there are threads */
    if (child == 0) {
        close(down[1]);
        close(up[0]);
        _exit(hold_connections(count, down[0], up[1]));
    }
    close(down[0]);
    close(up[1]);
    CU_ASSERT_EQUAL(weft_server_new(&server, &opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(server, NULL, 0, &port), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(server), WEFT_OK);
    heap = heap_bytes();
    resident = resident_bytes();
    CU_ASSERT_EQUAL(write(down[1], &port, sizeof port), sizeof port);
    CU_ASSERT_EQUAL(read(up[0], &opened, sizeof opened), sizeof opened);
    CU_ASSERT_EQUAL(opened, count);
    WAIT_FOR((weft_server_stats(server, &s),
              s.connections == count && weft_group_count(weft_server_group(server)) == count));
    each = (heap_bytes() - heap) / count;
    printf("  %u idle connections (%s, %u I/O threads): %zu bytes of heap each, %zu resident\n", count,
           is_inline ? "inline" : "pool", io_threads, each, (resident_bytes() - resident) / count);
    if (!unit_is_slow())
        CU_ASSERT(each <= BYTES_MAX);
    CU_ASSERT_EQUAL(write(down[1], "", 1), 1);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    WAIT_FOR((weft_server_stats(server, &s), s.closed == count));
    STOPS(weft_server_stop(server, 5000));
    weft_server_unref(server);
    close(down[1]);
    close(up[0]);
}

static void an_idle_connection_costs_little_memory(void)
{
    unsigned count = count_possible(unit_is_slow() ? 1000 : 10000);

    measure(false, 1, count);
    measure(false, 2, count);
    measure(true, 1, count);
}

static const struct unit_case cases[] = {CASE(an_idle_connection_costs_little_memory)};
E2E_MAIN("e2e_idle")
