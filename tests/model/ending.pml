/* Close against send against broadcast against stop: outbox_send, outbox_broadcast and outbox_close of
 * lib/core/outbox.c, the endings of lib/core/conn.c, receive.c and transmit.c, bury_the_dead and obey of
 * lib/core/io_thread.c, finish of lib/core/mailbox.c, engine_stop of lib/core/engine.c.
 *
 * One connection, its io thread and a worker. Three producers: a sender, a broadcaster, and one that
 * closes. A thread that stops the server.
 *
 * Runs:
 *   -DPEER=ANSWERS  the peer sends a message, and answers Close
 *   -DPEER=BEGINS   the peer closes at any time; the broadcaster finds the outbox above its bound
 *   -DPEER=FAILS    the socket or the protocol fails at any time; the broadcaster likewise
 *   -DPEER=SILENT   the peer says nothing: the close timeout comes, or the deadline of stop
 *
 * Checked: open first; close last and exactly once, also at shutdown (P4, C2); no message is accepted by a
 * call that began behind one that answered CLOSED, or behind weft_conn_close; what was accepted leaves
 * before the Close frame, nothing behind it, and what does not leave is counted as dropped; a group is left
 * before on_close (M4); stop ends, and when it has, no callback runs and none will, and the outbox is
 * closed (an end state if not); nobody touches the connection behind its last reference, and in the end it
 * is freed.
 *
 * Labels: CLOSE_INFO ALIVE LISTENING
 * Own names: touch append_close write events io worker all_have_ended
 *
 * Mutants, and what finds them:
 *   CLOSE_INFO     order  assertion: who finds it closed does not know how it ended
 *   ALIVE          order  assertion: who finds nothing alive does not know what the callbacks did
 *   LISTENING      order  assertion: who finds that nothing listens does not see what was accepted
 *   CLOSE_LAST     check  assertion: the Close frame and the closed bit come in two steps
 *   PUSH_LOOKS     check  assertion: a push does not look at the closed bit
 *   CLOSE_FIRST    check  assertion: the peer's Close is answered, and the outbox is closed behind the
 *                  collecting (-DPEER=BEGINS)
 *   DIE_CLOSES     check  assertion: a connection dies with its outbox open (-DPEER=FAILS)
 *   FAIL_COLLECTS  check  assertion: what was accepted before a failure does not leave before its Close
 *                  (-DPEER=FAILS)
 *   BURY_REFS      check  assertion: io touches it behind the last reference, when a worker was faster
 *   BURY_LATER     check  assertion: the last event is set at once, and io goes on with the turn
 *   DIRTY_REFS     check  assertion: a link in the dirty list without a reference
 *   LEAVES_FIRST   check  assertion: on_close comes, and the group is left behind it
 *   CLOSED_WHEN_EMPTY check  assertion: on_close comes before the last message
 *   ALIVE_LAST     check  assertion: counted as gone, and on_close comes behind that
 *   STOP_LISTENS   check  assertion: stop does not wait until nothing listens
 *   STOP_CLOSES    check  end state: stop closes nothing, and waits
 *   LAST_LINKS     check  end state: close puts its frame into an empty outbox and does not link it
 *
 * Left out: the opening handshake, waiting for room (drain.pml), a socket that is full, wake-ups (wake.pml,
 * park.pml), all orders but the three labels (the other models). */
#include "order.pml"

/* What happens in which run. */
#ifndef PEER
#define PEER ANSWERS
#endif
#define SENDS_A_MESSAGE (PEER == ANSWERS)
#define IS_OVER_BOUND   (PEER == FAILS || PEER == BEGINS)
#define HAS_DEADLINE    (PEER == SILENT)

/* Bits of knowledge */
#define HOW_IT_ENDED 1
#define CALLBACKS    2
#define ACCEPTED     4

mtype = { NEW, OPEN, LINGER, DEAD };
mtype = { ANSWERS, BEGINS, FAILS, SILENT };

/* The connection. What stands in the outbox and in `writing`: messages, and a Close frame behind them. */
mtype state = NEW;
byte outbox, writing;
bool closed, outbox_close_frame, writing_close; /* closed: the stack's bit */
bool close_queued, close_received, finished, over_bound;
bool is_closed;
byte is_closed_told;
byte refs;
bool on_dirty, is_member;
/* inbox: state, messages, events */
bool notified, running;
byte inbox;
bool event_open, event_closed;

/* io and engine */
bool dirty, dirty_closed, dead;
bool listening = true, close_all, abort_all, stop_io;
byte listening_told;
byte alive, alive_told;
chan ready = [1] of { bit };
bool stop_workers, worker_has_ended, io_has_ended;

/* Ghosts */
bool close_written, told_closed, was_opened, was_closed, has_stopped, freed;
byte received, handled, ended;

inline touch()
{
    assert(!freed)
}

inline conn_ref()
{
    atomic { touch(); refs++ }
}

inline conn_unref()
{
    atomic {
        touch();
        refs--;
        if
        :: !refs -> freed = true; assert(was_closed && !outbox)
        :: else
        fi
    }
}

/* --- any thread --- */

/* In one step; outbox.pml has its parts. */
inline io_thread_link_dirty()
{
    atomic {
        touch();
        if
        :: !on_dirty && !dirty_closed ->
           on_dirty = true;
           refs = refs + IF_DROPPED(DIRTY_REFS, 0, 1);
           assert(!dirty);
           dirty = true
        :: else
        fi
    }
}

/* A message; leaves `is_first`, or told_closed set. */
inline outbox_push()
{
    atomic {
        touch();
        if
        :: closed IF_DROPPED(PUSH_LOOKS, && false, ) -> told_closed = true
        :: else ->
           assert(!must_fail && !outbox_close_frame && !close_queued);
           is_first = !outbox;
           outbox++
        fi;
        must_fail = false
    }
    if
    :: is_first -> is_first = false; io_thread_link_dirty()
    :: else
    fi
}

/* Leaves told_closed set: from here on everybody may know. */
inline outbox_close()
{
    atomic {
        touch();
        if
        :: closed
        :: else -> /* stack_push_last */
           outbox_close_frame = true;
           IF_DROPPED(CLOSE_LAST, skip, closed = true);
           is_first = IF_DROPPED(LAST_LINKS, outbox != 0, true)
        fi
    }
    IF_DROPPED(CLOSE_LAST, closed = true, skip);
    if
    :: is_first -> is_first = false; io_thread_link_dirty()
    :: else
    fi
}

inline stack_close()
{
    atomic { touch(); closed = true }
}

active proctype outbox_send()
{
    byte knows;
    bool must_fail, is_first;

    if
    :: was_opened ->
       must_fail = told_closed;
       outbox_push();
       atomic { /* weft_conn_close_info */
        touch();
        if
        :: is_closed -> LEARN(CLOSE_INFO, is_closed_told); NEEDS(HOW_IT_ENDED); knows = 0
        :: else
        fi
       }
       conn_unref()
    :: io_has_ended && !was_opened
    fi;
    ended++
}

/* To the snapshot of a group, which holds a reference. Above the bound the policy is to close. */
active proctype outbox_broadcast()
{
    bool must_fail, is_first, has_member, was_over;

    was_opened || io_has_ended;
    atomic {
        has_member = is_member;
        if
        :: has_member -> conn_ref(); must_fail = told_closed
        :: else
        fi
    }
    if
    :: has_member ->
       if
       :: !IS_OVER_BOUND -> outbox_push()
       :: atomic { IS_OVER_BOUND -> touch(); was_over = over_bound; over_bound = true }
          if
          :: !was_over -> stack_close(); io_thread_link_dirty()
          :: else
          fi
       fi;
       conn_unref()
    :: else
    fi;
    ended++
}

active proctype weft_conn_close()
{
    bool is_first;

    if
    :: was_opened ->
       outbox_close();
       told_closed = true;
       conn_unref()
    :: io_has_ended && !was_opened
    fi;
    ended++
}

/* --- io --- */

inline conn_notify(event)
{
    atomic { touch(); event = true }
    atomic {
        touch();
        if
        :: !notified && !running -> ready ! 0
        :: else
        fi;
        notified = true
    }
}

inline accept()
{
    atomic {
        alive++;
        knows = knows | ACCEPTED;
        refs = 2; /* the library's, and the group's */
        is_member = true;
        state = OPEN
    }
    conn_notify(event_open)
}

inline transmit_collect()
{
    atomic {
        touch();
        writing = writing + outbox;
        outbox = 0;
        if
        :: outbox_close_frame ->
           outbox_close_frame = false;
           writing_close = true;
           close_queued = true
        :: else
        fi
    }
}

inline transmit_drop()
{
    writing = 0; /* counted as dropped */
    close_queued = close_queued && !writing_close;
    writing_close = false
}

/* The socket takes all. */
inline write()
{
    assert(!writing || !close_written);
    writing = 0;
    if
    :: writing_close ->
       assert(!outbox); /* what was accepted before it has left before */
       writing_close = false;
       close_written = true
    :: else
    fi
}

/* conn_linger: our side is shut down behind the last byte. */
inline conn_linger()
{
    state = LINGER;
    write();
    finished = true
}

inline transmit_flush()
{
    atomic {
        touch();
        if
        :: state == OPEN || state == LINGER -> write()
        :: else
        fi;
        if
        :: state == OPEN && close_received && close_queued -> conn_linger()
        :: else
        fi
    }
}

inline append_close()
{
    if
    :: !close_queued -> close_queued = true; writing_close = true
    :: else
    fi
}

inline conn_fail()
{
    stack_close();
    atomic {
        IF_DROPPED(FAIL_COLLECTS, skip, transmit_collect());
        append_close();
        conn_linger()
    }
}

inline peer_closes()
{
    close_received = true;
    IF_DROPPED(CLOSE_FIRST, transmit_collect(); stack_close(), stack_close(); transmit_collect());
    atomic { append_close(); transmit_flush() }
}

inline conn_die()
{
    if
    :: state == OPEN || state == LINGER ->
       atomic {
        state = DEAD;
        IF_DROPPED(DIE_CLOSES, skip, stack_close())
       }
       atomic {
        transmit_collect();
        knows = knows | HOW_IT_ENDED;
        is_closed = true; /* complete_end */
        TELL_BY_STORE(CLOSE_INFO, is_closed_told);
        knows = knows & ~HOW_IT_ENDED;
        transmit_drop();
        dead = true /* io_thread_bury */
       }
       IF_DROPPED(BURY_LATER, bury_the_dead(); touch(), skip) /* callers go on with it until the turn ends */
    :: else
    fi
}

inline bury_the_dead()
{
    if
    :: dead ->
       atomic { dead = false; IF_DROPPED(BURY_REFS, skip, conn_ref()) }
       conn_notify(event_closed);
       IF_DROPPED(BURY_REFS, atomic { touch() }, conn_unref())
    :: else
    fi
}

inline conn_look()
{
    if
    :: state == OPEN && over_bound -> /* close_slow */
       atomic { transmit_collect(); transmit_drop() }
       conn_fail()
    :: (state == OPEN && !over_bound) || state == LINGER ->
       atomic { transmit_collect(); transmit_flush() }
    :: state == DEAD
    fi
}

inline look_at_dirty()
{
    if
    :: dirty ->
       atomic { touch(); dirty = false; on_dirty = false }
       conn_look();
       IF_DROPPED(DIRTY_REFS, atomic { touch() }, conn_unref())
    :: else
    fi
}

inline obey()
{
    if
    :: close_all ->
       close_all = false;
       atomic { /* listener_close_all */
        listening = false;
        TELL_BY_STORE(LISTENING, listening_told);
        knows = 0
       }
       if
       :: state == OPEN -> outbox_close()
       :: else
       fi
    :: else
    fi;
    if
    :: abort_all -> abort_all = false; conn_die()
    :: else
    fi
}

#define CONNECTED (state == OPEN || state == LINGER)

/* What the socket, the peer and the timer bring. */
inline events()
{
    if
    :: listening && state == NEW -> accept()
    :: state == OPEN && !close_received && !received && SENDS_A_MESSAGE ->
       atomic { received++; inbox++ }
       conn_notify(event_message)
    :: state == OPEN && !close_received && (PEER == BEGINS || PEER == ANSWERS && close_written) ->
       peer_closes()
    :: finished && state == LINGER && PEER != SILENT -> conn_die()
    :: CONNECTED && PEER == FAILS -> conn_die()
    :: state == OPEN && PEER == FAILS -> conn_fail()
    :: CONNECTED && PEER == SILENT && (close_written || finished) -> conn_die()
    :: dirty || close_all || abort_all || stop_io /* woken */
    fi
}

active proctype io()
{
    byte knows;
    bool is_first, event_message;

    do
    :: stop_io -> break
    :: else ->
       events();
       look_at_dirty();
       obey();
       bury_the_dead()
    od;
    dirty_closed = true;
    look_at_dirty();
    io_has_ended = true
}

/* --- the worker --- */

inline on_message()
{
    atomic {
        touch();
        if
        :: inbox -> assert(was_opened && !was_closed && !has_stopped); inbox = 0; handled++
        :: else
        fi
    }
}

inline on_close()
{
    atomic {
        touch();
        assert(was_opened && !was_closed && !is_member && handled == received && !has_stopped);
        was_closed = true;
        knows = knows | CALLBACKS
    }
}

inline group_leave_all()
{
    atomic {
        if
        :: is_member -> is_member = false; conn_unref()
        :: else
        fi
    }
}

inline engine_one_less()
{
    atomic { alive--; TELL(ALIVE, alive_told); knows = 0 }
}

inline finish()
{
    IF_DROPPED(LEAVES_FIRST, skip, group_leave_all());
    IF_DROPPED(ALIVE_LAST, engine_one_less(), skip);
    on_close();
    IF_DROPPED(LEAVES_FIRST, group_leave_all(), skip);
    conn_unref();
    IF_DROPPED(ALIVE_LAST, skip, engine_one_less())
}

inline mailbox_run()
{
    atomic { touch(); notified = false; running = true }
    atomic { /* take_events */
        touch();
        has_closed = event_closed;
        if
        :: event_open ->
           assert(!was_opened);
           event_open = false;
           was_opened = true;
           refs = refs + 2 /* on_open gives a handle to the sender and one to who closes */
        :: else
        fi
    }
    IF_DROPPED(CLOSED_WHEN_EMPTY, skip, on_message());
    if
    :: has_closed -> finish()
    :: else ->
       IF_DROPPED(CLOSED_WHEN_EMPTY, on_message(), skip);
       atomic { /* inbox_end */
        touch();
        running = false;
        if
        :: notified -> ready ! 0
        :: else
        fi
       }
    fi
}

active proctype worker()
{
    byte knows;
    bool has_closed;

    do
    :: ready ? _ -> mailbox_run()
    :: stop_workers && empty(ready) -> break
    od;
    worker_has_ended = true
}

/* --- stop --- */

#define NOTHING_ALIVE (!alive || STALE_UNLESS(ACCEPTED))

active proctype engine_stop()
{
    byte knows;

    IF_DROPPED(STOP_CLOSES, skip, close_all = true);
    IF_DROPPED(STOP_LISTENS, skip, atomic { !listening -> LEARN(LISTENING, listening_told) });
    if
    :: HAS_DEADLINE -> abort_all = true
    :: true
    fi;
    atomic {
        NOTHING_ALIVE ->
        LEARN(ALIVE, alive_told);
        if
        :: was_closed -> NEEDS(CALLBACKS)
        :: else
        fi;
        knows = 0
    }
    stop_io = true; /* pool_stop */
    stop_workers = true;
    io_has_ended && worker_has_ended;
    atomic {
        has_stopped = true;
        assert(state == NEW || (state == DEAD && closed && was_closed))
    }
    ended++
}

active proctype all_have_ended()
{
    atomic { ended == 4 -> assert(freed == was_opened && !dirty && !outbox && !writing) }
}
