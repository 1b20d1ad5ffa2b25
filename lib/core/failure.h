/* Why an attempt to connect failed: made by the thread that tried, read only once it is given out. */
#ifndef WEFT_CORE_FAILURE_H
#define WEFT_CORE_FAILURE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/http.h"
#include "weft/client.h"

#define FAILURE_TEXT_BYTES 320

struct weft_failure {
    int error;
    int system_error;       /* errno of WEFT_E_SYSTEM */
    int status;             /* HTTP */
    char text[FAILURE_TEXT_BYTES];
    struct http_head *head; /* of the answer, own; NULL: there was none */
    uint8_t *body;          /* own */
    size_t body_bytes;
};

/* NULL: no memory. */
struct weft_failure *failure_new(void);
void failure_free(struct weft_failure *f); /* NULL is allowed */
/* Forget what was found, and note this. Returns error. */
int failure_note(struct weft_failure *f, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
