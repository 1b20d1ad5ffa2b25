/* See failing_bus.h. */
#include "failing_bus.h"

#include "weft/weft.h"

int failing_publish(weft_bus *b, int count)
{
    int rc = WEFT_OK;

    for (int i = 0; i < count && rc == WEFT_OK; i++) {
        weft_msg *m;
        rc = weft_msg_new(&m, WEFT_TEXT, "x", 1);
        if (rc != WEFT_OK)
            return rc;
        rc = weft_bus_publish(b, "h.x", m);
        if (rc != WEFT_OK)
            weft_msg_unref(m);
    }
    return rc;
}
