/* The mailbox: lib/sync/inbox.h, and how conn_notify (lib/core/conn.c), mailbox_run (lib/core/mailbox.c)
 * and the workers use it: put, schedule, run, schedule again. Three producers, each the io thread of a
 * connection of its own (an inbox has one producer), and two workers that share them through the ready
 * queue.
 *
 * Runs:
 *   plain  the three producers put one message each, the first of them two
 *   -DONE  one of them, with a whole life: REQUEST, OPEN, three messages in batches of one, CLOSED
 *
 * Checked: a connection stands on the ready queue at most once and is run by one worker at a time (I4, M1);
 * open comes first, then the messages in order, then close, once, behind the last of them (M2); whoever
 * runs knows of the last run, of what is in each message, and of what was prepared for each event;
 * everything that was put is handled (a lost one is an end state in which io waits for ever).
 *
 * Labels: INBOX_PUT RUN_NOTIFY RUN_END CONN_EVENT
 * Own names: put_ready stop_running enter leave forget io
 *
 * Mutants (-DONE), and what finds them:
 *   INBOX_PUT         order  assertion: a message is read without knowing that it was filled
 *   RUN_NOTIFY        order  end state: the run that a notify causes does not see what was put
 *   RUN_END           order  assertion: a run does not know of the last one
 *   CONN_EVENT        order  assertion: what belongs to the event is read without knowing of it
 *   PUT_TAKES_BACK    check  assertion: a put overwrites what was not taken yet
 *   NOTIFY_LOOKS      check  assertion: notify puts it on the ready queue though it is not idle
 *   END_COMPARES      check  end state: end stores idle over a notify
 *   BEGIN_FIRST       check  end state: the run looks before it says that it runs
 *   YIELD_NOTIFIES    check  assertion: a run out of budget says idle, and puts it on the ready queue
 *   EVENTS_BEHIND     check  assertion: a message that came behind the opening is handled before it
 *   CLOSED_WHEN_EMPTY check  assertion: close is reported although messages are left
 *
 * Left out: the two steps of a ring_put (ring.pml), sleeping (park.pml, wake.pml), reading that stops
 * (pause.pml), the gate of the outbox (drain.pml), the references (ending.pml). Time is a choice: a budget
 * is used up behind any message. */
#include "order.pml"

#define PRODUCERS   3
#ifdef ONE
#define MESSAGES(c) 3
#define OPENS(c)    true
#define CLOSES(c)   true
#else
#define MESSAGES(c) (c == 0 -> 2 : 1)
#define OPENS(c)    false
#define CLOSES(c)   false
#endif

/* Bits of `knows` and of what the words of one connection tell. */
#define FILLED(message) (1 << (message))
#define PREPARED(event) (8 * (event))
#define LAST_RUN        128

/* inbox.state */
#define INBOX_IDLE     0
#define INBOX_NOTIFIED 1
#define INBOX_RUNNING  2
/* conn.events */
#define REQUEST 1
#define OPEN    2
#define CLOSED  4

/* A chain of messages: `from` is the first, `to` is behind the last; NULL when they are the same. */
typedef chain { byte from, to };
typedef connection {
    chain first;      /* inbox.first */
    byte first_told;
    byte state;       /* inbox.state */
    byte state_told;
    byte events;
    byte events_told;
    chain run_list;
    byte todo;
    byte ready_told;  /* by its entry in the ready queue */
    bool is_ready, is_running, was_asked, was_opened, was_closed; /* ghosts */
    byte handled;     /* ghost */
};
connection conns[PRODUCERS];
chan ready = [PRODUCERS] of { byte };
#define C           conns[c]
#define IS_EMPTY(c) (C.run_list.from == C.run_list.to)

inline put_ready(c)
{
    assert(!C.is_ready);
    C.is_ready = true;
    C.ready_told = knows; /* RING_PUT */
    ready ! c
}

/* --- io --- */

/* It is over: one state instead of many. */
inline forget(c)
{
    assert(IS_EMPTY(c) && !C.events);
    C.run_list.from = 0;
    C.run_list.to = 0;
    C.first.from = 0;
    C.first.to = 0;
    C.state = 0;
    C.state_told = 0;
    C.todo = 0;
    C.handled = 0;
    C.was_asked = false;
    C.was_opened = false;
    C.was_closed = false;
    message = 0;
    knows = 0
}

/* Its load before the exchange only spares the exchange. */
inline inbox_put(c, message)
{
    atomic { /* exchange: what the consumer has not taken comes before the new one */
        waiting = message;
        if
        :: IF_DROPPED(PUT_TAKES_BACK, false, C.first.from != C.first.to) -> waiting = C.first.from
        :: else
        fi;
        C.first.from = C.first.to
    }
    atomic {
        knows = knows | FILLED(message);
        C.first.from = waiting;
        C.first.to = message + 1;
        TELL_BY_STORE(INBOX_PUT, C.first_told);
        waiting = 0
    }
}

inline conn_notify(c, event)
{
    if
    :: event != 0 ->
       atomic {
        knows = knows | PREPARED(event);
        C.events = C.events | event;
        TELL(CONN_EVENT, C.events_told)
       }
    :: else
    fi;
    atomic { /* inbox_notify */
        was = C.state;
        C.state = INBOX_NOTIFIED;
        LEARN(RUN_NOTIFY, C.state_told);
        TELL(RUN_NOTIFY, C.state_told)
    }
    atomic {
        if
        :: was == INBOX_IDLE IF_DROPPED(NOTIFY_LOOKS, || true, ) -> put_ready(c)
        :: else
        fi;
        was = 0;
        knows = knows & ~LAST_RUN /* handed on, and soon out of date */
    }
}

proctype io(byte c)
{
    byte knows, was, waiting, message;

    if
    :: OPENS(c) -> conn_notify(c, REQUEST); C.was_asked; conn_notify(c, OPEN)
    :: else -> C.was_opened = true
    fi;
    do
    :: message < MESSAGES(c) -> inbox_put(c, message); conn_notify(c, 0); message++
    :: else -> break
    od;
    if
    :: CLOSES(c) -> conn_notify(c, CLOSED)
    :: else
    fi;
    atomic { /* for ever, when something was lost */
        CLOSES(c) && C.was_closed || !CLOSES(c) && C.handled == MESSAGES(c) && C.state == INBOX_IDLE ->
        forget(c)
    }
}

/* --- a worker --- */

inline inbox_begin(c)
{
    C.state = INBOX_RUNNING;
    LEARN(RUN_NOTIFY, C.state_told);
    TELL(RUN_NOTIFY, C.state_told)
}

/* request_run, on_open. The answer may reach io, and the opening come back, while on_request still runs. */
inline begin(c)
{
    if
    :: C.todo & REQUEST ->
       NEEDS(PREPARED(REQUEST));
       assert(!C.was_asked);
       C.was_asked = true;
       C.todo = C.todo & ~REQUEST
    :: else
    fi;
    if
    :: C.todo & OPEN ->
       NEEDS(PREPARED(OPEN));
       assert(C.was_asked && !C.was_opened && !C.handled);
       C.was_opened = true;
       C.todo = C.todo & ~OPEN
    :: else
    fi
}

/* Its first load is relaxed, and may have the value from before. */
inline take_events(c)
{
    atomic {
        if
        :: C.events && STALE_UNLESS(PREPARED(C.events))
        :: C.events != 0 ->
           LEARN(CONN_EVENT, C.events_told);
           C.todo = C.todo | C.events;
           C.events = 0;
           C.events_told = 0; /* io knows, and will tell more */
           begin(c)
        :: !C.events
        fi
    }
}

/* The same here. */
inline inbox_take_all(c)
{
    atomic {
        if
        :: C.first.from != C.first.to && STALE_UNLESS(FILLED(C.first.to - 1))
        :: C.first.from != C.first.to ->
           LEARN(INBOX_PUT, C.first_told);
           C.run_list.from = C.first.from;
           C.run_list.to = C.first.to;
           C.first.from = C.first.to;
           C.first_told = 0
        :: C.first.from == C.first.to
        fi
    }
}

inline handle_message(c)
{
    NEEDS(FILLED(C.run_list.from));
    assert(C.was_opened && !C.was_closed);
    assert(C.run_list.from == C.handled);
    C.handled++;
    C.run_list.from++
}

/* The program is in run_list, todo and what the handlers touch: one at a time, and each knows of the last. */
inline enter(c)
{
    assert(!C.is_running);
    C.is_running = true;
    if
    :: C.handled || C.was_asked -> NEEDS(LAST_RUN)
    :: else
    fi
}

/* From here on this is the last run: what was told of the one before is out of date. */
inline leave(c)
{
    C.is_running = false;
    C.state_told = C.state_told & ~LAST_RUN;
    C.ready_told = C.ready_told & ~LAST_RUN;
    C.events_told = C.events_told & ~LAST_RUN;
    C.first_told = C.first_told & ~LAST_RUN;
    knows = knows | LAST_RUN
}


/* mailbox_run's messages: `spent` when the budget is used up and more may be left. */
inline handle_messages(c)
{
    do
    :: IS_EMPTY(c) ->
       inbox_take_all(c);
       if
       :: IS_EMPTY(c) -> break
       :: !IS_EMPTY(c) IF_DROPPED(EVENTS_BEHIND, , -> take_events(c))
       fi
    :: atomic {
        !IS_EMPTY(c) ->
        handle_message(c);
        if
        :: spent = true; break
        :: true
        fi
       }
    od
}

inline finish(c)
{
    atomic {
        NEEDS(PREPARED(CLOSED));
        assert(!C.was_closed && IS_EMPTY(c) && C.handled == MESSAGES(c));
        leave(c);
        C.was_closed = true
    }
}

/* inbox_yield, inbox_end */
inline stop_running(c)
{
    atomic {
        leave(c);
        LEARN(RUN_END, C.state_told);
        if
        :: spent -> /* inbox_yield */
           TELL(RUN_END, C.state_told);
           C.state = IF_DROPPED(YIELD_NOTIFIES, INBOX_IDLE, INBOX_NOTIFIED);
           again = true
        :: !spent && C.state == INBOX_RUNNING -> /* inbox_end */
           TELL(RUN_END, C.state_told);
           C.state = INBOX_IDLE
        :: !spent && C.state != INBOX_RUNNING ->
           IF_DROPPED(END_COMPARES, C.state = INBOX_IDLE, again = true)
        fi;
        spent = false
    }
}

inline mailbox_run(c)
{
    atomic { IF_DROPPED(BEGIN_FIRST, enter(c), inbox_begin(c); enter(c)) }
    take_events(c);
    handle_messages(c);
    if
    :: C.todo & CLOSED && IF_DROPPED(CLOSED_WHEN_EMPTY, true, !spent) -> finish(c)
    :: else ->
       IF_DROPPED(BEGIN_FIRST, atomic { inbox_begin(c) }, skip);
       stop_running(c)
    fi
}

active [2] proctype worker()
{
    byte c, knows;
    bool spent, again;

    end: do
    :: atomic {
        ready ? c ->
        C.is_ready = false;
        knows = C.ready_told;
        C.ready_told = 0
       }
       mailbox_run(c);
       atomic {
        if
        :: again -> again = false; put_ready(c)
        :: else
        fi;
        c = 0;
        knows = 0
       }
    od
}

init
{
    atomic {
        run io(0);
#ifndef ONE
        run io(1);
        run io(2)
#endif
    }
}
