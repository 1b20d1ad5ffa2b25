/* The time of a session: Pings and what waits for their Pong, and the end behind our Close; see session.h.
 *
 * One time is due at any moment (due_ms). Which one it is, close_sent and ping_waits tell. */
#include "proto/session.h"

#include <string.h>

void session_close_sent(struct session *s, uint64_t now_ms)
{
    if (s->close_sent)
        return;
    s->close_sent = true;
    session_set_due(s, now_ms + s->config->close_timeout_ms);
}

bool session_is_over(const struct session *s)
{
    return s->failed || (s->close_sent && s->close_received);
}

enum session_tick session_tick(struct session *s, uint64_t now_ms)
{
    if (now_ms < s->due_ms || s->due_ms == SESSION_DUE_NEVER)
        return SESSION_TICK_NONE;
    if (s->close_sent)
        return SESSION_TICK_CLOSE_TIMEOUT;
    if (s->ping_waits)
        return s->is_held ? SESSION_TICK_NONE : SESSION_TICK_PING_TIMEOUT;
    s->ping_waits = true;
    s->ping_number++;
    session_set_due(s, now_ms + s->config->ping_timeout_ms);
    s->held_since_ms = (uint32_t)now_ms; /* before it there was no Pong to wait for */
    return SESSION_TICK_PING;
}

uint64_t session_deadline_ms(const struct session *s)
{
    bool stands_still = !s->close_sent && s->ping_waits && s->is_held;

    return stands_still || s->due_ms == SESSION_DUE_NEVER ? SESSION_NEVER : s->due_ms;
}

void session_ping_payload(const struct session *s, uint8_t payload[SESSION_PING_BYTES])
{
    uint32_t number = s->ping_number;

    memcpy(payload, &number, SESSION_PING_BYTES);
}

void session_hold(struct session *s, uint64_t now_ms)
{
    if (s->is_held)
        return;
    s->is_held = true;
    s->held_since_ms = (uint32_t)now_ms;
}

void session_resume(struct session *s, uint64_t now_ms)
{
    if (s->is_held && s->ping_waits && !s->close_sent)
        session_set_due(s, (uint64_t)s->due_ms + ((uint32_t)now_ms - s->held_since_ms));
    s->is_held = false;
}
