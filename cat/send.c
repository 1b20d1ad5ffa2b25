/* Sending; see send.h. */
#include "send.h"

#include "input.h"
#include "text.h"

#include <string.h>

/* Returns WEFT_OK, or why it was not sent; with --reconnect the next session gets what this one did not take.
 */
static int send_when_there_is_room(struct talk *t, weft_msg *m)
{
    int rc = WEFT_E_CLOSED;

    while (!course_is_ending(t)) {
        t->has_drained = false;
        rc = session_send(&t->session, m);
        if (rc == WEFT_E_AGAIN) {
            while (!t->has_drained && t->is_open && !course_is_ending(t))
                course_wait(t, false, COURSE_NO_DEADLINE);
        } else if (rc == WEFT_E_CLOSED) {
            if (!t->is_open && t->out.is_interactive)
                break;                                 /* somebody looks on and can say it again */
            course_wait(t, false, COURSE_NO_DEADLINE); /* EVENT_CLOSED is on its way, or EVENT_OPEN */
        } else {
            break;
        }
    }
    return rc;
}

static bool send_bytes(struct talk *t, enum weft_msg_type type, const char *data, size_t bytes)
{
    weft_msg *m = NULL;
    int rc = weft_msg_new(&m, type, data, bytes);

    if (rc == WEFT_OK)
        rc = send_when_there_is_room(t, m);
    t->heard_ms = course_now_ms();
    if (rc == WEFT_OK)
        return true;
    weft_msg_unref(m);
    if (!course_is_ending(t))
        output_error(&t->out, "not sent: %s", weft_strerror(rc));
    return false;
}

/* Text that is no UTF-8 would be answered with the end of the connection.
 *
 * what  names the text in a complaint */
bool send_text(struct talk *t, const char *what, const char *text, size_t bytes)
{
    size_t valid = text_valid_bytes(text, bytes);

    if (valid == bytes)
        return send_bytes(t, WEFT_TEXT, text, bytes);
    output_error(&t->out, "%s is not UTF-8 at byte %zu; --binary sends any bytes", what, valid + 1);
    return false;
}

bool send_hex(struct talk *t, const char *what, const char *digits, size_t bytes)
{
    struct buffer data = {0};
    bool is_good = text_read_hex(&data, digits, bytes) && !data.is_short;

    if (!is_good)
        output_error(&t->out, "%s is not pairs of hexadecimal digits", what);
    is_good = is_good && send_bytes(t, WEFT_BINARY, data.data, data.count);
    buffer_fini(&data);
    return is_good;
}

bool send_line(struct talk *t, const char *what, const char *line, size_t bytes)
{
    if (t->args->hex)
        return send_hex(t, what, line, bytes);
    if (t->args->binary)
        return send_bytes(t, WEFT_BINARY, line, bytes);
    return send_text(t, what, line, bytes);
}

bool send_file(struct talk *t, const char *path, bool is_binary)
{
    struct buffer data = {0};
    int error = input_read_file(&data, path);
    bool is_sent = false;

    if (error)
        output_error(&t->out, "%s: %s", path, strerror(error));
    else if (is_binary)
        is_sent = send_bytes(t, WEFT_BINARY, data.data, data.count);
    else
        is_sent = send_text(t, path, data.data, data.count);
    if (is_sent)
        output_note(&t->out, "sent %s, %zu bytes", path, data.count);
    buffer_fini(&data);
    return is_sent;
}
