/* Whole sessions of a server: core/ from the accepted socket to on_close, over a scripted transport and clock.
 * The oracles are in script.h. */
#include "fuzz.h"
#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script_run(data, size);
    return 0;
}
