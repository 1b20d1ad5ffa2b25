/* Where the library's log lines go. */
#ifndef WEFT_LOG_H
#define WEFT_LOG_H

#include <stdint.h>

#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum weft_log_level { WEFT_LOG_OFF, WEFT_LOG_ERROR, WEFT_LOG_WARNING, WEFT_LOG_INFO, WEFT_LOG_DEBUG };

/* One line.
 *
 * conn_id  0 when no connection is concerned
 * text     borrowed, without a newline
 * Thread   any thread of the library, several at once */
typedef void weft_log_fn(enum weft_log_level level, uint64_t conn_id, const char *text, void *app);

/* Choose for the whole process what is logged and where to.
 *
 * level    lines above it are not even formatted; at start WEFT_LOG_WARNING
 * write    NULL for standard error
 * Thread   setup: before the first server is started
 * Since    0.1 */
WEFT_API void weft_log_to(enum weft_log_level level, weft_log_fn *write, void *app);

#ifdef __cplusplus
}
#endif

#endif
