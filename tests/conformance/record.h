/* What one connection showed: the events in their order and how it ended. The session fills it, the verdict
 * reads it. */
#ifndef WEFT_CONFORMANCE_RECORD_H
#define WEFT_CONFORMANCE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "case.h"
#include "octets.h"

struct event {
    enum event_kind kind;
    char label;
    uint32_t count;
    struct octets payload;
};

struct record {
    struct event *events;
    size_t event_count;
    uint32_t data_frames_sent; /* by the script */
    bool opened;
    bool unimplemented; /* an extension that the case is about was not agreed upon */
    bool limit_over;
    bool close_sent;
    bool close_received;
    bool octets_after_close; /* the peer went on after its own Close frame */
    bool close_malformed;    /* the payload of the peer's has one octet, or a reason that is not UTF-8 */
    int peer_code;           /* of its Close frame, NO_CODE without one */
    enum side closed_first;
    enum side dropped_by; /* who ended the TCP connection, or its half of it first */
    bool forced;          /* the tester had to: the peer did not in time */
    const char *trouble;  /* why it did not open, or what the peer sent against the protocol; NULL: nothing */
    uint64_t begun_ns;
    uint64_t ended_ns;
};

/* Takes the payload over. */
void record_event(struct record *r, struct event event);
/* What is recorded so far may still become the list; it is the list. */
bool record_begins(const struct record *r, const struct expected *list);
bool record_equals(const struct record *r, const struct expected *list);
void record_fini(struct record *r);

#endif
