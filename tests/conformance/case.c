/* The list of all cases, and what their payloads stand for; see case.h. */
#include "case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct case_table *const tables[] = {&cases_framing,    &cases_fragments, &cases_utf8,
                                                  &cases_utf8_table, &cases_close,     &cases_limits,
                                                  &cases_connection, &cases_deflate};
#define TABLE_COUNT (sizeof tables / sizeof tables[0])

static const size_t section_sizes[SECTION_MAX + 1] = {
    [1] = 16, [2] = 11, [3] = 7,  [4] = 10,  [5] = 20,  [6] = 145,
    [7] = 37, [9] = 54, [10] = 1, [12] = 90, [13] = 126};

unsigned case_section(const struct conf_case *c)
{
    return (unsigned)strtoul(c->id, NULL, 10);
}

bool case_is_in(const struct conf_case *c, const char *id, size_t id_bytes)
{
    return id_bytes > 0 && strncmp(c->id, id, id_bytes) == 0 &&
           (c->id[id_bytes] == '\0' || c->id[id_bytes] == '.');
}

static bool is_of_deflate(unsigned section)
{
    return section == 12 || section == 13 || section == 15;
}

static bool sections_are_complete(const struct conf_case *const *all, size_t count, bool deflate)
{
    size_t found[SECTION_MAX + 1] = {0}, known = 0;

    for (size_t i = 0; i < count; i++)
        if (case_section(all[i]) <= SECTION_MAX)
            found[case_section(all[i])]++;
    for (unsigned s = 0; s <= SECTION_MAX; s++) {
        if (s < SECTION_OWN && is_of_deflate(s) == deflate && found[s] != section_sizes[s]) {
            fprintf(stderr, "section %u has %zu cases, not %zu\n", s, found[s], section_sizes[s]);
            return false;
        }
        known += found[s];
    }
    return known == count;
}

static bool ids_are_unique(const struct conf_case *const *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = i + 1; k < count; k++) {
            if (strcmp(all[i]->id, all[k]->id) == 0) {
                fprintf(stderr, "two cases are called %s\n", all[i]->id);
                return false;
            }
        }
    }
    return true;
}

static bool is_for(const struct conf_case *c, const struct role *role, bool deflate)
{
    return is_of_deflate(case_section(c)) == deflate && (c->only == 0 || c->only == role->bit);
}

const struct conf_case **case_catalogue(const struct role *role, bool deflate, size_t *count)
{
    const struct conf_case **all;
    size_t total = 0, n = 0;

    for (size_t t = 0; t < TABLE_COUNT; t++)
        total += tables[t]->count;
    all = calloc(total, sizeof *all);
    if (!all) {
        fprintf(stderr, "no memory\n");
        return NULL;
    }
    for (size_t t = 0; t < TABLE_COUNT; t++)
        for (size_t i = 0; i < tables[t]->count; i++)
            if (is_for(&tables[t]->cases[i], role, deflate))
                all[n++] = &tables[t]->cases[i];
    if (!sections_are_complete(all, n, deflate) || !ids_are_unique(all, n)) {
        free(all);
        return NULL;
    }
    *count = n;
    return all;
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

static uint8_t payload_octet(const struct payload *p, size_t i)
{
    if (p->hex)
        return (uint8_t)(hex_digit(p->unit[2 * i]) << 4 | hex_digit(p->unit[2 * i + 1]));
    return (uint8_t)p->unit[i % p->unit_bytes];
}

void payload_copy(const struct payload *p, uint8_t *dst)
{
    size_t done = p->hex ? p->bytes : p->unit_bytes < p->bytes ? p->unit_bytes : p->bytes;

    for (size_t i = 0; i < done; i++)
        dst[i] = payload_octet(p, i);
    while (done < p->bytes) {
        size_t next = done < p->bytes - done ? done : p->bytes - done;

        memcpy(dst + done, dst, next);
        done += next;
    }
}

/* Octets repeat a unit exactly when they begin with it and equal themselves one unit further on. */
static bool repeats(const struct payload *p, const uint8_t *octets)
{
    return !p->hex && p->unit_bytes > 0 && p->bytes > p->unit_bytes &&
           memcmp(octets, p->unit, p->unit_bytes) == 0 &&
           memcmp(octets, octets + p->unit_bytes, p->bytes - p->unit_bytes) == 0;
}

int64_t payload_difference(const struct payload *p, const uint8_t *octets, size_t bytes)
{
    size_t common = bytes < p->bytes ? bytes : p->bytes;

    if (bytes == p->bytes && repeats(p, octets))
        return -1;
    for (size_t i = 0; i < common; i++)
        if (octets[i] != payload_octet(p, i))
            return (int64_t)i;
    return bytes == p->bytes ? -1 : (int64_t)common;
}
