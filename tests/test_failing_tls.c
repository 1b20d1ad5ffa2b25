/* The same over TLS: each system call, each allocation of the library and each of the TLS library fails in
 * turn, from the reading of certificates to the end of the connection. */
#include "failing.h"
#include "failing_session.h"
#include "tls_pair.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

/* --- allocations of the TLS library --- */

static _Atomic uint64_t wolf_countdown;
static atomic_bool wolf_has_failed;

static bool wolf_fails(void)
{
    if (atomic_load(&wolf_countdown) == 0 || atomic_fetch_sub(&wolf_countdown, 1) != 1)
        return false;
    atomic_store(&wolf_has_failed, true);
    return true;
}

/* wolfSSL 5.5.4 forgets the key share that it has just made for its answer when the key itself fails
 * (TLSX_KeyShare_SetSupported, TLSX_KeyShare_Setup): a block of this size. They are noted, so that what it left can be
 * freed here and every other leak is still seen; hidden from LeakSanitizer, or it would take them for held. */
#define KEY_SHARE_BYTES 72u
#define KEY_SHARES_MAX  256u
#define HIDDEN          ((uintptr_t)0x5555)

static pthread_mutex_t key_shares_lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t key_shares[KEY_SHARES_MAX];

static void replace_key_share(uintptr_t old, uintptr_t now)
{
    pthread_mutex_lock(&key_shares_lock);
    for (unsigned i = 0; i < KEY_SHARES_MAX; i++) {
        if (key_shares[i] == old) {
            key_shares[i] = now;
            break;
        }
    }
    pthread_mutex_unlock(&key_shares_lock);
}

static void free_key_shares(void)
{
    for (unsigned i = 0; i < KEY_SHARES_MAX; i++) {
        free(key_shares[i] ? (void *)(key_shares[i] ^ HIDDEN) : NULL);
        key_shares[i] = 0;
    }
}

static void *wolf_alloc(size_t n)
{
    void *p = wolf_fails() ? NULL : malloc(n);

    if (p && n == KEY_SHARE_BYTES)
        replace_key_share(0, (uintptr_t)p ^ HIDDEN);
    return p;
}

static void wolf_free(void *p)
{
    if (p)
        replace_key_share((uintptr_t)p ^ HIDDEN, 0);
    free(p);
}

/* Of no block of that size. */
static void *wolf_realloc(void *p, size_t n)
{
    return wolf_fails() ? NULL : realloc(p, n);
}

static void wolf_fail_at(uint64_t n)
{
    atomic_store(&wolf_has_failed, false);
    atomic_store(&wolf_countdown, n);
}

static bool wolf_has_failed_once(void)
{
    return atomic_load(&wolf_has_failed);
}

static const struct failing_door wolf_memory = {wolf_fail_at, wolf_has_failed_once, true};

/* --- the session --- */

static int listen_secure(struct failing_session *f, weft_server *s)
{
    struct tls_key_pair own = key_pair("server"), other = key_pair("other");
    weft_tls_pair others = {.cert_file = other.cert_file, .key_file = other.key_file};
    weft_tls_opts o = {.size = sizeof o,
                       .cert_file = own.cert_file,
                       .key_file = own.key_file,
                       .others = &others,
                       .other_count = 1};
    uint16_t port = 0;
    int rc = weft_server_listen_tls(s, NULL, 0, &port, &o);

    snprintf(f->url, sizeof f->url, "wss://localhost:%u/", port);
    return rc;
}

static struct failing_session session(bool has_own_client)
{
    static char ca_file[128];

    snprintf(ca_file, sizeof ca_file, "%s", cert("ca.pem"));
    return (struct failing_session){.listen = listen_secure,
                                    .has_own_client = has_own_client,
                                    .ca_file = ca_file,
                                    .open_timeout_ms = 1000};
}

/* --- */

static void each_allocation_may_fail(void)
{
    struct failing_session f = session(false);

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    CU_ASSERT(failing_allocations(failing_session_run, &f, &failing_memory, 1) > 100);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

static void each_allocation_of_the_tls_library_may_fail(void)
{
    struct failing_session f = session(false);

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    CU_ASSERT(failing_allocations(failing_session_run, &f, &wolf_memory, unit_is_slow() ? 53 : 29) > 100);
    free_key_shares();
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

static void each_call_may_fail(void)
{
    struct failing_session f = session(true);
    unsigned failures;

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    failures = failing_calls(failing_session_run, &f, unit_is_slow() ? 17 : 11);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    free_key_shares();
    CU_ASSERT(failures > 50);
    printf("  %u failures\n", failures);
}

static const struct unit_case cases[] = {
    CASE(each_allocation_may_fail),
    CASE(each_allocation_of_the_tls_library_may_fail),
    CASE(each_call_may_fail),
};

int main(int argc, char **argv)
{
    int rc;

    wolfSSL_SetAllocators(wolf_alloc, wolf_free, wolf_realloc);
    certs_make();
    rc = unit_main(argc, argv, "failing_tls", cases, sizeof cases / sizeof cases[0]);
    certs_remove();
    return rc;
}
