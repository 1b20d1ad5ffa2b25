/* The result of a run, as a table or as one line of JSON. */
#ifndef WEFT_BENCH_REPORT_H
#define WEFT_BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "loader.h"

/* Add what one loader counted to the sum. The times are the longest one's, the CPU times are added. */
void report_add(struct tally *sum, const struct tally *t);

/* Print it, as options say. sum's slow and others are changed: excess slow ones move (see mode_rate.c).
 *
 * Returns  true when there was no error at all */
bool report_print(const struct run *run, struct tally *sum, FILE *out);

#endif
