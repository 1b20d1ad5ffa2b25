/* Idle workers and whoever has work for them: lib/sync/park.c, and wake_one, pool_put, pool_wake, spin,
 * park, call_for_help and pool_stop of lib/core/pool.c. Three producers publish a connection each to two
 * workers; then the pool is stopped.
 *
 * Runs:
 *   plain    three producers, and both workers wait for as long as it takes; here a put and a wake-up are one
 *            step each
 *   -DEXTRA  two producers; the second worker is beyond the configured number and leaves when its time is up
 *   -DHELP   two producers; a worker that was busy for long wakes the next
 *   -DSPIN   two producers; workers look for work for a while before they park
 *
 * Checked: no lost wake-up (I3, W3: an end state in which workers wait and something is ready); each
 * connection is got once; permits are never lost or left over (I2); a worker clears `waking` behind who set
 * it; stop ends, and both workers with it.
 *
 * Labels: PARK_LOOK PARK_PERMIT POOL_WAKING SPIN_LOOK
 * Own names: announce_and_look look_and_wait reset_permit memory
 *
 * Mutants (-DEXTRA), and what finds them:
 *   PARK_LOOK     order  end state: a worker's last look comes before its announcement
 *   PARK_PERMIT   order  assertion: who is woken does not know that `waking` was set
 *   POOL_WAKING   order  end state: a producer relies on a worker that has looked already
 *   SPIN_LOOK     order  end state: a worker's last look comes before it says that it spins no more (-DSPIN)
 *   CLAIM_KNOWS   order  end state: the claim does not come behind the reset of the permit, which undoes it
 *   LOOKS_AGAIN   check  end state: a worker announces itself and waits without a last look
 *   ANNOUNCE_FIRST check  end state: a worker looks, and announces itself behind that
 *   WITHDRAW_WAITS check  assertion: a worker whose bit was claimed goes on without its permit
 *   CLEARS        check  end state: who was woken leaves `waking` set
 *   GIVES_UP      check  end state: who finds nobody to wake leaves `waking` set
 *   FAILS_LOOKS   check  end state: who finds nobody to wake does not look again for who relied on it
 *   ONE_CLAIMS    check  assertion: a bit is claimed by load and store, and two permits are given for one
 *   SPIN_FALLS    check  end state: a worker says that it spins no more behind its last look (-DSPIN)
 *   STOP_LOOKS    check  end state: a worker does not look whether the pool stops
 *
 * The producers do the same, so the first place is the first one's, and so on: that leaves out only
 * renamings.
 * Left out: the two loads of ring_is_empty (the later of them is of the word that only grows); pool_watch,
 * which wakes and starts workers when a backlog has not moved for a millisecond (it would hide a lost wake-
 * up); slots used again; the run of a connection (mailbox.pml). */
#include "order.pml"

#if defined EXTRA || defined HELP || defined SPIN
#define PRODUCERS 2
#define CLAIM     atomic { tail == _pid -> tail++ }
#define PUT       put[_pid] = true;
#define WAKE_ONE  park_wake_one()
/* ring_get's loads may also be too old to see the put. */
#define MAY_FIND_NOTHING true
#else
#define PRODUCERS 3
#define CLAIM     atomic { tail == _pid -> put[tail] = true; tail++ }
#define PUT
#define WAKE_ONE  atomic { park_wake_one() }
#define MAY_FIND_NOTHING (head == PRODUCERS || !put[head])
#endif
#ifdef EXTRA
#define IS_EXTRA(me) (me == 1)
#else
#define IS_EXTRA(me) false
#endif
#define WORKERS   2
#define NOBODY    255

#define WAS_SET 1 /* what was done before a permit was given */

/* pool.ready: `tail` places are claimed, `head` are got; a claimed one is seen behind its second step. */
byte tail, head;
bool put[PRODUCERS];
byte idle; /* park.idle, a bit for each worker */
byte permit[WORKERS], permit_told[WORKERS];
byte permit_late[WORKERS] = NOTHING;
bool waking, stopping;
byte spinning;
byte ended;

#define BIT(slot)        (1 << (slot))
#define HAS_PERMIT(slot) (permit_late[slot] == NOTHING && permit[slot])
#define IS_EMPTY         (tail == head) /* ring_is_empty */

/* Leaves `woke`. */
inline park_wake_one()
{
    idle_seen = idle;
    do
    :: atomic { /* the fetch-and; the lowest bit first */
        idle_seen != 0 ->
        slot = (idle_seen & 1 -> 0 : 1);
        idle_seen = IF_DROPPED(ONE_CLAIMS, idle_seen, idle);
        idle = idle & ~BIT(slot);
        if
        :: idle_seen & BIT(slot) -> idle_seen = 0; break
        :: else -> idle_seen = idle_seen & ~BIT(slot); slot = NOBODY
        fi
       }
    :: !idle_seen -> break
    od;
    atomic {
        if
        :: slot != NOBODY ->
           assert(!HAS_PERMIT(slot));
           permit[slot] = 1;
           TELL_BY_STORE(PARK_PERMIT, permit_told[slot]);
           slot = NOBODY;
           woke = true
        :: else
        fi
    }
}

/* The load before the exchange only spares the exchange. */
inline wake_one()
{
    do
    :: atomic {
        if
        :: waking -> woke = true
        :: else -> waking = true; knows = WAS_SET
        fi
       }
       if
       :: !woke -> WAKE_ONE
       :: else
       fi;
       if
       :: woke -> atomic { woke = false; knows = 0; break }
       :: else
       fi;
       IF_DROPPED(GIVES_UP, skip, waking = false);
       if
       :: IS_EMPTY || !idle IF_DROPPED(FAILS_LOOKS, || true, ) -> knows = 0; break /* park_count */
       :: else
       fi
    od
}

#define WAKE_UNLESS_WAKING \
    if \
    :: IF_DROPPED(POOL_WAKING, !is_waking, true) -> wake_one() \
    :: IF_DROPPED(POOL_WAKING, is_waking, false) \
    fi

active [PRODUCERS] proctype io_thread_publish()
{
    byte knows, idle_seen, slot = NOBODY;
    bool is_waking, woke;

    /* pool_put */
    STEP_THEN_LOOK(ALWAYS, CLAIM, POOL_WAKING, IF_DROPPED(POOL_WAKING, is_waking = waking, skip));
    PUT
    /* pool_wake: who spins finds what was put, now or in its last look before it parks */
#ifdef SPIN
    if
    :: spinning
    :: else -> WAKE_UNLESS_WAKING
    fi
#else
    WAKE_UNLESS_WAKING
#endif
}

/* --- a worker --- */

inline park_announce(me)
{
    idle = idle | BIT(me)
}

/* Relaxed, but announce is a release, and nobody looks at it before. */
inline reset_permit(me)
{
    IF_DROPPED(CLAIM_KNOWS, permit_late[me] = 0, permit[me] = 0);
    permit_told[me] = 0
}

/* Leaves `was_claimed`. */
inline withdraw_bit(me)
{
    was_claimed = !(idle & BIT(me));
    idle = idle & ~BIT(me)
}

inline park_withdraw(me)
{
    atomic { withdraw_bit(me) }
    atomic {
        if
        :: was_claimed IF_DROPPED(WITHDRAW_WAITS, && false, ) ->
           HAS_PERMIT(me);
           LEARN(PARK_PERMIT, permit_told[me])
        :: else
        fi;
        reset_permit(me);
        woken = true
    }
}

inline park_wait(me)
{
    if
    :: HAS_PERMIT(me) -> was_claimed = true
    :: atomic { IS_EXTRA(me) -> withdraw_bit(me) } /* the time is up */
    fi;
    atomic {
        if
        :: was_claimed -> HAS_PERMIT(me); LEARN(PARK_PERMIT, permit_told[me])
        :: else
        fi;
        reset_permit(me);
        woken = was_claimed
    }
}

/* The last look, and the wait. */
inline look_and_wait(me)
{
    if
    :: !is_empty IF_DROPPED(LOOKS_AGAIN, && false, ) -> park_withdraw(me)
    :: else ->
       if
       :: stopping IF_DROPPED(STOP_LOOKS, && false, ) -> park_withdraw(me)
       :: else -> park_wait(me)
       fi
    fi
}

/* Somebody woke it: the next may be woken. */
#define NOTE_WOKEN \
    atomic { \
        if \
        :: woken && was_claimed -> NEEDS(WAS_SET) \
        :: else \
        fi; \
        if \
        :: woken -> IF_DROPPED(CLEARS, skip, waking = false) \
        :: else \
        fi; \
        is_empty = false; \
        was_claimed = false; \
        knows = 0 \
    }

#ifdef SPIN
/* Until there is work, or the time is up. Leaves `found`. */
inline spin()
{
    spinning++;
    if
    :: !IS_EMPTY -> found = true
    :: true
    fi;
    IF_DROPPED(SPIN_LOOK, is_empty = IS_EMPTY, skip);
    IF_DROPPED(SPIN_FALLS, skip, spinning--)
}
#endif

inline announce_and_look(me)
{
    IF_DROPPED(ANNOUNCE_FIRST, is_empty = IS_EMPTY; park_announce(me),
               STEP_THEN_LOOK(PARK_LOOK, park_announce(me), ALWAYS,
                              IF_DROPPED(SPIN_LOOK, skip, is_empty = IS_EMPTY)));
    IF_DROPPED(SPIN_FALLS, spinning--, skip);
    look_and_wait(me)
}

/* Leaves `is_leaving` set when the thread ends. */
inline park(me)
{
#ifdef SPIN
    spin();
    if
    :: found -> atomic { found = false; woken = true; IF_DROPPED(SPIN_FALLS, spinning--, skip) }
    :: else -> announce_and_look(me); NOTE_WOKEN
    fi;
#else
    announce_and_look(me);
    NOTE_WOKEN
#endif
    atomic {
        if
        :: stopping -> is_leaving = true
        :: else -> is_leaving = !woken && IS_EMPTY
        fi;
        woken = false
    }
}
inline call_for_help()
{
#ifdef HELP
    if
    :: !IS_EMPTY && !waking && idle != 0 -> wake_one()
    :: true /* not busy for long */
    fi
#else
    skip
#endif
}

active [WORKERS] proctype worker()
{
    byte knows, idle_seen, slot = NOBODY;
    bool is_empty, was_claimed, woken, woke, is_leaving;
#ifdef SPIN
    bool found;
#endif

    do
    :: is_leaving -> break
    :: atomic { !is_leaving && head < PRODUCERS && put[head] -> head++ } /* ring_get, mailbox_run */
       call_for_help()
    :: !is_leaving && MAY_FIND_NOTHING -> park(_pid - PRODUCERS)
    od;
    ended++
}

/* engine_stop calls it when no connection is left. */
active proctype pool_stop()
{
    byte knows, idle_seen, slot = NOBODY;
    bool woke;

    atomic { head == PRODUCERS -> stopping = true; knows = WAS_SET }
    do
    :: woke = false;
       park_wake_one();
       if
       :: woke
       :: else -> break
       fi
    od;
    ended == WORKERS /* joined */
}

#if DROPPED(CLAIM_KNOWS)
active proctype memory()
{
    end: do
    :: atomic { permit_late[0] != NOTHING -> permit[0] = permit_late[0]; permit_late[0] = NOTHING }
    :: atomic { permit_late[1] != NOTHING -> permit[1] = permit_late[1]; permit_late[1] = NOTHING }
    od
}
#endif
