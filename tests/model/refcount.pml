/* References at the end: conn_unref of lib/core/conn.c, engine_unref of lib/core/engine.c, weft_msg_unref
 * of lib/base/msg.c and link_for of lib/core/outbox.c. A connection holds its engine. Three holders of the
 * connection (the library, a link in the dirty list, the program), of which the first hands a reference on
 * to a fourth; the server, which holds the engine. Three holders of a message, one of which would like to
 * use its own link.
 *
 * Checked: each is freed once, by the last holder, and touched by nobody afterwards; who frees it, and who
 * finds itself its only holder, knows of all that the others did with it.
 *
 * Labels: CONN_LAST ENGINE_LAST MSG_LAST
 * Own names: all_is_freed fourth msg_holder touch_conn touch_msg holder
 *
 * Mutants, and what finds them:
 *   CONN_LAST     order  assertion: who frees the connection does not know what others did with it
 *   ENGINE_LAST   order  assertion: who frees the engine does not know what others did with it
 *   MSG_LAST      order  assertion: the only holder of a message does not know what others did with it
 *   UNREF_COUNTS  check  end state: by load and store two holders are the last, or none is
 *   ENGINE_HELD   check  assertion: a connection without a reference of its engine
 *   ENGINE_BEFORE check  assertion: the engine is read from the connection behind the last unref of another
 *   REF_BEFORE    check  assertion: a reference is handed on and counted behind that
 *   LINK_ALONE    check  assertion: the message's own link is used although others hold it
 *
 * Left out: what the endings do before (ending.pml); groups, arrays and requests, which count in the same
 * way (GROUP_LAST, ARRAY_LAST, MEMBER_LAST, SERVER_LAST, REQUEST_LAST). */
#include "order.pml"

#define SERVER 4

/* Bits: what each has done with the connection (or the message), and with the engine. */
#define TOUCHED(who)        (1 << (who))
#define TOUCHED_ENGINE(who) (32 << (who))

byte conn_refs = 3;
short conn_told, conn_touched;
bool conn_freed;
byte engine_refs = 1 + IF_DROPPED(ENGINE_HELD, 0, 1);
short engine_told, engine_touched;
bool engine_freed;
byte msg_refs = 3, msg_told, msg_touched;
bool msg_freed;
bool handed_on; /* the reference of the fourth */

/* The fetch-sub. Leaves `is_last`. */
#define COUNT_DOWN(label, refs, told) \
    IF_DROPPED(UNREF_COUNTS, was = refs, skip); \
    atomic { \
        IF_DROPPED(UNREF_COUNTS, skip, was = refs); \
        LEARN(label, told); \
        TELL(label, told); \
        is_last = (was == 1); \
        refs = was - 1; \
        was = 0 \
    }

inline engine_unref(who)
{
    atomic {
        assert(!engine_freed);
        knows = knows | TOUCHED_ENGINE(who);
        engine_touched = engine_touched | TOUCHED_ENGINE(who)
    }
    COUNT_DOWN(ENGINE_LAST, engine_refs, engine_told);
    atomic {
        if
        :: is_last ->
           assert(!engine_freed);
           NEEDS(engine_touched);
           engine_freed = true
        :: else
        fi;
        is_last = false
    }
}

inline touch_conn(who)
{
    atomic {
        assert(!conn_freed && !engine_freed);
        knows = knows | TOUCHED(who);
        conn_touched = conn_touched | TOUCHED(who)
    }
}

inline conn_ref()
{
    atomic { assert(!conn_freed); conn_refs++ }
}

inline conn_unref(who)
{
    IF_DROPPED(ENGINE_BEFORE, skip, assert(!conn_freed)); /* reads the engine */
    COUNT_DOWN(CONN_LAST, conn_refs, conn_told);
    IF_DROPPED(ENGINE_BEFORE, assert(!conn_freed), skip);
    if
    :: is_last ->
       atomic {
        assert(!conn_freed);
        NEEDS(conn_touched);
        conn_freed = true
       }
       engine_unref(who)
    :: else
    fi
}

/* The library, a link in the dirty list, the program. */
proctype holder(byte who)
{
    short knows;
    byte was;
    bool is_last;

    touch_conn(who);
    if
    :: who == 0 ->
       IF_DROPPED(REF_BEFORE, handed_on = true; conn_ref(), conn_ref(); handed_on = true);
       touch_conn(who)
    :: else
    fi;
    conn_unref(who)
}

proctype fourth()
{
    short knows;
    byte was;
    bool is_last;

    handed_on;
    touch_conn(3);
    conn_unref(3)
}

proctype weft_server_unref()
{
    short knows;
    byte was;
    bool is_last;

    engine_unref(SERVER)
}

/* --- a message --- */

inline touch_msg(who)
{
    atomic {
        assert(!msg_freed);
        knows = knows | TOUCHED(who);
        msg_touched = msg_touched | TOUCHED(who)
    }
}

inline weft_msg_unref()
{
    assert(!msg_freed);
    atomic { /* the only holder needs no read-modify-write */
        is_last = (msg_refs == 1);
        if
        :: is_last -> LEARN(MSG_LAST, msg_told)
        :: else
        fi
    }
    if
    :: is_last
    :: else -> COUNT_DOWN(MSG_LAST, msg_refs, msg_told)
    fi;
    atomic {
        if
        :: is_last ->
           assert(!msg_freed);
           NEEDS(msg_touched);
           msg_freed = true
        :: else
        fi;
        is_last = false
    }
}

active [3] proctype msg_holder()
{
    byte knows, was;
    bool is_last;

    touch_msg(_pid);
    if
    :: _pid == 0 ->
       atomic { /* link_for */
        is_last = IF_DROPPED(LINK_ALONE, true, msg_refs == 1);
        if
        :: is_last -> LEARN(MSG_LAST, msg_told)
        :: else
        fi
       }
       if
       :: is_last -> is_last = false; NEEDS(msg_touched)
       :: else
       fi
    :: else
    fi;
    weft_msg_unref()
}

proctype all_is_freed()
{
    atomic { conn_freed && engine_freed && msg_freed -> assert(!engine_refs && !conn_refs) }
}

init
{
    atomic {
        run holder(0);
        run holder(1);
        run holder(2);
        run fourth();
        run weft_server_unref();
        run all_is_freed()
    }
}
