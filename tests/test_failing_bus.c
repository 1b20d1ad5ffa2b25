/* Each allocation and each system call fails in turn while a bus of this process is opened, spoken to and
 * closed: with histories in memory, and in a file.
 *
 * That what was accepted has come is asked of the bus itself: nothing is passed on twice, and a listener
 * hears what it counts as passed on. */
#include "failing.h"
#include "failing_bus.h"
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weft/bus.h"
#include "weft/weft.h"

enum { PUBLISHED = 8 };

struct bus_run {
    const char *history_file;
    _Atomic unsigned heard;
};

static void on_item(const weft_bus_item *item, void *arg)
{
    struct bus_run *r = arg;

    (void)item;
    atomic_fetch_add(&r->heard, 1);
}

static int speak(struct bus_run *r, weft_bus *b)
{
    weft_bus_position from_begin = {0};
    weft_bus_listener *l = NULL;
    int rc = weft_bus_listen(b, &l, "h.x", &from_begin, NULL, on_item, r);

    if (rc == WEFT_OK)
        rc = failing_publish(b, PUBLISHED);
    if (rc == WEFT_OK)
        rc = weft_bus_flush(b, 5000);
    weft_bus_unlisten(l);
    return rc;
}

/* A run of failing.h. */
static int open_and_speak(void *arg)
{
    static const weft_bus_rule rule = {.topic = "h.*", .history_messages = 4};
    struct bus_run *r = arg;
    weft_bus_opts opts = {
        .size = sizeof opts, .rules = &rule, .rule_count = 1, .history_file = r->history_file};
    weft_bus *b;
    int rc = weft_bus_open(&b, "local:", &opts), closed;

    if (rc != WEFT_OK)
        return rc;
    atomic_store(&r->heard, 0);
    rc = speak(r, b);
    closed = weft_bus_close(b, 5000);
    CU_ASSERT(rc != WEFT_OK || r->history_file || atomic_load(&r->heard) <= PUBLISHED);
    return rc == WEFT_OK ? closed : rc;
}

static void in_memory_each_allocation_may_fail(void)
{
    struct bus_run r = {0};

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    CU_ASSERT(failing_allocations(open_and_speak, &r, &failing_memory, 1) > 20);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

static void in_memory_each_call_may_fail(void)
{
    struct bus_run r = {0};

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    CU_ASSERT(failing_calls(open_and_speak, &r, 1) > 5);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

/* --- in a file --- */

static char path[64];

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char name[80];

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

/* False: built without SQLite. */
static bool begin_file(struct bus_run *r)
{
    int fd;

    strcpy(path, "/tmp/weft-failing-bus-XXXXXX");
    fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
    r->history_file = path;
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    return open_and_speak(r) != WEFT_E_INVAL;
}

static void end_file(void)
{
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    remove_files();
}

static void in_a_file_each_allocation_may_fail(void)
{
    struct bus_run r = {0};

    if (begin_file(&r))
        CU_ASSERT(failing_allocations(open_and_speak, &r, &failing_memory, 1) > 20);
    end_file();
}

static void in_a_file_each_call_may_fail(void)
{
    struct bus_run r = {0};

    if (begin_file(&r))
        CU_ASSERT(failing_calls(open_and_speak, &r, 1) > 5);
    end_file();
}

static const struct unit_case cases[] = {
    CASE(in_memory_each_allocation_may_fail),
    CASE(in_memory_each_call_may_fail),
    CASE(in_a_file_each_allocation_may_fail),
    CASE(in_a_file_each_call_may_fail),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "failing_bus", cases, sizeof cases / sizeof cases[0]);
}
