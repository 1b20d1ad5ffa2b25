/* Names and texts of the result codes, made from the one list in weft/error.h. */
#include "weft/error.h"

#include <stddef.h>

struct error_row {
    int code;
    const char *name;
    const char *text;
};

static const struct error_row rows[] = {
#define ERROR_ROW(name, value, text) {value, #name, text},
    WEFT_ERROR_LIST(ERROR_ROW)
#undef ERROR_ROW
};

static const struct error_row *find_row(int code)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

const char *weft_strerror(int code)
{
    const struct error_row *row = find_row(code);
    return row ? row->text : "unknown result";
}

const char *weft_error_name(int code)
{
    const struct error_row *row = find_row(code);
    return row ? row->name : "WEFT_E_UNKNOWN";
}
