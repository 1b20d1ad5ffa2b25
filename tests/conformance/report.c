/* What a run prints and writes; see report.h. */
#include "report.h"

#include <stdio.h>

static bool is_good(const struct report *r, size_t i)
{
    return verdict_is_good(&r->verdicts[i], r->allow_non_strict);
}

static void print_case(const struct report *r, size_t i)
{
    const struct verdict *v = &r->verdicts[i];

    printf("%-8s behaviour %s, close %s, %u ms%s%s\n", r->cases[i]->id, grade_names[v->behaviour],
           grade_names[v->close], v->duration_ms, v->detail ? ": " : "", v->detail ? v->detail : "");
}

static void print_section(const struct report *r, unsigned section)
{
    size_t total = 0, failed = 0, grades[GRADE_COUNT] = {0};

    for (size_t i = 0; i < r->count; i++) {
        if (case_section(r->cases[i]) != section)
            continue;
        total++;
        failed += !is_good(r, i);
        grades[r->verdicts[i].behaviour]++;
    }
    if (total > 0)
        printf("section %2u: %3zu cases, behaviour %zu OK, %zu NON-STRICT, %zu INFORMATIONAL, %zu FAILED; "
               "%zu not good\n",
               section, total, grades[GRADE_OK], grades[GRADE_NON_STRICT], grades[GRADE_INFORMATIONAL],
               grades[GRADE_FAILED], failed);
}

size_t report_print(const struct report *r)
{
    size_t failed = 0;

    for (size_t i = 0; i < r->count; i++) {
        failed += !is_good(r, i);
        if (r->verbose || !is_good(r, i))
            print_case(r, i);
    }
    for (unsigned section = 1; section <= SECTION_MAX; section++)
        print_section(r, section);
    printf("%zu passed, %zu failed\n", r->count - failed, failed);
    return failed;
}

static void write_json(const struct report *r, FILE *out)
{
    fputs("{\n  \"peer\": {\n", out);
    for (size_t i = 0; i < r->count; i++) {
        const struct verdict *v = &r->verdicts[i];

        fprintf(out,
                "    \"%s\": {\"behavior\": \"%s\", \"behaviorClose\": \"%s\", \"duration\": %u, "
                "\"remoteCloseCode\": ",
                r->cases[i]->id, grade_names[v->behaviour], grade_names[v->close], v->duration_ms);
        if (v->peer_code == NO_CODE)
            fputs("null}", out);
        else
            fprintf(out, "%d}", v->peer_code);
        fputs(i + 1 < r->count ? ",\n" : "\n", out);
    }
    fputs("  }\n}\n", out);
}

int report_json(const struct report *r, const char *file)
{
    FILE *out = fopen(file, "w");
    int failed;

    if (!out)
        return -1;
    write_json(r, out);
    failed = ferror(out);
    return fclose(out) == 0 && !failed ? 0 : -1;
}

static void list_step(const struct step *s)
{
    static const char *const opcodes[] = {"cont",  "text", "binary", "op3",  "op4",  "op5",  "op6",  "op7",
                                          "close", "ping", "pong",   "op11", "op12", "op13", "op14", "op15"};

    switch (s->kind) {
    case STEP_CLOSE:
        printf(s->code == NO_CODE ? " close" : " close %d", s->code);
        break;
    case STEP_PAUSE:
        printf(" pause %u ms", s->ms);
        break;
    case STEP_MORE:
        printf(" more");
        return;
    case STEP_KILL:
    case STEP_CLOSE_AFTER:
    case STEP_LIMIT:
        printf(" (%s %u ms)",
               s->kind == STEP_KILL    ? "kill"
               : s->kind == STEP_LIMIT ? "limit"
                                       : "close",
               s->ms);
        return;
    default:
        printf(" %s", opcodes[s->first_octet & 0x0f]);
        if (s->first_octet & RSV(7))
            printf(" rsv %u", s->first_octet >> 4 & 7);
        if (!(s->first_octet & FIN) && s->kind == STEP_FRAME)
            printf("(-)");
    }
    if (s->payload.bytes > 0)
        printf(" of %u", s->payload.bytes);
    if (s->fragment_bytes > 0)
        printf(" in %us", s->fragment_bytes);
    if (s->count > 0)
        printf(" x %u", s->count);
}

static void list_closing(const struct closing *k)
{
    if (k->informational) {
        printf(" | any end");
        return;
    }
    printf(" | closed by the %s%s, code", k->by == SIDE_TESTER ? "tester" : "peer",
           k->clean ? ", clean" : "");
    for (int i = 0; i < 3 && k->codes[i] != 0; i++)
        printf(" %d", k->codes[i]);
}

void report_list(const struct conf_case *const *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct conf_case *c = cases[i];

        printf("%-8s", c->id);
        for (const struct step *s = c->steps; s->kind != STEP_END; s++)
            list_step(s);
        if (c->chop_bytes > 0)
            printf(", chop %u", c->chop_bytes);
        printf("%s", c->sync ? ", sync" : "");
        list_closing(&c->closing);
        printf("\n");
    }
}
