/* The outbox, and who writes: lib/sync/stack.h, outbox_push of lib/core/outbox.c, io_thread_link_dirty and
 * look_at_dirty of lib/core/io_thread.c, transmit_collect and transmit_flush of lib/core/transmit.c. Three
 * producers push onto one connection's outbox; its io thread takes, turns round, and writes.
 *
 * Checked: what was pushed leaves in the order of the pushes (P3), each once, written by io alone; the
 * connection is in the dirty list at most once (C5); io reads no message, and nobody writes the link of the
 * dirty list, without knowing of the access before; nothing stays behind (an end state in which
 * all_is_written waits for ever).
 *
 * Labels: STACK_PUSH DIRTY
 * Own names: all_is_written clear_on_dirty reverse io
 *
 * Mutants, and what finds them:
 *   STACK_PUSH    order  assertion: a message is read without knowing that it was filled
 *   DIRTY         order  assertion: the link is written without knowing that io has read it
 *   PUSH_COMPARES check  end state: a push by load and store loses what came between
 *   TAKE_COMPARES check  end state: a take by load and store loses what came between
 *   FIRST_TELLS   check  end state: who finds the outbox empty does not link the connection
 *   CLEARS_FIRST  check  end state: on_dirty is cleared behind the look at the outbox
 *   LINKS_ONCE    check  assertion: the connection is linked although it is
 *   REVERSES      check  assertion: the chain is written newest first
 *   IO_WRITES     check  assertion: who finds the outbox empty writes, although io has not written all
 *
 * Left out: waiting for room (drain.pml), the closed bit (ending.pml), sleeping (wake.pml), a compare-and-
 * swap that fails without reason (it repeats). */
#include "order.pml"

#define PRODUCERS 3
#define MESSAGES  5

/* Messages are 1 .. MESSAGES, and 0 is NULL. */
#define FILLED(message) (1 << (message))
#define READ_LINK       1

byte word, word_told; /* outbox */
byte next[MESSAGES + 1];
bool on_dirty;
byte on_dirty_told;
bool dirty; /* io.dirty: this connection or nothing */
byte dirty_told;

/* Ghosts */
byte bottom;                 /* the oldest in the outbox */
byte pushed, written;
byte place[MESSAGES + 1];    /* in the order of the pushes */
bool has_read_link;

inline write(message)
{
    NEEDS(FILLED(message));
    assert(place[message] == written);
    place[message] = 0;
    written++
}

inline io_thread_link_dirty()
{
    atomic {
        was_dirty = on_dirty;
        on_dirty = true;
        LEARN(DIRTY, on_dirty_told);
        TELL(DIRTY, on_dirty_told)
    }
    atomic {
        if
        :: !was_dirty IF_DROPPED(LINKS_ONCE, || true, ) -> /* stack_push */
           assert(!dirty);
           if
           :: has_read_link -> NEEDS(READ_LINK)
           :: else
           fi;
           dirty = true;
           TELL(STACK_PUSH, dirty_told)
        :: else
        fi;
        knows = knows & ~READ_LINK; /* soon out of date */
        was_dirty = false
    }
}

inline stack_push(message)
{
    old = word;
    do
    :: next[message] = old;
       atomic {
        if
        :: word == old IF_DROPPED(PUSH_COMPARES, || true, ) ->
           word = message;
           TELL(STACK_PUSH, word_told);
           place[message] = pushed;
           pushed++;
           bottom = (old -> bottom : message);
           break
        :: else -> old = word
        fi
       }
    od
}

inline outbox_push(message)
{
    knows = knows | FILLED(message);
#if DROPPED(IO_WRITES)
    atomic {
        if
        :: !word -> place[message] = pushed; pushed++; write(message); old = 1
        :: true -> old = 0
        fi
    }
    if
    :: old
    :: else -> stack_push(message)
    fi;
#else
    stack_push(message);
#endif
    if
    :: !old IF_DROPPED(FIRST_TELLS, && false, ) -> io_thread_link_dirty() /* STACK_FIRST */
    :: else -> old = 0
    fi
}

active [PRODUCERS] proctype outbox_send()
{
    byte knows, old;
    bool was_dirty;

    outbox_push(1 + _pid);
    if
    :: _pid < MESSAGES - PRODUCERS -> outbox_push(1 + PRODUCERS + _pid)
    :: else
    fi
}

/* Also linked for another reason, without a push: resume_reading, weft_conn_abort. */
active proctype resume_reading()
{
    byte knows;
    bool was_dirty;

    io_thread_link_dirty()
}

inline clear_on_dirty()
{
    atomic {
        on_dirty = false;
        LEARN(DIRTY, on_dirty_told);
        TELL(DIRTY, on_dirty_told)
    }
}

/* node_reverse, and append to `writing` */
inline reverse()
{
    do
    :: chain ->
       old = next[chain];
       next[chain] = writing;
       writing = chain;
       chain = old
    :: else -> break
    od
}

inline transmit_collect()
{
    if
    :: word && STALE_UNLESS(FILLED(bottom)) /* the first load is relaxed, and may have the NULL from before */
    :: !word
    :: word ->
       IF_DROPPED(TAKE_COMPARES, chain = word, skip);
       atomic {
        IF_DROPPED(TAKE_COMPARES, skip, chain = word);
        word = 0;
        LEARN(STACK_PUSH, word_told);
        word_told = 0;
        IF_DROPPED(REVERSES, writing = chain; chain = 0, reverse());
        old = 0
       }
    fi
}

inline transmit_flush()
{
    do
    :: writing ->
       atomic {
        write(writing);
        old = next[writing];
        next[writing] = 0;
        writing = old;
        old = 0
       }
    :: else -> break
    od
}

active proctype io()
{
    byte knows, chain, writing, old;

    end: do
    :: atomic { /* look_at_dirty */
        dirty ->
        dirty = false;
        LEARN(STACK_PUSH, dirty_told);
        on_dirty_told = on_dirty_told & ~READ_LINK;
        knows = knows | READ_LINK;
        has_read_link = true
       }
       IF_DROPPED(CLEARS_FIRST, transmit_collect(); clear_on_dirty(), clear_on_dirty(); transmit_collect());
       transmit_flush()
    od
}

active proctype all_is_written()
{
    written == MESSAGES
}
