/* A sleeping io thread against whoever gives it something: lib/sync/wake.c, io_thread_link_dirty,
 * io_thread_command and before_wait of lib/core/io_thread.c. Two threads link a connection twice each, a
 * third one gives the command to stop.
 *
 * Checked: no lost wake-up (I3: an end state in which io sleeps and something is left); at most one write
 * of the eventfd for each sleep (I2); io ends.
 *
 * Labels: WAKE_LOOK STACK_PUSH
 * Own names: io memory
 *
 * Mutants, and what finds them:
 *   WAKE_LOOK     order  end state: both looks miss the other's store
 *   STACK_PUSH    order  end state: the push comes behind the look at asleep
 *   LOOKS_AGAIN   check  end state: io sleeps without a last look at its lists
 *   PREPARE_FIRST check  end state: io looks, and says that it sleeps behind that
 *   CLEAR_FIRST   check  end state: the eventfd is cleared behind the last look
 *   ONE_WRITES    check  assertion: whoever sees it asleep writes, also when another one did
 *
 * Left out: sockets and timers, which only wake more often; what the lists carry (outbox.pml). */
#include "order.pml"

#define LINKERS 2
#define LINKS   2

byte dirty;    /* io.dirty: how many are linked */
bool commands; /* IO_STOP */
byte asleep;
byte asleep_late = NOTHING;
bool eventfd; /* it is readable */

byte looked_at;         /* ghost */
byte writes;            /* ghost: of the eventfd, for one wake_prepare */

/* Behind the step that it tells of. */
inline wake_up()
{
    if
    :: is_asleep ->
       atomic {
        is_asleep = false;
        IF_DROPPED(ONE_WRITES, wake = true, wake = asleep);
        asleep = false;
        writes = writes + wake;
        assert(writes <= 1)
       }
       if
       :: wake -> atomic { wake = false; eventfd = true }
       :: else
       fi
    :: else
    fi
}

active [LINKERS] proctype io_thread_link_dirty()
{
    byte n;
    bool is_asleep, wake;

    do
    :: n < LINKS ->
       STEP_THEN_LOOK(STACK_PUSH, dirty++, WAKE_LOOK, is_asleep = asleep);
       wake_up();
       n++
    :: else -> break
    od
}

active proctype io_thread_command()
{
    bool is_asleep, wake;

    looked_at == LINKERS * LINKS; /* engine_stop waits for the end of all connections */
    STEP_THEN_LOOK(ALWAYS, commands = true, WAKE_LOOK, is_asleep = asleep);
    wake_up()
}

inline wake_prepare()
{
    atomic {
        SEQ_CST_STORE(WAKE_LOOK, asleep, true);
        writes = 0
    }
}

/* io's look at its lists, one after the other */
inline has_work()
{
    work = dirty;
    if
    :: !work -> work = commands
    :: else
    fi
}

inline wake_clear()
{
    eventfd = false
}

active proctype io()
{
    byte work;

    do
    :: IF_DROPPED(PREPARE_FIRST, has_work(); wake_prepare(),
                  wake_prepare(); IF_DROPPED(LOOKS_AGAIN, skip, has_work()));
       IF_DROPPED(CLEAR_FIRST, wake_clear(), skip);
       if
       :: work -> work = 0
       :: else -> eventfd /* epoll_wait */
       fi;
       LATE_STORE(asleep, false); /* wake_cancel, relaxed */
       IF_DROPPED(CLEAR_FIRST, skip, wake_clear());
       atomic { looked_at = looked_at + dirty; dirty = 0 } /* look_at_dirty */
       if
       :: commands -> break /* obey */
       :: else
       fi
    od;
    assert(looked_at == LINKERS * LINKS && !dirty)
}

active proctype memory()
{
    end: do
    :: REACH_MEMORY(asleep)
    od
}
