/* A conversation at work: its state, and the one place where it waits.
 *
 * States: not open (connecting, or between two sessions), open, closing (we have said Close), over. All of it
 * belongs to one thread, which has the terminal too; what the library's threads tell comes through the queue
 * of events. */
#ifndef WEFT_CAT_COURSE_H
#define WEFT_CAT_COURSE_H

#include "editor.h"
#include "events.h"
#include "output.h"
#include "session.h"
#include "talk.h"

#define COURSE_NO_DEADLINE UINT64_MAX

struct talk {
    const struct arguments *args;
    struct events events;
    struct session session;
    struct output out;
    struct editor *editor;
    bool is_open, is_closing, is_over;
    bool has_drained; /* since the last send that found no room */
    int status;       /* what to exit with once it is over; what is set first stays */
    bool has_status;
    uint64_t received; /* messages shown */
    uint64_t heard_ms; /* when the last one came, or was sent */
    uint64_t drawn_ms; /* when something was shown last */
};

uint64_t course_now_ms(void);

/* Wait for something and deal with it: an event, a signal, the next frame.
 *
 * wants_input  also for standard input
 * Returns      true when that is readable */
bool course_wait(struct talk *t, bool wants_input, uint64_t deadline_ms);

/* Wait until a session is open. Returns false when there will be none any more. */
bool course_await_open(struct talk *t);

/* Deal with a batch of events without waiting, and show it when its time has come. */
void course_show(struct talk *t);

/* What to exit with; only the first decision counts. */
void course_decide(struct talk *t, int status);

/* Close, with the code and reason of the options or others; what is under way is still shown until the server
 * has closed too. Without a session it is over at once. */
void course_leave(struct talk *t, int status);
void course_leave_with(struct talk *t, int status, uint16_t code, const char *reason);

/* Nothing more can be sent or waited for, but the end. */
bool course_is_ending(const struct talk *t);

void course_be_over(struct talk *t, int status);

#endif
