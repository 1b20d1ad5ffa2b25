/* Reads a command line by a table; see options.h. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    const struct option_set *set;
    char **argv;
    int argc;
    int next; /* index of the argument to read next */
    FILE *err;
};

static bool read_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (digit > 9 || n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = n;
    return n >= min && n <= max;
}

/* strtod alone would also take signs, exponents, hexadecimal numbers and "inf". */
static bool read_share(const char *text, double *out)
{
    char *end;

    if (*text == '\0' || text[strspn(text, "0123456789.")] != '\0')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && end != text && *out <= 1.0;
}

static bool read_choice(const char *text, const char *const *words, unsigned *out)
{
    for (unsigned i = 0; words[i]; i++)
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return true;
        }
    return false;
}

static void explain(const struct option_row *row, FILE *err)
{
    switch (row->kind) {
    case OPTION_U32:
    case OPTION_U64:
        fprintf(err, "a number from %llu to %llu", (unsigned long long)row->min,
                (unsigned long long)row->max);
        break;
    case OPTION_SHARE:
        fputs("a fraction from 0 to 1", err);
        break;
    case OPTION_CHOICE:
        fprintf(err, "one of %s", row->words[0]);
        for (size_t i = 1; row->words[i]; i++)
            fprintf(err, ", %s", row->words[i]);
        break;
    default:
        fputs("a text that is not empty", err);
        break;
    }
}

static bool add_to_list(struct option_list *list, const char *text)
{
    if (*text == '\0' || list->count == OPTION_LIST_MAX)
        return false;
    list->items[list->count++] = text;
    return true;
}

static bool store(const struct option_row *row, const char *text)
{
    uint64_t n;

    switch (row->kind) {
    case OPTION_FLAG:
        *row->to.flag = true;
        return true;
    case OPTION_TEXT:
        *row->to.text = text;
        return *text != '\0';
    case OPTION_LIST:
        return add_to_list(row->to.list, text);
    case OPTION_U32:
        if (!read_number(text, row->min, row->max, &n))
            return false;
        *row->to.u32 = (uint32_t)n;
        return true;
    case OPTION_U64:
        return read_number(text, row->min, row->max, row->to.u64);
    case OPTION_SHARE:
        return read_share(text, row->to.share);
    case OPTION_CHOICE:
        return read_choice(text, row->words, row->to.choice);
    }
    return false;
}

static const struct option_row *find_row(const struct option_set *set, const char *name, size_t bytes)
{
    for (size_t t = 0; t < sizeof set->tables / sizeof set->tables[0] && set->tables[t]; t++)
        for (const struct option_row *row = set->tables[t]; row->name; row++)
            if (strlen(row->name) == bytes && memcmp(row->name, name, bytes) == 0)
                return row;
    return NULL;
}

static void complain_head(const struct reader *r)
{
    fprintf(r->err, "%s: ", r->set->program);
}

static int complain(const struct reader *r, const char *subject, const char *what)
{
    complain_head(r);
    fprintf(r->err, "%s %s; --help lists the options\n", subject, what);
    return 2;
}

static int complain_about_value(const struct reader *r, const struct option_row *row, const char *text)
{
    complain_head(r);
    if (row->kind == OPTION_LIST && row->to.list->count == OPTION_LIST_MAX) {
        fprintf(r->err, "%s may be given %d times\n", row->name, OPTION_LIST_MAX);
        return 2;
    }
    fprintf(r->err, "%s takes ", row->name);
    explain(row, r->err);
    fprintf(r->err, ", not '%s'\n", text);
    return 2;
}

static bool is_operand(const struct reader *r, const char *arg)
{
    return r->set->operand && arg[0] != '-' && arg[0] != '\0' && !*r->set->operand_to;
}

/* An option and its value, in one argument or in two; or the operand. */
static int read_option(struct reader *r)
{
    const char *arg = r->argv[r->next++];
    const char *equals = strchr(arg, '=');
    size_t bytes = equals ? (size_t)(equals - arg) : strlen(arg);
    const struct option_row *row = find_row(r->set, arg, bytes);
    const char *text = equals ? equals + 1 : NULL;

    if (!row && is_operand(r, arg)) {
        *r->set->operand_to = arg;
        return OPTIONS_RUN;
    }
    if (!row)
        return complain(r, arg, arg[0] == '-' ? "is not an option" : "is not expected here");
    if (row->kind == OPTION_FLAG && text)
        return complain(r, row->name, "takes no value");
    if (row->kind != OPTION_FLAG && !text) {
        if (r->next == r->argc)
            return complain(r, row->name, "needs a value");
        text = r->argv[r->next++];
    }
    return store(row, text) ? OPTIONS_RUN : complain_about_value(r, row, text);
}

static void print_help(const struct option_set *set, FILE *out)
{
    fprintf(out, "%s: %s\n\n", set->program, set->about);
    if (set->operand)
        fprintf(out, "Usage: %s [OPTION...] %s\n\n", set->program, set->operand);
    fputs("Options:\n", out);
    for (size_t t = 0; t < sizeof set->tables / sizeof set->tables[0] && set->tables[t]; t++)
        for (const struct option_row *row = set->tables[t]; row->name; row++) {
            int width =
                fprintf(out, "  %s%s%s", row->name, row->value ? " " : "", row->value ? row->value : "");
            fprintf(out, "%*s  %s\n", width < 28 ? 28 - width : 0, "", row->help);
        }
    fprintf(out, "  %-26s  %s\n", "--version", "print the version and exit");
    fprintf(out, "  %-26s  %s\n", "--help", "print this and exit");
}

int options_read(const struct option_set *set, int argc, char **argv, FILE *out, FILE *err)
{
    struct reader r = {.set = set, .argv = argv, .argc = argc, .next = 1, .err = err};
    int status = OPTIONS_RUN;

    while (r.next < argc && status == OPTIONS_RUN) {
        if (strcmp(argv[r.next], "--help") == 0) {
            print_help(set, out);
            return 0;
        }
        if (strcmp(argv[r.next], "--version") == 0) {
            fprintf(out, "%s %s\n", set->program, set->version);
            return 0;
        }
        status = read_option(&r);
    }
    if (status == OPTIONS_RUN && set->operand && !*set->operand_to)
        return complain(&r, set->operand, "is missing");
    return status;
}
