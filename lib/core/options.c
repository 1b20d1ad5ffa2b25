/* Options structs; see options.h. */
#include "core/options.h"

#include <string.h>

int option_refused(const char *why)
{
    LOG(WEFT_LOG_ERROR, 0, "options: %s", why);
    return WEFT_E_INVAL;
}

int option_copy(void *options, size_t size, const void *given, size_t given_size)
{
    const unsigned char *bytes = given;

    memset(options, 0, size);
    if (!given)
        return WEFT_OK;
    if (given_size < sizeof(size_t))
        return option_refused("set size to the sizeof of the struct");
    memcpy(options, given, given_size < size ? given_size : size);
    for (size_t i = size; i < given_size; i++)
        if (bytes[i])
            return option_refused("one is set that this version does not know");
    return WEFT_OK;
}
