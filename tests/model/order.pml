/* Memory orders for the models, and mutants.
 *
 * spin interleaves whole steps: by itself it knows only sequential consistency. What a weaker order allows
 * is written down here, in two ways, because the labels of lib/ are of two kinds (docs/threads.md).
 *
 * A. Release and acquire: who has been told of what. Each process has a set `knows`, each atomic word a set
 *    of what its writers told, both of bits that stand for an access to plain memory (a message was filled, a
 *    cell was read). TELL and LEARN stand in the same atomic step as the write or read of the word. Before
 *    plain memory is touched, NEEDS asserts that the other accesses are known: without the edge that is a
 *    data race, whatever the interleaving. This is happens-before as C11 has it, by bits. A relaxed load may
 *    return an old value as long as its reader does not know of the newer one: where that matters, the model
 *    offers both (STALE_UNLESS).
 *
 * B. Store-load: each thread stores, then looks at what the other stores. A relaxed store goes into a buffer
 *    of its thread and reaches memory at some later moment (LATE_STORE, and the process `memory`); a release
 *    or a seq_cst step waits until the buffer is empty (FENCE). Without its label a read-modify-write no
 *    longer comes before the look behind it, nor the look behind the step before it (STEP_THEN_LOOK). That
 *    is more than TSO, in which every read-modify-write is a barrier, and so shows labels that no x86 can.
 *
 * A mutant is the same model without one label or one check: `spin -DMUTANT_NAME`. DROPPED(NAME) is 1 in it
 * and 0 otherwise; IF_DROPPED(NAME, its steps, the real steps) leaves only one of them in the text, so that
 * no model contains a step that it cannot reach. */

#define DROPPED(name)                   DROPPED_IS(MUTANT_##name)
#define DROPPED_IS(value)               DROPPED_MARK(value)
#define DROPPED_MARK(value)             DROPPED_PICK(DROPPED_MARK_##value 1, 0)
#define DROPPED_PICK(marked, ...)       DROPPED_SECOND(marked, __VA_ARGS__)
#define DROPPED_SECOND(first, second, ...) second
#define DROPPED_MARK_1                  0,

#define IF_DROPPED(name, mutant, real)  CHOOSE(DROPPED(name), mutant, real)
#define CHOOSE(dropped, mutant, real)   CHOOSE_NOW(dropped, mutant, real)
#define CHOOSE_NOW(dropped, mutant, real) CHOOSE_IF_##dropped(mutant, real)
#define CHOOSE_IF_1(mutant, real)       mutant
#define CHOOSE_IF_0(mutant, real)       real

/* --- A --- */

/* A read-modify-write adds to what the word tells (the release sequence goes on); a store replaces it. */
#define TELL(label, told)               told = IF_DROPPED(label, told, told | knows)
#define TELL_BY_STORE(label, told)      told = IF_DROPPED(label, 0, knows)
#define LEARN(label, told)              knows = IF_DROPPED(label, knows, knows | told)
#define NEEDS(bits)                     assert((knows & (bits)) == (bits))
/* Guard of the branch in which a relaxed load still has the value from before all that the bits stand for. */
#define STALE_UNLESS(bits)              ((knows & (bits)) == 0)

/* --- B --- */

#define NOTHING                         255
/* A store to a word that has a buffer `word_late`; the word has one such writer at a time. */
#define LATE_STORE(word, value)         atomic { word##_late == NOTHING; word##_late = value }
#define REACH_MEMORY(word) \
    atomic { word##_late != NOTHING -> word = word##_late; word##_late = NOTHING }
#define FENCE(word)                     word##_late == NOTHING
/* `step`, a read-modify-write, and then a look at another word: the look may come first when the label of
 * either is dropped. Both are single steps. */
#define STEP_THEN_LOOK(step_label, step, look_label, look) \
    IF_DROPPED(step_label, EITHER_ORDER(step, look), \
               IF_DROPPED(look_label, EITHER_ORDER(step, look), step; look))
#define EITHER_ORDER(one, other)        if :: one; other :: other; one fi
/* seq_cst store to a word with a buffer; without its label a late one. */
#define SEQ_CST_STORE(label, word, value) \
    IF_DROPPED(label, LATE_STORE(word, value), atomic { FENCE(word); word = value })
/* The writer's own load. */
#define OWN(word)                       (word##_late == NOTHING -> word : word##_late)
