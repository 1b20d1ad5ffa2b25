/* The ready queue: lib/sync/ring.c. Three producers, two consumers, two cells, five elements, so that the
 * cells are used again.
 *
 * Checked: each element is got once, in the order of the positions (I2); a cell is written and read by its
 * owner alone (I1) and never without knowing of the access before (RING_PUT, RING_FREE); whoever gets an
 * element may read what was written before its put; nothing is left, and everybody ends.
 *
 * Labels: RING_PUT RING_FREE
 * Own names: producer consumer own
 *
 * Mutants, and what finds them:
 *   RING_PUT    order  assertion: the element is read without knowing that it was written
 *   RING_FREE   order  assertion: the cell is written without knowing that it was read
 *   PUT_LOOKS   check  assertion: a cell is written that is not free (its sequence is not looked at)
 *   GET_LOOKS   check  assertion: a cell is read that was not written
 *   PUT_CLAIMS  check  end state: two producers own one cell (tail by load and store), one element is lost
 *   GET_CLAIMS  check  assertion: two consumers get one element (head by load and store)
 *   FREE_NEXT   check  end state: the cell is freed for the wrong round, and a put waits for ever
 *
 * Left out: a compare-and-swap that fails without reason (it repeats); the rounds in which a put finds it
 * full, or a get empty, and nothing has changed since (they are waits here). */
#include "order.pml"

#define PRODUCERS 3
#define CELLS     2
#define ELEMENTS  5
#define NONE      255

#define WRITTEN(position) (1 << (position))
#define READ(position)    (1 << (ELEMENTS + (position)))
#define CELL              (position % CELLS)

byte sequence[CELLS];
short sequence_told[CELLS];
byte element[CELLS] = NONE;
byte tail, head;

/* Ghosts: who owns the cell now, what was put at each position, how many were got. */
byte owners[CELLS];
byte at_position[ELEMENTS] = NONE;
byte got;

inline own(claimed)
{
    owners[claimed]++;
    assert(owners[claimed] == 1)
}

inline ring_put(it)
{
    atomic { /* there is room, or somebody was faster than the look */
        IF_DROPPED(PUT_LOOKS, true, sequence[tail % CELLS] >= tail);
        position = tail
    }
    do
    :: atomic {
        IF_DROPPED(PUT_LOOKS, true, sequence[CELL] >= position) || tail != position;
        is_turn = IF_DROPPED(PUT_LOOKS, true, sequence[CELL] == position);
        if
        :: is_turn -> LEARN(RING_FREE, sequence_told[CELL])
        :: else -> position = tail
        fi
       }
       atomic { /* the compare-and-swap */
        if
        :: is_turn && IF_DROPPED(PUT_CLAIMS, true, tail == position) ->
           tail = position + 1;
           own(CELL);
           at_position[position] = it;
           break
        :: is_turn && IF_DROPPED(PUT_CLAIMS, false, tail != position) -> position = tail; is_turn = false
        :: !is_turn
        fi
       }
    od;
    atomic {
        if
        :: position >= CELLS -> NEEDS(READ(position - CELLS))
        :: else
        fi;
        assert(element[CELL] == NONE);
        element[CELL] = it;
        knows = knows | WRITTEN(position);
        owners[CELL]--;
        sequence[CELL] = position + 1;
        TELL_BY_STORE(RING_PUT, sequence_told[CELL]);
        is_turn = false;
        position = 0
    }
}

inline ring_get()
{
    position = head;
    do
    :: atomic {
        IF_DROPPED(GET_LOOKS, true, sequence[CELL] > position) || head != position || got == ELEMENTS;
        is_turn = IF_DROPPED(GET_LOOKS, position < ELEMENTS, sequence[CELL] == position + 1);
        if
        :: is_turn -> LEARN(RING_PUT, sequence_told[CELL])
        :: !is_turn && got < ELEMENTS -> position = head
        :: !is_turn && got == ELEMENTS -> break
        fi
       }
       atomic { /* the compare-and-swap */
        if
        :: is_turn && IF_DROPPED(GET_CLAIMS, true, head == position) ->
           head = position + 1;
           own(CELL);
           break
        :: is_turn && IF_DROPPED(GET_CLAIMS, false, head != position) -> position = head; is_turn = false
        :: !is_turn
        fi
       }
    od;
    atomic {
        if
        :: is_turn ->
           NEEDS(WRITTEN(position));
           assert(element[CELL] != NONE && element[CELL] == at_position[position]);
           element[CELL] = NONE;
           at_position[position] = NONE;
           got++;
           knows = knows | READ(position);
           owners[CELL]--;
           sequence[CELL] = position + IF_DROPPED(FREE_NEXT, 1, CELLS);
           TELL_BY_STORE(RING_FREE, sequence_told[CELL]);
           knows = 0
        :: else
        fi;
        is_turn = false;
        position = 0
    }
}

proctype producer(byte who)
{
    short knows;
    byte position;
    bool is_turn;

    ring_put(who);
    if
    :: who < ELEMENTS - PRODUCERS -> ring_put(PRODUCERS + who)
    :: else
    fi
}

proctype consumer()
{
    short knows;
    byte position;
    bool is_turn;

    do
    :: got < ELEMENTS -> ring_get()
    :: got == ELEMENTS -> break
    od;
    assert(head == ELEMENTS && tail == ELEMENTS)
}

init
{
    atomic {
        sequence[1] = 1;
        run producer(0);
        run producer(1);
        run producer(2);
        run consumer();
        run consumer()
    }
}
