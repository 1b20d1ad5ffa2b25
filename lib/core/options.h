/* Options structs: zero means the default, the first member is the program's sizeof. */
#ifndef WEFT_CORE_OPTIONS_H
#define WEFT_CORE_OPTIONS_H

#include <stddef.h>

#include "base/log.h"
#include "weft/error.h"

/* An option, its default and its range; returns from the function when it is out of range. */
#define OPTION_CHOOSE(o, field, fallback, least, most)                                                       \
    do {                                                                                                     \
        if ((o)->field == 0)                                                                                 \
            (o)->field = (fallback);                                                                         \
        if ((o)->field < (least) || (o)->field > (most)) {                                                   \
            LOG(WEFT_LOG_ERROR, 0, "option " #field " is %llu, allowed are %llu to %llu",                    \
                (unsigned long long)(o)->field, (unsigned long long)(least), (unsigned long long)(most));    \
            return WEFT_E_INVAL;                                                                             \
        }                                                                                                    \
    } while (0)

/* Copy the program's options of given_size bytes, which may be older or newer than the library's of size
 * bytes: what both know is copied, and what is set beyond that refused.
 *
 * given    NULL: all defaults
 * Returns  WEFT_OK, WEFT_E_INVAL (logged) */
int option_copy(void *options, size_t size, const void *given, size_t given_size);

/* Log why; returns WEFT_E_INVAL. */
int option_refused(const char *why);

#endif
