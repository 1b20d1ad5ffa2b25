/* The clock and the tables of the micro-benchmarks; see micro.h. */
#include "micro.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_WIDTH 34

static bool is_json;
static size_t tables, rows, columns;

const char *micro_begin(int argc, char **argv, const char *word)
{
    const char *given = NULL;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            is_json = true;
        } else if (word && !given && strcmp(argv[i], word) == 0) {
            given = argv[i];
        } else {
            fprintf(stderr, "usage: %s [--json]%s%s%s\n", argv[0], word ? " [" : "", word ? word : "",
                    word ? "]" : "");
            exit(2);
        }
    }
    if (is_json)
        printf("{\"tables\": [");
    return given;
}

static void print_json_table(const char *title, const char *unit, const char *const *names)
{
    printf("%s{\"title\": \"%s\", \"unit\": \"%s\", \"columns\": [", tables ? "]}, " : "", title, unit);
    for (size_t i = 0; i < columns; i++)
        printf("%s\"%s\"", i ? ", " : "", names[i]);
    printf("], \"rows\": [");
}

static void print_text_table(const char *title, const char *unit, const char *const *names)
{
    printf("%s%s, %s\n%-*s", tables ? "\n" : "", title, unit, NAME_WIDTH, "");
    for (size_t i = 0; i < columns; i++)
        printf(" %12s", names[i]);
    printf("\n");
}

void micro_table(const char *title, const char *unit, const char *const *names, size_t count)
{
    columns = count;
    (is_json ? print_json_table : print_text_table)(title, unit, names);
    tables++;
    rows = 0;
}

static void print_value(double value)
{
    if (is_json && isnan(value))
        printf(", null");
    else if (is_json)
        printf(", %.6g", value);
    else if (isnan(value))
        printf(" %12s", "-");
    else
        printf(" %12.*f", value < 100 ? 2 : 0, value);
}

void micro_row(const char *name, const double *values)
{
    if (is_json)
        printf("%s[\"%s\"", rows ? ", " : "", name);
    else
        printf("%-*s", NAME_WIDTH, name);
    for (size_t i = 0; i < columns; i++)
        print_value(values[i]);
    printf(is_json ? "]" : "\n");
    fflush(stdout);
    rows++;
}

void micro_end(void)
{
    if (is_json)
        printf("%s]}\n", tables ? "]}" : "");
}

double micro_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void micro_size_name(size_t bytes, char out[24])
{
    if (bytes >= 1024 * 1024 && bytes % (1024 * 1024) == 0)
        snprintf(out, 24, "%zum", bytes / (1024 * 1024));
    else if (bytes >= 1024 && bytes % 1024 == 0)
        snprintf(out, 24, "%zuk", bytes / 1024);
    else
        snprintf(out, 24, "%zu", bytes);
}
