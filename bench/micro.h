/* What the micro-benchmarks share: the clock, and results as text or, with --json, as one line of JSON for
 * bench/run.
 *
 * A program prints tables one after the other: micro_begin, then micro_table and its rows, then micro_end. A
 * value that does not exist is NAN. */
#ifndef WEFT_BENCH_MICRO_H
#define WEFT_BENCH_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The compiler may neither drop a value nor see where it comes from. */
#define MICRO_OPAQUE(x) __asm__ volatile("" : "+r"(x) : : "memory")

#define MICRO_COLUMNS_MAX 8

/* Reads --json and up to one word beside it, which is returned, or NULL. Anything else ends the program with
 * the usage. `word` is the one that is allowed; NULL: none. */
const char *micro_begin(int argc, char **argv, const char *word);
void micro_table(const char *title, const char *unit, const char *const *columns, size_t count);
void micro_row(const char *name, const double *values); /* one for each column of the table */
void micro_end(void);

double micro_now_ns(void);
void micro_size_name(size_t bytes, char out[24]); /* "125", "64k", "1m" */

/* How many times the measured thing is done in one round, when one takes about ns. */
static inline long micro_calls(double ns, double round_ns)
{
    return (long)(round_ns / (ns > 1 ? ns : 1)) + 1;
}

#endif
