/* Waiting for a turn, and canceling who waits: lib/sync/turn.c, turn_look of lib/sync/turn.h, lib/sync/cancel.c.
 *
 * Three producers bring about what two waiters wait for, each a part of it. One waiter runs a task, which a third
 * thread cancels at some moment; its hook makes the next turn of what it waits for.
 *
 * Runs:
 *   plain    all of them
 *   -DQUIET  only the task and who cancels it: nothing else wakes it
 *
 * Checked: no lost wake-up (I1, I3 of turn.h: an end state in which somebody waits though all has come, or though
 * its task was canceled); who sees a turn knows of what came before it; no hook is called once it was removed
 * (I2 of cancel.h).
 *
 * Labels: TURN_NEXT
 * Own names: producer waiter canceler lock unlock all_have_come
 *
 * Mutants, and what finds them:
 *   TURN_NEXT     order  assertion: a waiter reads what it was not told of
 *   LOOKS_FIRST   check  end state: the condition is looked at, and the turn behind that
 *   MARKS         check  end state: a waiter sleeps without its mark, and the next turn wakes nobody
 *   MARK_COMPARES check  end state: a waiter marks whatever turn it is, and sleeps in that
 *   ONE_STEP      check  end state: the mark is looked at, and the turn made behind that
 *   WAKES         check  end state: the next turn is made, and nobody woken
 *   ADD_LOOKS     check  end state: a hook is added to a scope that was fired (-DQUIET)
 *   REMOVE_LOCKS  check  assertion: a hook is called behind its end
 *
 * Left out: time, and scopes within scopes (firing goes inwards as one hook calls the next). A futex compares and
 * sleeps in one step. */
#include "order.pml"

#define PRODUCERS 3
#define WAITERS   2
#define IN_TASK   1 /* this waiter has a scope */
#define MARK      1

byte word, word_told;
byte come;            /* what the producers have said: relaxed */
byte turns_told, last_told; /* of theirs: how many, and the last one */
bool sleeping[WAITERS];
bool locked, is_fired; /* of the scope */
bool has_hook;        /* the scope's list */
bool hook_lives;      /* it is on its waiter's stack */

inline lock()
{
    atomic { !locked -> locked = true }
}

inline unlock()
{
    locked = false
}

inline turn_next()
{
    IF_DROPPED(ONE_STEP, was_marked = word & MARK, skip);
    atomic {
        IF_DROPPED(ONE_STEP, skip, was_marked = word & MARK);
        word = (word | MARK) + 1;
        TELL(TURN_NEXT, word_told);
        if
        :: knows -> turns_told++; last_told = word
        :: else
        fi
    }
    if
    :: IF_DROPPED(WAKES, was_marked && false, was_marked) ->
       atomic { sleeping[0] = false; sleeping[1] = false } /* park_futex_wake */
    :: else
    fi
}

inline turn_look()
{
    atomic {
        seen = word & 254;
        LEARN(TURN_NEXT, word_told)
    }
}

inline turn_wait_anyhow()
{
    atomic {
        if
        :: IF_DROPPED(MARK_COMPARES, true, (word & 254) == seen) ->
           IF_DROPPED(MARK_COMPARES, seen = word & 254, skip);
           word = word | IF_DROPPED(MARKS, 0, MARK);
           is_over = false
        :: IF_DROPPED(MARK_COMPARES, false, (word & 254) != seen) -> is_over = true
        fi
    }
    if
    :: !is_over ->
       atomic {
        if
        :: IF_DROPPED(MARKS, word == seen, word == (seen | MARK)) -> sleeping[me] = true
        :: else
        fi
       }
       !sleeping[me]
    :: else
    fi
}

inline cancel_add()
{
    lock();
    canceled = IF_DROPPED(ADD_LOOKS, false, is_fired);
    if
    :: !canceled -> hook_lives = true; has_hook = true
    :: else
    fi;
    unlock()
}

inline cancel_remove()
{
    IF_DROPPED(REMOVE_LOCKS, skip, lock());
    canceled = is_fired;
    has_hook = false;
    IF_DROPPED(REMOVE_LOCKS, skip, unlock());
    hook_lives = false
}

inline turn_wait()
{
    if
    :: me == IN_TASK -> cancel_add()
    :: else
    fi;
    if
    :: canceled
    :: else ->
       turn_wait_anyhow();
       if
       :: me == IN_TASK -> cancel_remove()
       :: else
       fi
    fi
}

inline all_have_come()
{
    is_true = come == PRODUCERS
}

proctype producer(byte me)
{
    byte knows = 1 << me;
    bool was_marked;

    come++;
    turn_next()
}

proctype waiter(byte me)
{
    byte knows, seen;
    bool is_true, is_over, canceled;

    do
    :: IF_DROPPED(LOOKS_FIRST, all_have_come(); turn_look(), turn_look(); all_have_come());
       if
       :: is_true ->
          /* The look may have come before a turn that is still to come. */
          if
          :: turns_told == PRODUCERS && seen >= last_told -> NEEDS((1 << PRODUCERS) - 1)
          :: else
          fi;
          break
       :: else
       fi;
       turn_wait();
       if
       :: canceled -> break
       :: else
       fi
    od
}

proctype canceler()
{
    byte knows;
    bool was_marked;

    lock(); /* cancel_fire */
    is_fired = true;
    if
    :: has_hook ->
       assert(hook_lives);
       turn_next()
    :: else
    fi;
    unlock()
}

init
{
#ifdef QUIET
    atomic { run waiter(IN_TASK); run canceler() }
#else
    atomic { run producer(0); run producer(1); run producer(2); run waiter(0); run waiter(IN_TASK); run canceler() }
#endif
}
