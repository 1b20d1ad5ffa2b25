/* The chat over a library and a bus that are played, with any JSON from three people and any words from another
 * instance on the bus.
 *
 * Oracles
 *   - Everything that a client is sent is one JSON object with a type.
 *   - Ids of `said` grow, and people in one room get the same ones.
 *   - A name is among the members once.
 *   - Nothing is left when all have gone.
 *
 * An input is lines. The first byte of each says who speaks, and whether the line is text and all goes well; or what
 * happens in the world, with the rest of the line. */
#include "fuzz.h"

#include <jansson.h>
#include <sys/random.h>

#include "chat.h"
#include "chat/fake_bus.h"
#include "chat/fake_weft.h"

enum { PEOPLE = 3, WORLD = 3 };

/* What the fake bus and an outbox of the fake library hold. */
#define ENTRIES_MAX 32u
#define HELD_MAX    16u

static struct chat_time now_is;

static struct chat_time now(void)
{
    return now_is;
}

/* The instance's name, the same in each run. */
ssize_t getrandom(void *p, size_t n, unsigned flags)
{
    (void)flags;
    memset(p, 0x5a, n);
    return (ssize_t)n;
}

static void check_members(json_t *members)
{
    MUST(json_is_array(members));
    for (size_t i = 0; i < json_array_size(members); i++)
        for (size_t k = 0; k < i; k++)
            MUST(!json_equal(json_array_get(members, i), json_array_get(members, k)));
}

static void check_said(json_t *line, json_int_t *last_id)
{
    json_t *id = json_object_get(line, "id"), *name = json_object_get(line, "name");

    MUST(json_is_integer(id) && json_is_string(name) && json_is_string(json_object_get(line, "text")));
    MUST(json_integer_value(id) > *last_id);
    *last_id = json_integer_value(id);
}

static void read_all(weft_conn *c, json_int_t *last_id)
{
    const char *text;

    while ((text = fake_take(c)) != NULL) {
        json_t *line = json_loads(text, 0, NULL);
        const char *type = json_string_value(json_object_get(line, "type"));
        MUST(json_is_object(line) && type);
        if (strcmp(type, "said") == 0)
            check_said(line, last_id);
        else if (strcmp(type, "error") == 0)
            MUST(json_is_string(json_object_get(line, "reason")));
        else if (strcmp(type, "joined") == 0)
            check_members(json_object_get(line, "members"));
        else if (strcmp(type, "history") == 0)
            *last_id = 0; /* what follows may begin with what was heard before */
        else
            MUST(strcmp(type, "came") == 0 || strcmp(type, "went") == 0 || strcmp(type, "typing") == 0);
        json_decref(line);
    }
}

static void speak(weft_conn *c, struct chat *chat, unsigned how, const uint8_t *p, size_t n)
{
    weft_msg *m = NULL;

    now_is.steady_ms += how & 64 ? 0 : 100;
    fake_stuff(c, how & 32);
    fake_fail_at(how & 16 ? 1 + how % 3 : 0);
    if (weft_msg_new(&m, how & 8 ? WEFT_BINARY : WEFT_TEXT, p, n) == WEFT_OK)
        chat_on_message(c, m, chat);
    fake_fail_at(0);
    fake_stuff(c, false);
}

static struct {
    struct chat *chat;
    weft_conn *people[PEOPLE];
    json_int_t last_ids[PEOPLE];
    bool bus_is_full;
    unsigned entries, held;
} world;

static void come(unsigned who)
{
    world.people[who] = fake_conn_new();
    world.last_ids[who] = 0;
    MUST(world.people[who]);
    chat_on_open(world.people[who], world.chat);
}

static void go(unsigned who)
{
    chat_on_close(world.people[who], NULL, world.chat);
    fake_bus_run();
    fake_conn_free(world.people[who]);
}

/* As another instance that has somebody in the room. */
static void enter(const char *name)
{
    if (world.entries++ < ENTRIES_MAX)
        fake_bus_enter("typing:lobby.", name);
}

static void happen(unsigned what, const char *text)
{
    switch (what) {
    case 0:
        fake_bus_hold("who:lobby.", text);
        break;
    case 1:
        fake_bus_hold("typing:lobby.", text);
        break;
    case 2:
        enter(text);
        break;
    case 3:
        fake_bus_drop("typing:lobby.", text);
        break;
    case 4:
        chat_tick(world.chat);
        break;
    case 5:
        world.bus_is_full = !world.bus_is_full;
        fake_bus_stuff(world.bus_is_full);
        break;
    case 6:
        fake_bus_lose("who:lobby.");
        break;
    default:
        go((unsigned char)text[0] % PEOPLE);
        come((unsigned char)text[0] % PEOPLE);
    }
}

static void do_line(unsigned how, const uint8_t *p, size_t n)
{
    if ((how & 3) == WORLD) {
        char *text = fuzz_text(p, n < 90 ? n : 90); /* what a topic of the fake bus holds */
        happen(how >> 2 & 7, text);
        free(text);
    } else {
        speak(world.people[how & 3], world.chat, how, p, n);
    }
    world.held++;
    if (how & 128 && world.held < HELD_MAX)
        return;
    fake_bus_run();
    world.held = 0;
}

static void do_lines(struct fuzz_input in)
{
    while (in.n) {
        unsigned how = fuzz_byte(&in);
        const uint8_t *end = in.n ? memchr(in.p, '\n', in.n) : NULL;
        size_t n = end ? (size_t)(end - in.p) : in.n;
        do_line(how, in.p, n);
        for (unsigned i = 0; i < PEOPLE; i++)
            read_all(world.people[i], &world.last_ids[i]);
        in.p += n + (end != NULL);
        in.n -= n + (end != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct chat_opts opts = {.now = now, .bus_url = size & 1 ? "redis://played" : NULL};
    int alive = fake_alive();
    weft_bus_stats stats;

    memset(&world, 0, sizeof world);
    now_is = (struct chat_time){.steady_ms = 50, .wall_ms = 7000};
    MUST(chat_open(&world.chat, &opts) == WEFT_OK);
    for (unsigned i = 0; i < PEOPLE; i++)
        come(i);
    do_lines((struct fuzz_input){data, size});
    MUST(chat_figures(world.chat).people <= PEOPLE);
    chat_bus_stats(world.chat, &stats);
    for (unsigned i = 0; i < PEOPLE; i++)
        go(i);
    MUST(chat_figures(world.chat).people == 0);
    chat_close(world.chat, 0);
    MUST(fake_alive() == alive);
    return 0;
}
