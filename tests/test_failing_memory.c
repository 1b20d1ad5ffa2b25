/* Every allocation fails in turn, over scripted sessions of a server, where each run is the same one: what must
 * hold then is in fuzz/script.h.
 *
 * Over real sockets and in all modes: test_e2e_memory.c. Straight-line programs, clients, groups and compression with both
 * ends in one process: test_failing_calls.c; over TLS: test_failing_tls.c; the bus: test_failing_bus.c. */
#include "unit.h"
#include "fuzz/script.h"

#include <string.h>

static uint8_t script[512];
static size_t script_bytes;

static void add(const void *p, size_t n)
{
    memcpy(script + script_bytes, p, n);
    script_bytes += n;
}

#define ADD(text) add(text, sizeof text - 1)

static void begin(unsigned options)
{
    script_bytes = 0;
    script[script_bytes++] = (uint8_t)options;
    ADD("\0\0\0"); /* no more options; the allocation that fails */
}

/* Run it with each allocation failing in turn; how many there are. */
static unsigned fail_each(void)
{
    unsigned n = 1;

    for (; n < 65536; n++) {
        script[2] = (uint8_t)n;
        script[3] = (uint8_t)(n >> 8);
        if (!script_run(script, script_bytes))
            break;
    }
    return n - 1;
}

static void an_echo_survives(void)
{
    begin(1);
    ADD("\x00\x02");             /* a connection, its handshake */
    ADD("\x04\x00\x05hello");    /* text */
    ADD("\x07\x02\x00\x10");     /* the first fragment */
    ADD("\x0f\x01p");            /* a Ping */
    ADD("\x07\x80\x00\x10");     /* the last */
    ADD("\x05\x00\x90");         /* a large message */
    ADD("\x17\x14\x00\x70");     /* the program pings, and sends */
    ADD("\x0e\x02\x03\xe8\x08"); /* Close, and the end */
    CU_ASSERT(fail_each() > 20);
}

static void requests_survive(void)
{
    begin(1);
    ADD("\x00\x03\x01");     /* decided later */
    ADD("\x20\x23\x02");     /* answered with a page */
    ADD("\x40\x43\x03");     /* challenged */
    ADD("\x60\x63\x04\x33"); /* with a subprotocol; the first one is accepted */
    ADD("\x80\x81\x04\x00\x01\x02\x03");
    ADD("\x04\x00\x02hi\x16");
    CU_ASSERT(fail_each() > 20);
}

static void slow_readers_survive(void)
{
    for (unsigned policy = 0; policy < 3; policy++) {
        begin(3 | policy << 2);
        ADD("\x00\x02\x20\x22\x0a"); /* two, one of them reads no more */
        for (int i = 0; i < 4; i++)
            ADD("\x12\x00\x70"); /* broadcasts */
        ADD("\x0b\x00\x40\x0c\x0f\x00");
        ADD("\x15\x01");
        CU_ASSERT(fail_each() > 20);
    }
}

static void parts_survive(void)
{
    begin(1);
    ADD("\x00\x02");
    ADD("\x19\x04\x19\x06");         /* a text begins, and a character of it */
    ADD("\x14\x10\x00\x12\x00\x10"); /* a message and a broadcast wait for its end */
    ADD("\x19\x01\x00\x10\x19\x03\x15\x00");
    CU_ASSERT(fail_each() > 20);
}

static void compression_survives(void)
{
    begin(1);
    ADD("\x00\x03\x0c\x20\x23\x0c");     /* two that agree on it */
    ADD("\x1f\x00\x14\x00\x10");         /* one comes, one goes */
    ADD("\x12\x00\x10\x0e\x02\x03\xe8"); /* a broadcast */
    CU_ASSERT(fail_each() > 40);
}

static void a_client_survives(void)
{
    begin(1);
    ADD("\x1c\x1d\x38");              /* it asks, and is accepted with all it offered */
    ADD("\x04\x00\x05hello\x0b\x05"); /* text; room for a part of a masked frame */
    ADD("\x00\x14\xff\x7f\x0c\x14\x05\x00");
    ADD("\x1c\x3d\x06\x21\x04page"); /* another is refused, with a page */
    ADD("\x0e\x02\x03\xe8\x08");
    CU_ASSERT(fail_each() > 20);
}

static const struct unit_case cases[] = {
    CASE(an_echo_survives), CASE(requests_survive),     CASE(slow_readers_survive),
    CASE(parts_survive),    CASE(compression_survives), CASE(a_client_survives),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "failing_memory", cases, sizeof cases / sizeof cases[0]);
}
