/* Waiting for room in an outbox: outbox_push, make_room, wait_for_room and is_still_full of
 * lib/core/outbox.c, must_wait_for_room of lib/core/mailbox.c, take_off and tell_waiters of
 * lib/core/transmit.c.
 *
 * Three producers: two threads in weft_conn_send and one in weft_conn_try_send that waits for on_drain.
 * Beside them a mailbox that leaves its messages while the outbox is above the mark.
 *
 * Runs:
 *   plain    the outbox stays open
 *   -DCLOSE  one more thread closes it
 *
 * Checked: no lost wake-up (C6: an end state in which somebody waits and the outbox is empty or closed);
 * the count of bytes is what is queued (C4) and 0 at the end.
 *
 * Labels: DRAIN_LOOK TURN_NEXT
 * Own names: outbox_try_send new_turn take_bits io all_have_ended
 *
 * Mutants, and what finds them:
 *   DRAIN_LOOK    order  end state: io and a waiter both miss the other's step
 *   TURN_NEXT    order  end state: the turn is seen before the bits are taken, so a sender waits for a turn
 *                        that has begun, and its bit is gone
 *   SENDER_LOOKS  check  end state: a sender sets its bit and sleeps without a look
 *   MAILBOX_LOOKS check  end state: a mailbox sets its bit and is left without a look
 *   TRY_LOOKS     check  end state: try_send answers AGAIN without a look
 *   TURN_FIRST    check  end state: a sender sets its bit and takes the turn to wait for behind that
 *   TURN_GROWS    check  end state: io wakes without a new turn, and who is about to sleep sleeps
 *   CLOSE_TELLS   check  end state: io finds it closed and tells nobody (-DCLOSE)
 *
 * Left out: the stack (outbox.pml), the run that a notify causes (mailbox.pml). A message counts 1; a futex
 * compares and sleeps in one step. */
#include "order.pml"

#define SENDERS 2
#define EACH    (_pid == 0 -> 2 : 1)
#define HIGH    1
#define LOW     0

/* conn.drain */
#define DRAIN_SENDERS  1
#define DRAIN_MAILBOX  2
#define DRAIN_CALLBACK 4

byte queued;       /* conn.outbox: in it, or in `writing` */
byte outbox_bytes; /* what is queued, and what is about to be */
bool closed;       /* the stack's bit */
bool close_queued; /* the Close frame is in the outbox */
byte drain, drain_turn;
bool notified, drained;   /* what io told the mailbox, and with CONN_EVENT_DRAIN the program */
bool sleeping[SENDERS];
byte ended;

/* False: it was closed. */
inline outbox_push()
{
    atomic {
        if
        :: outbox_bytes <= HIGH && outbox_bytes + 1 > HIGH -> crossed = true
        :: else
        fi;
        outbox_bytes++
    }
    if
    :: crossed -> atomic { crossed = false; drain = drain | DRAIN_CALLBACK }
    :: else
    fi;
    if
    :: atomic { !closed -> queued++ }
    :: atomic { closed -> outbox_bytes-- }
    fi
}

inline park_futex_wait()
{
    if
    :: atomic { turn == drain_turn -> sleeping[_pid] = true }
       !sleeping[_pid]
    :: turn != drain_turn
    fi
}

inline wait_for_room()
{
    do
    :: IF_DROPPED(TURN_FIRST, drain = drain | DRAIN_SENDERS, turn = drain_turn);
       STEP_THEN_LOOK(ALWAYS, IF_DROPPED(TURN_FIRST, turn = drain_turn, drain = drain | DRAIN_SENDERS),
                      DRAIN_LOOK, has_room = outbox_bytes <= LOW);
       if
       :: has_room IF_DROPPED(SENDER_LOOKS, && false, ) -> break
       :: else
       fi;
       if
       :: closed IF_DROPPED(SENDER_LOOKS, && false, ) -> break
       :: else -> park_futex_wait()
       fi
    od;
    turn = 0;
    has_room = false
}

active [SENDERS] proctype outbox_send()
{
    byte n, turn;
    bool has_room, crossed;

    do
    :: n < EACH ->
       do /* make_room */
       :: outbox_bytes > HIGH && !closed -> wait_for_room()
       :: outbox_bytes <= HIGH || closed -> break
       od;
       outbox_push();
       n++
    :: else -> break
    od;
    ended++
}

/* weft_conn_try_send, and on_drain after each AGAIN */
active proctype outbox_try_send()
{
    byte n;
    bool has_room, crossed;

    do
    :: n < EACH ->
       do
       :: outbox_bytes <= HIGH || closed -> break
       :: outbox_bytes > HIGH && !closed -> /* is_still_full */
          drained = false;
          STEP_THEN_LOOK(ALWAYS, drain = drain | DRAIN_CALLBACK, DRAIN_LOOK, has_room = outbox_bytes <= LOW);
          if
          :: has_room IF_DROPPED(TRY_LOOKS, && false, )
          :: else -> drained || closed /* on_drain, or on_close */
          fi;
          has_room = false
       od;
       outbox_push();
       n++
    :: else -> break
    od;
    ended++
}

/* The mailbox has messages for as long as somebody sends. */
active proctype must_wait_for_room()
{
    bool has_room;

    end: do
    :: outbox_bytes > HIGH && !closed ->
       notified = false; /* inbox_begin */
       STEP_THEN_LOOK(ALWAYS, drain = drain | DRAIN_MAILBOX, DRAIN_LOOK, has_room = outbox_bytes <= LOW);
       if
       :: (has_room || closed) IF_DROPPED(MAILBOX_LOOKS, && false, )
       :: else -> notified /* left, and brought back by conn_notify */
       fi;
       has_room = false
    od
}

/* --- io --- */

inline new_turn()
{
    if
    :: who & DRAIN_SENDERS -> drain_turn = drain_turn + IF_DROPPED(TURN_GROWS, 0, 1)
    :: else
    fi
}

inline take_bits()
{
    atomic { who = drain; drain = 0 }
}

/* who: the bits as seen by the look. Relaxed, the new turn may be seen before the bits are gone. */
inline tell_waiters()
{
    IF_DROPPED(TURN_NEXT, new_turn(); take_bits(), take_bits(); new_turn());
    atomic {
        if
        :: who & DRAIN_SENDERS -> sleeping[0] = false; sleeping[1] = false /* park_futex_wake */
        :: else
        fi;
        if
        :: who & DRAIN_MAILBOX -> notified = true
        :: else
        fi;
        if
        :: who & DRAIN_CALLBACK -> drained = true
        :: else
        fi;
        who = 0
    }
}

inline take_off()
{
    STEP_THEN_LOOK(ALWAYS, atomic { queued--; outbox_bytes--; left = outbox_bytes }, DRAIN_LOOK, who = drain);
    if
    :: left <= LOW && who -> tell_waiters()
    :: else -> who = 0
    fi;
    left = 0
}

active proctype io()
{
    byte left, who;

    end: do
    :: queued -> take_off()
    :: close_queued -> /* collect_one, transmit_release_waiters */
       close_queued = false;
       IF_DROPPED(CLOSE_TELLS, skip, who = drain);
       if
       :: who -> tell_waiters()
       :: else
       fi
    od
}

#ifdef CLOSE
active proctype outbox_close()
{
    atomic { closed = true; close_queued = true }
}
#endif

active proctype all_have_ended()
{
    atomic {
        ended == SENDERS + 1 && !queued && !close_queued ->
        assert(!outbox_bytes)
    }
}
