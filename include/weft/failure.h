/* Why a client (weft/client.h) has no connection. */
#ifndef WEFT_FAILURE_H
#define WEFT_FAILURE_H

#include <stddef.h>

#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Why there is no connection. Lives until weft_failure_free, or for the call where a callback is handed
 * one. NULL stands for one that there was no memory for, and may be asked like the others. */
typedef struct weft_failure weft_failure;

WEFT_API int weft_failure_error(const weft_failure *f);  /* WEFT_E_REFUSED, _TIMEOUT, _ADDRESS, _SYSTEM, _TLS, ... */
WEFT_API int weft_failure_errno(const weft_failure *f);  /* behind WEFT_E_SYSTEM, else 0 */
WEFT_API int weft_failure_status(const weft_failure *f); /* of the HTTP answer; 0: there was none */
/* A sentence for a log or a user, such as "127.0.0.1:80 answered 403 Forbidden". */
WEFT_API const char *weft_failure_text(const weft_failure *f);
/* Of the HTTP answer that refused: the index-th header of that name, NULL when there are fewer; and the first
 * 64 KiB of its body. */
WEFT_API const char *weft_failure_header(const weft_failure *f, const char *name, size_t index);
WEFT_API const void *weft_failure_body(const weft_failure *f, size_t *bytes);
WEFT_API void weft_failure_free(weft_failure *f); /* NULL is allowed */

#ifdef __cplusplus
}
#endif

#endif
