/* The server's name in a ClientHello, whole, in pieces, cut off, and from hostile hands. */
#include "fence.h"
#include "unit.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/tls_hello.h"
#include "weft/error.h"

struct bytes {
    uint8_t p[4096];
    size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put_number(struct bytes *b, unsigned value, unsigned octets)
{
    while (octets--)
        b->p[b->n++] = (uint8_t)(value >> (8 * octets));
}

/* extensions: as they stand behind their length */
static void make_hello(struct bytes *b, const void *extensions, size_t n)
{
    static const uint8_t suites[] = {0x13, 0x01, 0x13, 0x02, 0x13, 0x03};

    b->n = 0;
    put_number(b, 1, 1);
    put_number(b, (unsigned)(34 + 1 + 32 + 2 + sizeof suites + 2 + 2 + n), 3);
    put_number(b, 0x0303, 2);
    memset(b->p + b->n, 0x5a, 32 + 1 + 32);
    b->n += 32;
    put_number(b, 32, 1);
    b->n += 32;
    put_number(b, sizeof suites, 2);
    put(b, suites, sizeof suites);
    put_number(b, 0x0100, 2); /* one method of compression: none */
    put_number(b, (unsigned)n, 2);
    put(b, extensions, n);
}

static void make_named(struct bytes *b, const char *name)
{
    struct bytes e = {.n = 0};
    unsigned n = (unsigned)strlen(name);

    put(&e, "\0\x2b\0\3\2\3\4", 7); /* another one before */
    put_number(&e, 0, 2);
    put_number(&e, n + 5, 2);
    put_number(&e, n + 3, 2);
    put_number(&e, 0, 1);
    put_number(&e, n, 2);
    put(&e, name, n);
    make_hello(b, e.p, e.n);
}

/* In records of so many octets of it. */
static void make_records(struct bytes *b, const struct bytes *hello, size_t each)
{
    b->n = 0;
    for (size_t at = 0; at < hello->n; at += each) {
        size_t n = hello->n - at < each ? hello->n - at : each;
        put_number(b, 0x160301, 3);
        put_number(b, (unsigned)n, 2);
        put(b, hello->p + at, n);
    }
}

static const char *name_in(const struct bytes *hello)
{
    static struct tls_hello said;

    return tls_hello_read(hello->p, hello->n, &said) == WEFT_OK ? said.name : NULL;
}

static void the_name_is_found_in_lower_case(void)
{
    struct bytes b;

    make_named(&b, "chat.example.org");
    CU_ASSERT_STRING_EQUAL(name_in(&b), "chat.example.org");
    make_named(&b, "Chat.EXAMPLE.org.");
    CU_ASSERT_STRING_EQUAL(name_in(&b), "chat.example.org");
}

static void a_hello_without_a_name_has_none(void)
{
    struct bytes b;

    make_hello(&b, "", 0);
    CU_ASSERT_STRING_EQUAL(name_in(&b), "");
    make_hello(&b, "\0\x2b\0\3\2\3\4", 7);
    CU_ASSERT_STRING_EQUAL(name_in(&b), "");
    make_named(&b, "a/../b");
    CU_ASSERT_STRING_EQUAL(name_in(&b), "");
    make_named(&b, "a\nb");
    CU_ASSERT_STRING_EQUAL(name_in(&b), "");
    make_hello(&b, "\0\0\0\4\0\2\1\0", 8); /* an entry of another kind, cut off */
    CU_ASSERT_PTR_NULL(name_in(&b));
}

static void the_versions_are_found(void)
{
    struct tls_hello said;
    struct bytes b;

    make_named(&b, "localhost");
    CU_ASSERT(tls_hello_read(b.p, b.n, &said) == WEFT_OK && said.offers_1_3);
    make_hello(&b, "\0\x2b\0\5\4\x7a\x7a\3\3", 9);
    CU_ASSERT(tls_hello_read(b.p, b.n, &said) == WEFT_OK && !said.offers_1_3);
    make_hello(&b, "\0\x2b\0\5\4\x7a\x7a\3\4", 9);
    CU_ASSERT(tls_hello_read(b.p, b.n, &said) == WEFT_OK && said.offers_1_3);
    make_hello(&b, "\0\x2b\0\5\3\x7a\x7a\3\4", 9);
    CU_ASSERT_EQUAL(tls_hello_read(b.p, b.n, &said), WEFT_E_PROTOCOL);
    make_hello(&b, "", 0);
    CU_ASSERT(tls_hello_read(b.p, b.n, &said) == WEFT_OK && !said.offers_1_3);
}

static void a_name_that_is_too_long_is_none(void)
{
    char name[400];
    struct bytes b;

    memset(name, 'a', sizeof name);
    name[255] = '\0';
    make_named(&b, name);
    CU_ASSERT_STRING_EQUAL(name_in(&b), name);
    name[255] = 'a';
    name[256] = '\0';
    make_named(&b, name);
    CU_ASSERT_STRING_EQUAL(name_in(&b), "");
}

static void a_hello_is_gathered_from_records_of_any_size(void)
{
    static uint8_t out[TLS_HELLO_BYTES_MAX];
    struct bytes hello, records;
    size_t n;

    make_named(&hello, "localhost");
    for (size_t each = 1; each <= hello.n; each++) {
        make_records(&records, &hello, each);
        for (size_t cut = 0; cut < records.n; cut++)
            CU_ASSERT_EQUAL(tls_hello_gather(records.p, cut, out, &n), WEFT_E_AGAIN);
        CU_ASSERT_EQUAL(tls_hello_gather(records.p, records.n, out, &n), WEFT_OK);
        CU_ASSERT(n == hello.n && memcmp(out, hello.p, n) == 0);
    }
}

static int gather(const void *p, size_t n)
{
    static uint8_t out[TLS_HELLO_BYTES_MAX];
    size_t bytes;

    return tls_hello_gather(p, n, out, &bytes);
}

static void what_is_no_hello_is_refused_by_its_first_bytes(void)
{
    CU_ASSERT_EQUAL(gather("G", 1), WEFT_E_PROTOCOL);
    CU_ASSERT_EQUAL(gather("\x80\x2e\1", 3), WEFT_E_PROTOCOL); /* SSL 2 */
    CU_ASSERT_EQUAL(gather("\x15\3\1\0\2\2\x28", 7), WEFT_E_PROTOCOL);
    CU_ASSERT_EQUAL(gather("\x16\2", 2), WEFT_E_PROTOCOL);
    CU_ASSERT_EQUAL(gather("\x16\3\1\0\0", 5), WEFT_E_PROTOCOL);
    CU_ASSERT_EQUAL(gather("\x16\3\1\0\4\2", 6), WEFT_E_PROTOCOL); /* a ServerHello */
    CU_ASSERT_EQUAL(gather("\x16\3\1\x40\1", 5), WEFT_E_TOO_BIG);
    CU_ASSERT_EQUAL(gather("\x16\3\1\x10\0\1\1\0\0", 9), WEFT_E_TOO_BIG);
    CU_ASSERT_EQUAL(gather("", 0), WEFT_E_AGAIN);
}

/* Each octet in turn gets each value, and each length is cut: never beyond the end. */
static void nothing_is_read_beyond_the_end(void)
{
    struct fenced f = fence(1);
    struct tls_hello said;
    struct bytes b;

    make_named(&b, "localhost");
    for (size_t n = 0; n <= b.n; n++) {
        uint8_t *p = f.end - n;
        memcpy(p, b.p, n);
        CU_ASSERT_EQUAL(tls_hello_read(p, n, &said) == WEFT_OK, n == b.n);
    }
    for (size_t i = 0; i < b.n; i++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t *p = f.end - b.n;
            memcpy(p, b.p, b.n);
            p[i] = (uint8_t)value;
            tls_hello_read(p, b.n, &said);
            CU_ASSERT(memchr(said.name, '\0', sizeof said.name) != NULL);
        }
    }
    unfence(f);
}

static const struct unit_case cases[] = {
    CASE(the_name_is_found_in_lower_case),
    CASE(a_hello_without_a_name_has_none),
    CASE(the_versions_are_found),
    CASE(a_name_that_is_too_long_is_none),
    CASE(a_hello_is_gathered_from_records_of_any_size),
    CASE(what_is_no_hello_is_refused_by_its_first_bytes),
    CASE(nothing_is_read_beyond_the_end),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "tls_hello", cases, sizeof cases / sizeof cases[0]);
}
