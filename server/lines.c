/* Makes what the chat sends; see lines.h. */
#include "lines.h"

#include <jansson.h>
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

weft_msg *lines_error(const char *reason)
{
    return encode(json_pack("{s:s, s:s}", "type", "error", "reason", reason));
}

weft_msg *lines_notice(const char *type, const char *name)
{
    return encode(json_pack("{s:s, s:s}", "type", type, "name", name));
}

weft_msg *lines_said(uint64_t id, const struct person *who, const char *text, uint64_t at_ms)
{
    return encode(json_pack("{s:s, s:I, s:s, s:s, s:s, s:I}", "type", "said", "id", (json_int_t)id, "room",
                            who->room->name, "name", who->name, "text", text, "at", (json_int_t)at_ms));
}

static json_t *names_of(const struct room *room)
{
    json_t *names = json_array();

    for (struct person *p = room->first; p; p = p->next)
        if (json_array_append_new(names, json_string(p->name)) != 0) {
            json_decref(names);
            return NULL;
        }
    return names;
}

static void write_history(char *at, const struct room *room)
{
    for (size_t i = 0; i < room->history_count; i++) {
        weft_msg *said = room_history(room, i);
        if (i > 0)
            *at++ = ',';
        memcpy(at, weft_msg_data(said), weft_msg_bytes(said));
        at += weft_msg_bytes(said);
    }
    memcpy(at, "]}", 2);
}

/* What was said before is kept as it was sent, so it goes as it is between the brackets that `head` ends
 * with. */
static weft_msg *with_history(const weft_msg *head, const struct room *room)
{
    size_t start = weft_msg_bytes(head) - strlen("]}");
    size_t bytes = weft_msg_bytes(head);
    weft_msg *m = NULL;
    void *payload;

    for (size_t i = 0; i < room->history_count; i++)
        bytes += weft_msg_bytes(room_history(room, i)) + (i > 0);
    if (weft_msg_new_raw(&m, WEFT_TEXT, bytes, &payload) == WEFT_OK) {
        memcpy(payload, weft_msg_data(head), start);
        write_history((char *)payload + start, room);
    }
    return m;
}

weft_msg *lines_joined(const struct person *who)
{
    weft_msg *head = encode(json_pack("{s:s, s:s, s:s, s:o, s:[]}", "type", "joined", "room", who->room->name,
                                      "name", who->name, "members", names_of(who->room), "history"));
    weft_msg *whole = head ? with_history(head, who->room) : NULL;

    weft_msg_unref(head);
    return whole;
}
