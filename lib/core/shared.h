/* The engine whose threads all clients of the process share that do not run on a server's: started by the
 * first, and kept until shared_stop. Any thread. */
#ifndef WEFT_CORE_SHARED_H
#define WEFT_CORE_SHARED_H

#include <stdint.h>

struct engine;

/* Running; a reference for the caller. WEFT_OK, WEFT_E_NOMEM, WEFT_E_SYSTEM. */
int shared_engine(struct engine **out);
/* See weft_client_stop_threads. */
int shared_stop(uint32_t deadline_ms);

#endif
