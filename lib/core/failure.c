/* Why an attempt failed; see failure.h. */
#include "core/failure.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

struct weft_failure *failure_new(void)
{
    return mem_calloc(1, sizeof(struct weft_failure));
}

static void drop_answer(struct weft_failure *f)
{
    http_head_free(f->head);
    mem_free(f->body);
    f->head = NULL;
    f->body = NULL;
    f->body_bytes = 0;
}

void failure_free(struct weft_failure *f)
{
    if (!f)
        return;
    drop_answer(f);
    mem_free(f);
}

int failure_note(struct weft_failure *f, int error, const char *format, ...)
{
    va_list args;

    drop_answer(f);
    f->error = error;
    f->system_error = f->status = 0;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    return error;
}
