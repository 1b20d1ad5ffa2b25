/* The way into a Redis: databases, users and what they may, sockets, and what is said when it stays shut. */
#include <stdio.h>
#include <string.h>

#include "bus_load.h"
#include "e2e_server.h"
#include "fake.h"
#include "redis.h"
#include "weft/weft.h"

/* --- databases --- */

struct ears {
    struct ear *plain, *pattern, *kept;
};

static struct ears listen_to_all(weft_bus *b)
{
    return (struct ears){listen_to(b, "plain"), listen_to(b, "pl*"), listen_to(b, "h.x")};
}

static void say_to_all(weft_bus *b, const char *text)
{
    say(b, "plain", text);
    say(b, "h.x", text);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
}

static void expect(const struct ears *e, const char *plain, const char *kept)
{
    WAIT_FOR(strcmp(e->plain->text, plain) == 0 && strcmp(e->pattern->text, plain) == 0 &&
             strcmp(e->kept->text, kept) == 0);
    CU_ASSERT(e->kept->gaps == 0 && e->kept->readies == 1);
}

static void end_all(const struct ears *e)
{
    end_ear(e->plain);
    end_ear(e->pattern);
    end_ear(e->kept);
}

/* What Redis passes on comes in the order in which it was published: behind what is one's own nothing is to come. */
static void databases_are_buses_of_their_own(void)
{
    char url[128];
    struct redis_server s;
    weft_bus *zero, *fifteen;
    struct ears at_zero, at_fifteen;

    redis_start(&s, false, NULL);
    zero = open_bus(s.url);
    snprintf(url, sizeof url, "%s/15", s.url);
    fifteen = open_bus(url);
    at_zero = listen_to_all(zero);
    at_fifteen = listen_to_all(fifteen);
    say_to_all(fifteen, "a");
    say_to_all(zero, "b");
    say_to_all(fifteen, "c");
    say_to_all(zero, "d");
    expect(&at_zero, "plain=b@0 plain=d@0 ", "h.x=b@1 h.x=d@2 ");
    expect(&at_fifteen, "plain=a@0 plain=c@0 ", "h.x=a@1 h.x=c@2 ");
    CU_ASSERT(at_zero.kept->last_epoch != at_fifteen.kept->last_epoch);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c:{t:plain} e"), ":2\r\n");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c15:{t:plain} f"), ":2\r\n");
    expect(&at_zero, "plain=b@0 plain=d@0 plain=e@0 ", "h.x=b@1 h.x=d@2 ");
    expect(&at_fifteen, "plain=a@0 plain=c@0 plain=f@0 ", "h.x=a@1 h.x=c@2 ");
    end_all(&at_zero);
    end_all(&at_fifteen);
    WAIT_FOR(strcmp(redis_say(&s, "PUBSUB NUMPAT"), ":0\r\n") == 0);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c15:{t:plain} g"), ":0\r\n");
    close_bus(zero);
    close_bus(fifteen);
    redis_end(&s);
}

static const struct unit_case cases[] = {
    CASE(databases_are_buses_of_their_own),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bus_access", cases, sizeof cases / sizeof cases[0]);
}
