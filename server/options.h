/* Command line options of the programs, from a table: the parser, --help and --version read the same rows.
 *
 * Options are long ones only: "--port 80" or "--port=80", never shortened. Numbers are decimal digits and
 * nothing else; what is out of range, unknown or left over is an error with a sentence that names it. The
 * last of several wins. A program may ask for one operand, which stands anywhere between the options. */
#ifndef WEFT_SERVER_OPTIONS_H
#define WEFT_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_kind {
    OPTION_FLAG,   /* takes no value */
    OPTION_TEXT,   /* not empty; points into argv */
    OPTION_LIST,   /* the same, may be repeated */
    OPTION_U32,    /* min to max */
    OPTION_U64,    /* min to max */
    OPTION_SHARE,  /* a decimal fraction from 0 to 1 */
    OPTION_CHOICE, /* one of the words; the target gets its index */
};

#define OPTION_LIST_MAX 16

struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
};

struct option_row {
    const char *name; /* "--port"; NULL ends a table */
    enum option_kind kind;
    union {
        bool *flag;
        const char **text;
        struct option_list *list;
        uint32_t *u32;
        uint64_t *u64;
        double *share;
        unsigned *choice;
    } to;
    uint64_t min, max;
    const char *const *words; /* of OPTION_CHOICE, NULL ends them */
    const char *value;        /* as --help shows it: "N", "PATH"; NULL for a flag */
    const char *help;
};

/* clang-format off */
/* The rows of a table: name, address of the target, what --help shows. Numbers go from 0 to `most`. */
#define OPTION_ROW_FLAG(n, t, h)    {.name = n, .kind = OPTION_FLAG, .to.flag = t, .help = h}
#define OPTION_ROW_TEXT(n, t, v, h) {.name = n, .kind = OPTION_TEXT, .to.text = t, .value = v, .help = h}
#define OPTION_ROW_LIST(n, t, v, h) {.name = n, .kind = OPTION_LIST, .to.list = t, .value = v, .help = h}
#define OPTION_ROW_U32(n, t, most, h) \
    {.name = n, .kind = OPTION_U32, .to.u32 = t, .max = most, .value = "N", .help = h}
#define OPTION_ROW_U64(n, t, most, h) \
    {.name = n, .kind = OPTION_U64, .to.u64 = t, .max = most, .value = "N", .help = h}
#define OPTION_ROW_SHARE(n, t, h)   {.name = n, .kind = OPTION_SHARE, .to.share = t, .value = "X", .help = h}
#define OPTION_ROW_CHOICE(n, t, w, v, h) \
    {.name = n, .kind = OPTION_CHOICE, .to.choice = t, .words = w, .value = v, .help = h}
#define OPTION_ROW_END              {.name = NULL}
/* clang-format on */

struct option_set {
    const char *program;
    const char *about; /* one sentence for --help */
    const char *version;
    const struct option_row *tables[3]; /* NULL for fewer */
    const char *operand;                /* as --help shows it: "URL"; NULL: none is taken */
    const char **operand_to;            /* NULL before the call; set, or it is complained that it is missing */
};

#define OPTIONS_RUN (-1)

/* Read the command line.
 *
 * out, err  where --help and --version, and where complaints go
 * Returns   OPTIONS_RUN, or the status to exit with: 0 after --help and --version, 2 after a complaint */
int options_read(const struct option_set *set, int argc, char **argv, FILE *out, FILE *err);

#endif
