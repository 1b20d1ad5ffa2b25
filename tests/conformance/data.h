/* What sections 12 and 13 send: made, of the kinds that the suite has, always the same. */
#ifndef WEFT_CONFORMANCE_DATA_H
#define WEFT_CONFORMANCE_DATA_H

#include "octets.h"

enum data_kind { DATA_JSON, DATA_PICTURE, DATA_PLAY, DATA_PAGE, DATA_NOISE, DATA_COUNT };

/* More octets than the longest message has. */
const struct octets *data_of(enum data_kind kind);
/* The slice of count characters (of the texts) or octets that begins at *at, going round at the end. */
void data_slice(enum data_kind kind, size_t *at, size_t count, struct octets *slice);
void data_fini(void);

#endif
