/* The chat over a library and a bus that are played, with any JSON from three people.
 *
 * Oracles
 *   - Everything that a client is sent is one JSON object with a type.
 *   - Ids of `said` grow, and people in one room get the same ones.
 *   - Nothing is left when all have gone.
 *
 * An input is lines: the first byte of each says who speaks, and whether the line is text. */
#include "fuzz.h"

#include <jansson.h>

#include "chat.h"
#include "chat/fake_weft.h"

enum { PEOPLE = 3 };

static struct chat_time now_is;

static struct chat_time now(void)
{
    return now_is;
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
            MUST(json_is_array(json_object_get(line, "members")));
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    json_int_t last_ids[PEOPLE] = {0};
    weft_conn *people[PEOPLE];
    struct chat_opts opts = {.now = now};
    struct chat *chat;
    int alive = fake_alive();

    now_is = (struct chat_time){.steady_ms = 50, .wall_ms = 7000};
    MUST(chat_open(&chat, &opts) == WEFT_OK);
    for (unsigned i = 0; i < PEOPLE; i++) {
        people[i] = fake_conn_new();
        MUST(people[i]);
        chat_on_open(people[i], chat);
    }
    while (in.n) {
        unsigned how = fuzz_byte(&in);
        const uint8_t *end = in.n ? memchr(in.p, '\n', in.n) : NULL;
        size_t n = end ? (size_t)(end - in.p) : in.n;
        speak(people[how % PEOPLE], chat, how, in.p, n);
        for (unsigned i = 0; i < PEOPLE; i++)
            read_all(people[i], &last_ids[i]);
        in.p += n + (end != NULL);
        in.n -= n + (end != NULL);
    }
    MUST(chat_figures(chat).people <= PEOPLE);
    for (unsigned i = 0; i < PEOPLE; i++) {
        chat_on_close(people[i], NULL, chat);
        fake_conn_free(people[i]);
    }
    MUST(chat_figures(chat).people == 0);
    chat_close(chat, 0);
    MUST(fake_alive() == alive);
    return 0;
}
