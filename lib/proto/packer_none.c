/* A build without ISA-L; see packer.h. */
#include "proto/packer.h"

#include "weft/error.h"

bool packer_is_built(void)
{
    return false;
}

struct packer *packer_new(void)
{
    return NULL;
}

void packer_free(struct packer *p)
{
    (void)p;
}

size_t packer_bytes(const struct packer *p)
{
    (void)p;
    return 0;
}

int packer_message(struct packer *p, unsigned window_bits, const struct window *before, const weft_msg *m,
                   weft_msg **out)
{
    (void)p;
    (void)window_bits;
    (void)before;
    (void)m;
    *out = NULL;
    return WEFT_E_NOMEM;
}
