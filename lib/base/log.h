/* The one door for log lines; where they go is told by weft_log_to. A line that is not wanted costs one
 * load. */
#ifndef WEFT_BASE_LOG_H
#define WEFT_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "weft/log.h"

bool log_wants(enum weft_log_level level);
void log_line(enum weft_log_level level, uint64_t conn_id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The arguments are not evaluated when the level is off. */
#define LOG(level, conn_id, ...)                                                                             \
    do {                                                                                                     \
        if (log_wants(level))                                                                                \
            log_line(level, conn_id, __VA_ARGS__);                                                           \
    } while (0)

#endif
