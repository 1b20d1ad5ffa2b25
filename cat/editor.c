/* Line editing and history over libedit; see editor.h.
 *
 * libedit tells nobody where on the screen it has put the cursor, so it is computed: the prompt and the line
 * up to the cursor are laid out again as libedit does it. From there the cursor goes up to the row of the
 * prompt, and all below is cleared. Putting the line back is libedit's own redrawing. */
#include "editor.h"

#include "text.h"

#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define PROMPT         "> "
#define PROMPT_COLUMNS 2
#define HISTORY_MAX    1000 /* lines */
#define COLUMNS        80   /* of a terminal that does not tell */
#define TYPED_BYTES    256  /* read at once */
#define TAB_COLUMNS    8

struct editor {
    EditLine *line;
    History *history;
    const char *history_path;
    bool (*wait)(void *ctx);
    void *ctx;
    char typed[TYPED_BYTES]; /* [first, end) have been read from the terminal and not been given to libedit */
    size_t first, end;
    bool is_reading; /* a line, and libedit has drawn it */
    unsigned hidden; /* depth of editor_hide */
};

/* ------------------------------------------------------------------------- the screen */

static unsigned columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
        return COLUMNS;
    return size.ws_col;
}

/* How many columns libedit gives a character: ^X for a control character, \U+xxxx for what cannot be printed.
 */
static unsigned width_of(wchar_t c, unsigned column)
{
    int width = wcwidth(c);

    if (c == L'\t')
        return TAB_COLUMNS - column % TAB_COLUMNS;
    if (iswcntrl((wint_t)c))
        return 2;
    if (!iswprint((wint_t)c) || width < 0)
        return (unsigned long)c > 0xffff ? 8 : 7;
    return (unsigned)width;
}

/* Rows from the one of the prompt to the one of the cursor. */
static unsigned rows_above_cursor(const struct editor *e)
{
    const LineInfoW *at = el_wline(e->line);
    unsigned limit = columns(), row = 0, column = PROMPT_COLUMNS;

    for (const wchar_t *c = at->buffer; c < at->cursor; c++) {
        unsigned width = width_of(*c, column);
        if (*c == L'\n') {
            row++;
            column = 0;
            continue;
        }
        if (width == 2 && !iswcntrl((wint_t)*c) && column + 2 > limit) { /* a wide one is not cut in two */
            row++;
            column = 0;
        }
        column += width;
        row += column / limit;
        column %= limit;
    }
    return row;
}

void editor_hide(struct editor *e)
{
    unsigned rows;

    if (!e->is_reading || e->hidden++)
        return;
    rows = rows_above_cursor(e);
    if (rows)
        printf("\033[%uA", rows);
    fputs("\r\033[J", stdout);
    fflush(stdout);
}

void editor_show(struct editor *e)
{
    if (!e->is_reading || --e->hidden)
        return;
    el_set(e->line, EL_REFRESH);
    fflush(stdout);
}

void editor_resize(struct editor *e)
{
    editor_hide(e);
    el_resize(e->line);
    editor_show(e);
}

void editor_suspend(struct editor *e)
{
    editor_hide(e);
    el_set(e->line, EL_PREP_TERM, 0);
}

void editor_resume(struct editor *e)
{
    el_set(e->line, EL_PREP_TERM, 1);
    el_resize(e->line);
    editor_show(e);
}

/* ------------------------------------------------------------------------- the keys */

/* Fill `typed`. Returns false at the end of input. */
static bool read_typed(struct editor *e)
{
    ssize_t n;

    do {
        if (!e->wait(e->ctx))
            return false;
        n = read(STDIN_FILENO, e->typed + e->end, sizeof e->typed - e->end);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    if (n <= 0)
        return false;
    e->end += (size_t)n;
    return true;
}

/* Is what has been read the beginning of a character, and only that? */
static bool is_cut(const struct editor *e)
{
    static const unsigned char least[] = {0xc2, 0xe0, 0xf0};
    unsigned char first = (unsigned char)e->typed[e->first];
    size_t bytes = e->end - e->first;

    return bytes < 4 && first >= least[bytes - 1] && first <= 0xf4;
}

/* libedit's way to get a character. Bytes that are no UTF-8 are left out. */
static int next_character(EditLine *line, wchar_t *out)
{
    struct editor *e;

    el_get(line, EL_CLIENTDATA, &e);
    e->is_reading = true;
    for (;;) {
        uint32_t point;
        size_t length = text_next(e->typed + e->first, e->end - e->first, &point);
        if (length) {
            e->first += length;
            *out = (wchar_t)point;
            return 1;
        }
        if (e->first < e->end && !is_cut(e)) {
            e->first++;
            continue;
        }
        memmove(e->typed, e->typed + e->first, e->end - e->first);
        e->end -= e->first;
        e->first = 0;
        if (!read_typed(e))
            return 0;
    }
}

static char *prompt(EditLine *line)
{
    static char text[] = PROMPT;

    (void)line;
    return text;
}

/* A line that begins with a blank is not remembered, as in shells. */
static void remember(struct editor *e, const char *text)
{
    HistEvent event;

    if (text[0] != '\0' && text[0] != ' ')
        history(e->history, &event, H_ENTER, text);
}

const char *editor_read(struct editor *e, size_t *bytes)
{
    int count = 0;
    char *text;

    e->hidden = 0;
    text = (char *)el_gets(e->line, &count);
    if (!text || count <= 0)
        editor_hide(e); /* what comes next is not to stand behind the prompt */
    e->is_reading = false;
    if (!text || count <= 0)
        return NULL;
    *bytes = strcspn(text, "\n");
    text[*bytes] = '\0';
    remember(e, text);
    return text;
}

/* ------------------------------------------------------------------------- from open to close */

/* What is needed to write above the line: to move up, and to clear what is below. */
static bool can_move(EditLine *line)
{
    char *up = NULL, *clear = NULL;

    el_get(line, EL_GETTC, "up", &up);
    el_get(line, EL_GETTC, "cd", &clear);
    return up && *up && clear && *clear;
}

static bool is_dumb(void)
{
    const char *term = getenv("TERM");

    return !term || !*term || strcmp(term, "dumb") == 0 || strcmp(term, "emacs") == 0;
}

static bool set_up(struct editor *e)
{
    HistEvent event;

    e->history = history_init();
    e->line = e->history ? el_init("weft-cat", stdin, stdout, stderr) : NULL;
    if (!e->line || !can_move(e->line))
        return false;
    history(e->history, &event, H_SETSIZE, HISTORY_MAX);
    history(e->history, &event, H_SETUNIQUE, 1);
    if (e->history_path)
        history(e->history, &event, H_LOAD, e->history_path); /* there is none before the first run */
    el_set(e->line, EL_CLIENTDATA, e);
    el_set(e->line, EL_PROMPT, prompt);
    el_set(e->line, EL_EDITOR, "emacs");
    el_set(e->line, EL_SIGNAL, 0);
    el_set(e->line, EL_HIST, history, e->history);
    el_set(e->line, EL_GETCFN, next_character);
    el_set(e->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_set(e->line, EL_BIND, "\033[1;5C", "em-next-word", NULL);
    el_set(e->line, EL_BIND, "\033[1;5D", "ed-prev-word", NULL);
    el_source(e->line, NULL);
    return true;
}

static void tear_down(struct editor *e)
{
    if (e->line)
        el_end(e->line);
    if (e->history)
        history_end(e->history);
    free(e);
}

struct editor *editor_open(const char *path, bool (*wait)(void *ctx), void *ctx)
{
    struct editor *e = is_dumb() ? NULL : calloc(1, sizeof *e);

    if (!e)
        return NULL;
    e->history_path = path;
    e->wait = wait;
    e->ctx = ctx;
    if (set_up(e))
        return e;
    tear_down(e);
    return NULL;
}

void editor_close(struct editor *e)
{
    HistEvent event;

    if (!e)
        return;
    if (e->history_path)
        history(e->history, &event, H_SAVE, e->history_path);
    tear_down(e);
}
