/* What the tests of a bus whose calls or allocations fail in turn publish. */
#ifndef WEFT_TESTS_FAILING_BUS_H
#define WEFT_TESTS_FAILING_BUS_H

#include "weft/bus.h"

/* So many messages on "h.x"; the first error, or WEFT_OK. */
int failing_publish(weft_bus *b, int count);

#endif
