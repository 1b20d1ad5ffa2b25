/* Makes what the chat sends; see lines.h. */
#include "lines.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* One object as a message. The object is given; NULL when there is no memory, also for object == NULL. */
static weft_msg *encode(json_t *object)
{
    size_t bytes = object ? json_dumpb(object, NULL, 0, JSON_COMPACT) : 0;
    weft_msg *m = NULL;
    void *payload;

    if (bytes > 0 && weft_msg_new_raw(&m, WEFT_TEXT, bytes, &payload) == WEFT_OK)
        json_dumpb(object, payload, bytes, JSON_COMPACT);
    json_decref(object);
    return m;
}

static weft_msg *text_msg(const char *text, size_t bytes)
{
    weft_msg *m = NULL;

    return weft_msg_new(&m, WEFT_TEXT, text, bytes) == WEFT_OK ? m : NULL;
}

weft_msg *lines_error(const char *reason, int64_t ref)
{
    if (ref == 0)
        return encode(json_pack("{s:s, s:s}", "type", "error", "reason", reason));
    return encode(json_pack("{s:s, s:s, s:I}", "type", "error", "reason", reason, "ref", (json_int_t)ref));
}

weft_msg *lines_waiting(void)
{
    return encode(
        json_pack("{s:s, s:s}", "type", "waiting", "reason", "the chat is not connected to its others"));
}

weft_msg *lines_notice(const char *type, const char *name)
{
    return encode(json_pack("{s:s, s:s}", "type", type, "name", name));
}

weft_msg *lines_said(const struct seat *who, const char *text, uint64_t at_ms)
{
    return encode(json_pack("{s:s, s:s, s:s, s:s, s:I}", "type", "said", "room", who->room->name, "name",
                            who->name, "text", text, "at", (json_int_t)at_ms));
}

static json_t *names_of(const struct members *members)
{
    json_t *names = json_array();

    for (size_t i = 0; i < members->count; i++) {
        const struct member *m = &members->all[i];
        if (m->is_gone || m->is_leaving)
            continue;
        if (json_array_append_new(names, json_string(m->name)) != 0) {
            json_decref(names);
            return NULL;
        }
    }
    return names;
}

weft_msg *lines_joined(const struct seat *seat)
{
    return encode(json_pack("{s:s, s:s, s:s, s:o}", "type", "joined", "room", seat->room->name, "name",
                            seat->name, "members", names_of(&seat->room->members)));
}

/* An epoch takes more bits than a number in JSON is sure to keep, so it is a string. */
static void epoch_text(char out[24], uint64_t epoch)
{
    snprintf(out, 24, "%" PRIu64, epoch);
}

weft_msg *lines_history(const weft_bus_ready *ready)
{
    char epoch[24];

    epoch_text(epoch, ready->at.epoch);
    return encode(json_pack("{s:s, s:i, s:b, s:s, s:I}", "type", "history", "count", (int)ready->missed,
                            "gap", (int)ready->is_gap, "epoch", epoch, "offset",
                            (json_int_t)ready->at.offset));
}

/* The line is an object already: its place is put in front of what is in it. */
weft_msg *lines_placed(const weft_bus_item *said)
{
    const char *line = weft_msg_data(said->msg);
    size_t line_bytes = weft_msg_bytes(said->msg);
    char place[80], epoch[24];
    weft_msg *m = NULL;
    void *payload;
    size_t bytes;

    if (weft_msg_type(said->msg) != WEFT_TEXT || line_bytes < 3 || line[0] != '{')
        return NULL;
    epoch_text(epoch, said->at.epoch);
    bytes = (size_t)snprintf(place, sizeof place, "{\"id\":%" PRIu64 ",\"epoch\":\"%s\",", said->at.offset,
                             epoch);
    if (weft_msg_new_raw(&m, WEFT_TEXT, bytes + line_bytes - 1, &payload) != WEFT_OK)
        return NULL;
    memcpy(payload, place, bytes);
    memcpy((char *)payload + bytes, line + 1, line_bytes - 1);
    return m;
}

weft_msg *lines_event(const char *verb, const struct seat *who)
{
    char text[8 + PRESENCE_BYTES];
    int bytes = snprintf(text, sizeof text, "%s %s %s", verb, who->token, who->name);

    return text_msg(text, (size_t)bytes);
}

void presence_of(const struct seat *seat, char out[PRESENCE_BYTES])
{
    snprintf(out, PRESENCE_BYTES, "%s %s", seat->token, seat->name);
}

/* Whatever else writes into the same Redis: what is no name must not reach a page. */
static bool is_clean(const char *name, size_t bytes)
{
    json_t *text = json_stringn(name, bytes);
    bool is_utf8 = text != NULL;

    json_decref(text);
    return is_utf8 && words_is_name(name, bytes, PERSON_NAME_BYTES_MAX);
}

bool event_read_who(struct event *out, const char *text, size_t bytes)
{
    const char *space = memchr(text, ' ', bytes);
    size_t token_bytes = space ? (size_t)(space - text) : 0;
    size_t name_bytes = space ? bytes - token_bytes - 1 : 0;

    if (token_bytes <= INSTANCE_BYTES || token_bytes > TOKEN_BYTES_MAX || !is_clean(space + 1, name_bytes))
        return false;
    memcpy(out->token, text, token_bytes);
    memcpy(out->name, space + 1, name_bytes);
    out->token[token_bytes] = out->name[name_bytes] = '\0';
    return true;
}

bool event_read(struct event *out, const char *text, size_t bytes)
{
    const char *space = memchr(text, ' ', bytes);
    size_t verb_bytes = space ? (size_t)(space - text) : 0;

    if (verb_bytes == 0 || verb_bytes >= sizeof out->verb)
        return false;
    memcpy(out->verb, text, verb_bytes);
    out->verb[verb_bytes] = '\0';
    return event_read_who(out, space + 1, bytes - verb_bytes - 1);
}
