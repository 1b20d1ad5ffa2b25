/* A server's statistics as text: one line of JSON, or the lines that Prometheus reads. */
#ifndef WEFT_SERVER_FIGURES_H
#define WEFT_SERVER_FIGURES_H

#include <weft/stats.h>

#include <stdint.h>
#include <stdio.h>

/* {"connections":0,...,"handover_us":[...]} and a newline; the names are those of weft_stats. */
void figures_print_json(const weft_stats *stats, FILE *out);

/* All of weft_stats with HELP and TYPE; times in seconds, the histogram's buckets cumulative. It has no _sum,
 * which is not measured.
 *
 * out      receives the lines
 * Source   Prometheus text exposition format 0.0.4 */
void figures_print_prometheus(const weft_stats *stats, FILE *out);

/* One more figure in the same form; type is "gauge" or "counter". */
void figures_print_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value);

#endif
