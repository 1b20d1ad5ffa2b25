/* A weft built without TLS says so. */
#include "unit.h"

#include <string.h>

#include "io/tls.h"
#include "weft/error.h"

static void a_context_cannot_be_made(void)
{
    struct tls_options o = {.role = TLS_CLIENT, .insecure = true};
    struct tls_context *c = (struct tls_context *)&o;
    char why[64] = "";

    CU_ASSERT_FALSE(tls_is_built());
    CU_ASSERT_EQUAL(tls_context_new(&c, &o, why, sizeof why), WEFT_E_INVAL);
    CU_ASSERT_PTR_NULL(c);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "built without TLS"));
    CU_ASSERT_PTR_NULL(tls_new(c, "localhost", 0));
    tls_context_unref(c);
    tls_free(NULL);
    tls_scratch_free(tls_scratch_new(0, 0));
    tls_thread_leave();
}

static const struct unit_case cases[] = {CASE(a_context_cannot_be_made)};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "tls_none", cases, sizeof cases / sizeof cases[0]);
}
