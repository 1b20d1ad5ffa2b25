/* Host names in ASCII; see idn.h. */
#include "proto/idn.h"

#include <idn2.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "weft/error.h"

static bool is_ascii(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name >= 0x80)
            return false;
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* The end of the name ends a label like a dot, but one that stands behind a dot may be empty. */
static const char *keep_ascii(const char *name, char *out)
{
    size_t label = 0, i = 0;

    for (; name[i]; i++) {
        char c = lower(name[i]);

        if (i == IDN_NAME_BYTES_MAX)
            return "the host name is too long";
        if (c == '.' && label == 0)
            return "a label of the host name is empty";
        if (c != '.' && !is_name_char(c))
            return "the host name holds a character that no name may hold";
        label = c == '.' ? 0 : label + 1;
        if (label > IDN_LABEL_BYTES_MAX)
            return "a label of the host name is too long";
        out[i] = c;
    }
    out[i] = '\0';
    if (i == 0)
        return "the host name is empty";
    return i == IDN_NAME_BYTES_MAX && label > 0 ? "the host name is too long" : NULL;
}

static int result(const char *why, const char **reason)
{
    if (!why)
        return WEFT_OK;
    *reason = why;
    return WEFT_E_INVAL;
}

int idn_to_ascii(const char *name, char out[IDN_NAME_BYTES_MAX + 1], const char **reason)
{
    char kept[IDN_NAME_BYTES_MAX + 1], *mapped = NULL;
    const char *why;
    int rc;

    if (is_ascii(name)) {
        why = keep_ascii(name, kept);
    } else {
        rc = idn2_to_ascii_8z(name, &mapped, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
        if (rc == IDN2_MALLOC) {
            *reason = "out of memory";
            return WEFT_E_NOMEM;
        }
        why = rc == IDN2_OK ? keep_ascii(mapped, kept) : "not a valid international host name";
        idn2_free(mapped);
    }
    if (!why)
        memcpy(out, kept, sizeof kept);
    return result(why, reason);
}
