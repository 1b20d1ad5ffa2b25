/* Reading that stops above the inbox's mark, and the worker that lets it go on: pause_for_inbox and
 * must_wait of lib/core/receive.c, count_handled, resume_reading and after_message of lib/core/mailbox.c.
 *
 * Checked: no lost wake-up (C7: an end state in which io waits and nothing is left to handle); the inbox
 * never holds more than the high mark; everything is read and handled.
 *
 * Labels: PAUSE_LOOK DIRTY
 * Own names: count_and_resume link_dirty io memory
 *
 * Mutants, and what finds them:
 *   PAUSE_LOOK   order  end state: io and the worker both miss the other's store
 *   DIRTY        order  end state: io is brought back and does not see that reading may go on
 *   LOOKS_AGAIN  check  end state: io stops without a second look at handled
 *   COUNTS_FIRST check  end state: the worker looks at read_paused, and counts behind that
 *   RESUMES      check  end state: the look at the end of a run is left out
 *   PAUSES       check  assertion: io goes on reading above the mark
 *
 * Left out: bytes (a second pair of counters under the same rule), the other reasons not to read, the
 * notify that brings the worker (mailbox.pml). */
#include "order.pml"

#define MESSAGES   8
#define INBOX_HIGH 3
#define INBOX_LOW  1

#define RESUMED 1 /* the worker's exchange of read_paused */

byte inbox;   /* put and not taken */
byte handled; /* conn.handled */
byte read_paused;
byte read_paused_late = NOTHING;
bool on_dirty; /* linked to be looked at */
byte on_dirty_told;
byte in_put; /* io's; the worker does not look */

/* --- io --- */

inline look_at_handled()
{
    handled_seen = handled
}

inline pause_for_inbox()
{
    look_at_handled();
    if
    :: IF_DROPPED(PAUSES, false, in_put - handled_seen >= INBOX_HIGH) ->
       atomic { SEQ_CST_STORE(PAUSE_LOOK, read_paused, true); knows = 0 }
       IF_DROPPED(LOOKS_AGAIN, skip, look_at_handled());
       if
       :: in_put - handled_seen <= INBOX_LOW -> LATE_STORE(read_paused, false) /* relaxed */
       :: else -> is_held = true
       fi
    :: else
    fi;
    handled_seen = 0
}

/* Its load of read_paused is relaxed. */
inline must_wait()
{
    if
    :: OWN(read_paused) -> is_held = true
    :: !OWN(read_paused) && was_held && STALE_UNLESS(RESUMED) -> is_held = true /* never: DIRTY told of it */
    :: !OWN(read_paused) -> is_held = false; pause_for_inbox()
    fi
}

active proctype io()
{
    byte knows, handled_seen;
    bool is_held, was_held;

    do
    :: in_put < MESSAGES ->
       must_wait();
       if
       :: is_held ->
          was_held = true;
          atomic { /* look_at_dirty, conn_look */
            on_dirty ->
            on_dirty = false;
            LEARN(DIRTY, on_dirty_told)
          }
       :: else ->
          was_held = false;
          atomic {
            assert(in_put - handled < INBOX_HIGH);
            in_put++;
            inbox++
          }
       fi
    :: else -> break
    od
}

/* --- the worker --- */

inline count_handled()
{
    atomic { handled = handled + uncounted; uncounted = 0 }
}

inline link_dirty()
{
    atomic {
        on_dirty = true;
        TELL(DIRTY, on_dirty_told)
    }
}

inline resume_reading(is_empty)
{
    if
    :: paused_seen && (is_empty) ->
       atomic {
        paused_seen = read_paused;
        if
        :: read_paused -> read_paused = false; knows = RESUMED
        :: else
        fi
       }
       if
       :: paused_seen -> link_dirty()
       :: else
       fi
    :: else
    fi;
    paused_seen = false
}

/* Count, then look: in this order, or else... */
inline count_and_resume(is_empty)
{
    IF_DROPPED(COUNTS_FIRST, EITHER_ORDER(count_handled(), paused_seen = read_paused),
               STEP_THEN_LOOK(ALWAYS, count_handled(), PAUSE_LOOK, paused_seen = read_paused));
    resume_reading(is_empty)
}

active proctype worker()
{
    byte knows, run_list, uncounted;
    bool paused_seen;

    end: do
    :: atomic { inbox -> run_list = inbox; inbox = 0 } /* a run */
       do
       :: run_list ->
          atomic { run_list--; uncounted++ } /* handle_message */
          if /* after_message: its relaxed load of read_paused is a hint */
          :: count_and_resume(run_list <= INBOX_LOW)
          :: skip
          fi
       :: else -> break
       od;
       IF_DROPPED(RESUMES, count_handled(), count_and_resume(true))
    od
}

active proctype memory()
{
    end: do
    :: REACH_MEMORY(read_paused)
    od
}
