/* Who drives a loop while its driver runs handlers: lib/sync/lease.h, lib/core/watch.c, and of lib/core/pool.c
 * pool_help, loop_is_vacant, take_vacant, enter, leave, swap_roles and work. One loop, as many threads as there are
 * places for (W4), handlers that end by themselves and handlers that wait until the loop was driven on, as one does
 * that blocks in weft_conn_send.
 *
 * Checked: one driver at a time, and whoever drives knows what its predecessors did (lease.h I2, I3); every
 * handler ends and every thread ends, so no loan is forgotten (I4), no vacant loop stays without a driver, and
 * the handlers never take the last thread (W4).
 *
 * Labels: LEASE_LOOK LEASE_LEND VACANT
 * Own names: touch_loop run_one
 *
 * Runs:
 *   plain   three messages, and nobody swaps
 *   -DSWAPS two messages; a worker that comes from a handler may find that it is time to swap, or not (W6)
 *
 * Mutants, and what finds them:
 *   LEASE_LOOK   order  end state: the watcher sleeps over a loan
 *   LEASE_LEND   order  assertion: the next driver does not know what the last one did
 *   VACANT       order  assertion: the same, between the watcher and the next driver
 *   LOOKS_AGAIN  check  end state: the watcher sleeps without a last look at the loans
 *   BACK_ASKS    check  end state: who lent goes on driving beside the new driver, and is counted for ever
 *   OTHER_LOAN   check  assertion: all loans have one number, and the wrong holder gets the role back
 *   LIMIT        check  end state: workers take connections until no thread is left to drive
 *   COUNTED      check  end state: the thread that lost its loop is not counted, so one more is let in
 *   HELPS_BELOW  check  end state: a driver helps though there is none to take its place
 *   GIVES_COUNT  check  assertion: who swaps counts itself out, and so does who lent (-DSWAPS)
 *
 * Left out: parking and waking, of which the watcher repeats its part at every tick (park.pml); how long a tick is. */
#include "order.pml"

#ifdef MUTANT_OTHER_LOAN
#define WORKERS_MAX 2 /* with one, nobody lends again before the first holder is back */
#else
#define WORKERS_MAX 1
#endif
#define THREADS     (WORKERS_MAX + 2)
#ifdef SWAPS /* with three, 25 million states, searched once without an error */
#define MESSAGES    2
#else
#define MESSAGES    3
#endif

#define IS_LENT(w)  ((w) & 1)
#define BIT         (1 << _pid)
#define knows       known[_pid]

byte word;              /* io.lease: the number of the loan, times two, and whether it is out */
byte word_late = NOTHING;
byte awake = 1;         /* watch.awake */
byte awake_late = NOTHING;
bool is_vacant = true;  /* io.is_vacant: the first thread that comes drives */
byte in_handlers;
byte lane = MESSAGES;
bool stopped;           /* IO_STOP was obeyed */

bool blocked[THREADS];  /* handlers that wait for the loop */
byte blocked_count;
byte handled;
byte ended;             /* ghost: threads */
byte driving;           /* ghost: threads that have the role */
byte did;               /* ghost: who has driven so far */
byte known[THREADS + 2];
byte told_word, told_vacant;

/* The driver reads and writes what is the loop's: it needs to know of all that others did there, and nobody knows
 * yet of what it does now. */
inline touch_loop()
{
    atomic {
        assert(driving == 1);
        NEEDS(did);
        did = did | BIT;
        for (i : 0 .. THREADS) { /* the last one is the watcher */
            known[i] = known[i] & ~BIT
        }
        told_word = told_word & ~BIT;
        told_vacant = told_vacant & ~BIT;
        knows = knows | BIT
    }
}

inline handler()
{
    if
    :: atomic { blocked[_pid] = true; blocked_count++ }; !blocked[_pid]
    :: skip
    fi;
    handled++
}

inline enter()
{
    if
    :: is_counted
    :: else ->
       atomic {
        if
        :: IF_DROPPED(LIMIT, true, in_handlers < WORKERS_MAX) -> in_handlers++; is_counted = true
        :: else
        fi
       }
    fi
}

inline leave()
{
    atomic {
        if
        :: is_counted -> in_handlers--; is_counted = false
        :: else
        fi
    }
}

/* Of a connection in the lane, if there is still one. */
inline run_one()
{
    atomic {
        has_one = lane > 0;
        if
        :: has_one -> lane--
        :: else
        fi
    }
    if
    :: has_one -> handler()
    :: else
    fi
}

inline lease_lend()
{
    loan = IF_DROPPED(OTHER_LOAN, 1, (OWN(word) + 2) | 1);
    atomic {
        SEQ_CST_STORE(LEASE_LOOK, word, loan);
        TELL_BY_STORE(LEASE_LEND, told_word)
    }
}

inline watch_lent()
{
    if
    :: awake -> skip
    :: else -> awake = 1 /* rouse */
    fi
}

inline lease_back()
{
    atomic {
        FENCE(word);
        if
        :: IF_DROPPED(BACK_ASKS, true, word == loan) -> word = loan - 1; driving++
        :: else -> is_counted = true; is_lost = true /* by the watcher */
        fi
    }
}

inline pool_help()
{
    driving--; /* io_thread_step_back */
    lease_lend();
    watch_lent();
    run_one();
    lease_back()
}

inline io_thread_drive()
{
    is_lost = false;
    driving++;
    touch_loop();
    do
    :: is_lost -> break
    :: !is_lost && lane && IF_DROPPED(HELPS_BELOW, true, in_handlers < WORKERS_MAX) -> pool_help()
    :: !is_lost && handled == MESSAGES -> touch_loop(); stopped = true; driving--; break
    :: !is_lost && blocked_count ->
       touch_loop();
       atomic {
        for (i : 0 .. THREADS - 1) {
            blocked[i] = false
        }
        blocked_count = 0
       }
    od
}

inline lease_take()
{
    atomic {
        is_won = word == now;
        if
        :: is_won ->
           word = now - 1;
           LEARN(LEASE_LEND, told_word)
        :: else
        fi
    }
}

inline swap_roles()
{
#ifdef SWAPS
    now = word;
    if
    :: IS_LENT(now) ->
       lease_take();
       if
       :: is_won ->
          IF_DROPPED(GIVES_COUNT, leave(), is_counted = false);
          io_thread_drive()
       :: else
       fi
    :: else
    fi
#else
    skip
#endif
}

active [THREADS] proctype work()
{
    byte loan, now, i;
    bool is_counted, is_lost, is_won, has_one;

    do
    :: stopped ->
       leave();
       atomic { ended++; assert(ended < THREADS || in_handlers == 0) };
       break
    :: atomic {
        is_vacant -> is_vacant = false; /* take_vacant */
        LEARN(VACANT, told_vacant)
       }
       leave();
       io_thread_drive()
    :: lane && (is_counted || IF_DROPPED(LIMIT, true, in_handlers < WORKERS_MAX)) ->
       enter();
       if
       :: is_counted ->
          run_one();
          if
          :: swap_roles()
          :: skip
          fi
       :: else
       fi
    :: is_counted && !lane -> leave()
    od
}

inline loop_is_vacant()
{
    IF_DROPPED(COUNTED, skip, in_handlers++);
    atomic {
        is_vacant = true;
        TELL_BY_STORE(VACANT, told_vacant)
    }
}

inline sleep_until_lent()
{
    SEQ_CST_STORE(LEASE_LOOK, awake, 0);
    now = IF_DROPPED(LOOKS_AGAIN, 0, word);
    if
    :: IS_LENT(now) -> LATE_STORE(awake, 1)
    :: else -> OWN(awake) == 1 || stopped
    fi
}

active proctype watch_main()
{
    byte now, before = NOTHING;
    bool is_won;

    do
    :: stopped -> break
    :: else ->
       now = word;
       if
       :: is_vacant -> !is_vacant || stopped /* told of at each tick */
       :: !is_vacant && now == before && IS_LENT(now) ->
          lease_take();
          if
          :: is_won -> loop_is_vacant()
          :: else
          fi
       :: !is_vacant && now == before && !IS_LENT(now) -> sleep_until_lent()
       :: !is_vacant && now != before
       fi;
       before = now
    od
}

active proctype memory()
{
    end: do
    :: IF_DROPPED(LEASE_LOOK, REACH_MEMORY(word), REACH_MEMORY(awake))
    :: REACH_MEMORY(awake)
    od
}
