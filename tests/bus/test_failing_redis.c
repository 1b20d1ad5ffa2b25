/* Each system call fails in turn while a bus in Redis is opened, spoken to and closed: the connection is
 * made again, and what was accepted gets there. */
#include "failing.h"
#include "failing_bus.h"
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>

#include "redis.h"
#include "weft/bus.h"
#include "weft/weft.h"

enum { PUBLISHED = 3 };

static void on_item(const weft_bus_item *item, void *arg)
{
    (void)item;
    atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

/* A run of failing.h. */
static int open_and_speak(void *arg)
{
    static const weft_bus_rule rule = {.topic = "h.*", .history_messages = 4};
    const struct redis_server *s = arg;
    weft_bus_opts opts = {.size = sizeof opts,
                          .rules = &rule,
                          .rule_count = 1,
                          .connect_timeout_ms = 300,
                          .reply_timeout_ms = 300,
                          .reconnect_min_ms = 10,
                          .reconnect_max_ms = 50};
    _Atomic unsigned heard = 0;
    weft_bus_listener *l = NULL;
    weft_bus *b;
    int rc = weft_bus_open(&b, s->url, &opts), closed;

    if (rc != WEFT_OK)
        return rc;
    rc = weft_bus_listen(b, &l, "h.x", NULL, NULL, on_item, &heard);
    if (rc == WEFT_OK)
        rc = failing_publish(b, PUBLISHED);
    if (rc == WEFT_OK)
        rc = weft_bus_flush(b, 10000);
    weft_bus_unlisten(l);
    closed = weft_bus_close(b, 5000);
    CU_ASSERT(atomic_load(&heard) <= PUBLISHED);
    return rc == WEFT_OK ? closed : rc;
}

static void each_call_may_fail(void)
{
    struct redis_server s;
    unsigned failures;

    redis_start(&s, false, NULL);
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    failures = failing_calls(open_and_speak, &s, 1);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    redis_end(&s);
    CU_ASSERT(failures > 20);
    printf("  %u failures\n", failures);
}

static const struct unit_case cases[] = {CASE(each_call_may_fail)};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "failing_redis", cases, sizeof cases / sizeof cases[0]);
}
