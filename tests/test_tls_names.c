/* Whom a certificate speaks for and whom it is issued to. The certificates are built here, octet by octet. */
#include "fence.h"
#include "unit.h"

#include <stdint.h>
#include <string.h>

#include "io/tls_names.h"
#include "weft/error.h"

struct bytes {
    uint8_t p[2048];
    size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

/* One element around others; lengths as DER has them. */
static void put_element(struct bytes *b, uint8_t tag, const void *p, size_t n)
{
    b->p[b->n++] = tag;
    if (n > 255)
        b->p[b->n++] = 0x82, b->p[b->n++] = (uint8_t)(n >> 8);
    else if (n > 127)
        b->p[b->n++] = 0x81;
    b->p[b->n++] = (uint8_t)n;
    put(b, p, n);
}

static void wrap(struct bytes *b, uint8_t tag)
{
    struct bytes inner = *b;

    b->n = 0;
    put_element(b, tag, inner.p, inner.n);
}

static void put_pair(struct bytes *b, const char *oid, size_t oid_bytes, uint8_t tag, const char *value)
{
    struct bytes pair = {.n = 0};

    put_element(&pair, 0x06, oid, oid_bytes);
    put_element(&pair, tag, value, strlen(value));
    wrap(&pair, 0x30);
    wrap(&pair, 0x31);
    put(b, pair.p, pair.n);
}

static void make_certificate(struct bytes *b, const struct bytes *subject, const struct bytes *names)
{
    struct bytes extension = {.n = 0};

    b->n = 0;
    put(b, "\xa0\3\2\1\2\2\1\7\x30\0\x30\0\x30\0", 14); /* version, serial, algorithm, issuer, validity */
    put_element(b, 0x30, subject->p, subject->n);
    put(b, "\x30\2\5\0", 4); /* the key */
    if (names) {
        struct bytes sequence = *names, usage = {.n = 0};
        put(&usage, "\x30\5\6\3\x55\x1d\x13", 7); /* another extension before */
        wrap(&sequence, 0x30);
        put(&extension, "\6\3\x55\x1d\x11\1\1\xff", 8);
        put_element(&extension, 0x04, sequence.p, sequence.n);
        wrap(&extension, 0x30);
        put(&usage, extension.p, extension.n);
        wrap(&usage, 0x30);
        wrap(&usage, 0xa3);
        put(b, usage.p, usage.n);
    }
    wrap(b, 0x30);
    put(b, "\x30\0\3\1\0", 5);
    wrap(b, 0x30);
}

static bool speaks_for(const char *name, const char *host)
{
    struct bytes subject = {.n = 0}, names = {.n = 0}, b;

    put_element(&names, 0x81, "mail@example.org", 16);
    put_element(&names, 0x82, name, strlen(name));
    make_certificate(&b, &subject, &names);
    return tls_names_match(b.p, b.n, host);
}

static void names_are_compared_without_case(void)
{
    CU_ASSERT(speaks_for("example.org", "example.org"));
    CU_ASSERT(speaks_for("Example.ORG", "eXample.org"));
    CU_ASSERT(speaks_for("example.org", "example.org."));
    CU_ASSERT_FALSE(speaks_for("example.org", "example.or"));
    CU_ASSERT_FALSE(speaks_for("example.org", "xexample.org"));
    CU_ASSERT_FALSE(speaks_for("example.org", ""));
    CU_ASSERT_FALSE(speaks_for("", ""));
}

static void a_star_stands_for_the_whole_first_label(void)
{
    CU_ASSERT(speaks_for("*.example.org", "a.example.org"));
    CU_ASSERT_FALSE(speaks_for("*.example.org", "a.b.example.org"));
    CU_ASSERT_FALSE(speaks_for("*.example.org", "example.org"));
    CU_ASSERT_FALSE(speaks_for("*.example.org", ".example.org"));
    CU_ASSERT_FALSE(speaks_for("*.org", "example.org"));
    CU_ASSERT_FALSE(speaks_for("*", "org"));
    CU_ASSERT_FALSE(speaks_for("a*.example.org", "ab.example.org"));
    CU_ASSERT_FALSE(speaks_for("a.*.org", "a.b.org"));
}

static void an_address_is_no_name(void)
{
    struct bytes subject = {.n = 0}, names = {.n = 0}, b;

    CU_ASSERT_FALSE(speaks_for("127.0.0.1", "127.0.0.1"));
    CU_ASSERT_FALSE(speaks_for("*.0.0.1", "127.0.0.1"));
    put_element(&names, 0x87, "\x7f\0\0\1", 4);
    put_element(&names, 0x87, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    make_certificate(&b, &subject, &names);
    CU_ASSERT(tls_names_match(b.p, b.n, "127.0.0.1"));
    CU_ASSERT(tls_names_match(b.p, b.n, "2001:db8::1"));
    CU_ASSERT_FALSE(tls_names_match(b.p, b.n, "127.0.0.2"));
    CU_ASSERT_FALSE(tls_names_match(b.p, b.n, "::1"));
    CU_ASSERT(tls_names_is_address("::1"));
    CU_ASSERT_FALSE(tls_names_is_address("1.2.3"));
}

static void a_zero_octet_hides_nothing(void)
{
    struct bytes subject = {.n = 0}, names = {.n = 0}, b;

    put_element(&names, 0x82, "good.org\0.evil.org", 18);
    make_certificate(&b, &subject, &names);
    CU_ASSERT_FALSE(tls_names_match(b.p, b.n, "good.org"));
}

static void the_common_name_is_not_looked_at(void)
{
    struct bytes subject = {.n = 0}, b;

    put_pair(&subject, "\x55\4\3", 3, 0x0c, "localhost");
    make_certificate(&b, &subject, NULL);
    CU_ASSERT_FALSE(tls_names_match(b.p, b.n, "localhost"));
}

static const char *subject_text(const struct bytes *subject)
{
    static char text[128];
    struct bytes b;

    make_certificate(&b, subject, NULL);
    CU_ASSERT_EQUAL(tls_names_subject(b.p, b.n, text, sizeof text), (int)strlen(text));
    return text;
}

static void the_subject_is_written_last_first(void)
{
    struct bytes subject = {.n = 0};

    CU_ASSERT_STRING_EQUAL(subject_text(&subject), "");
    put_pair(&subject, "\x55\4\x6", 3, 0x13, "DE");
    put_pair(&subject, "\x55\4\xa", 3, 0x0c, "weft, Inc.");
    put_pair(&subject, "\x55\4\3", 3, 0x0c, " ann\n+");
    CU_ASSERT_STRING_EQUAL(subject_text(&subject), "CN=\\ ann\\0A\\+,O=weft\\, Inc.,C=DE");
}

static void unknown_types_are_written_as_numbers(void)
{
    struct bytes subject = {.n = 0};

    put_pair(&subject, "\x2a\x86\x48\x86\xf7\x0d\1\x09\1", 9, 0x16, "a@b");
    put_pair(&subject, "\x2a\x86\x48\x86\xf7\x0d\1\x09\2", 9, 0x0c, "x");
    put_pair(&subject, "\x55\4\3", 3, 0x02, "\1");
    CU_ASSERT_STRING_EQUAL(subject_text(&subject), "CN=#01,1.2.840.113549.1.9.2=x,emailAddress=a@b");
}

static void a_long_subject_is_cut_off(void)
{
    struct bytes subject = {.n = 0}, b;
    char text[8];

    put_pair(&subject, "\x55\4\3", 3, 0x0c, "abcdefghij");
    make_certificate(&b, &subject, NULL);
    CU_ASSERT_EQUAL(tls_names_subject(b.p, b.n, text, sizeof text), 7);
    CU_ASSERT_STRING_EQUAL(text, "CN=abcd");
    CU_ASSERT_EQUAL(tls_names_subject(b.p, b.n, text, 0), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(tls_names_subject((const uint8_t *)"hello", 5, text, sizeof text), WEFT_E_INVAL);
}

static void the_key_is_found(void)
{
    struct bytes subject = {.n = 0}, b;
    const uint8_t *key;
    size_t n;

    make_certificate(&b, &subject, NULL);
    CU_ASSERT(tls_names_public_key(b.p, b.n, &key, &n));
    CU_ASSERT(n == 2 && memcmp(key, "\5\0", 2) == 0);
    CU_ASSERT_FALSE(tls_names_public_key(b.p, 9, &key, &n));
}

static void nothing_is_read_beyond_the_end(void)
{
    struct bytes subject = {.n = 0}, names = {.n = 0}, b;
    struct fenced f = fence(1);
    char text[64];

    put_pair(&subject, "\x55\4\3", 3, 0x0c, "ann");
    put_element(&names, 0x82, "example.org", 11);
    put_element(&names, 0x87, "\x7f\0\0\1", 4);
    make_certificate(&b, &subject, &names);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *p = f.end - n;
        memcpy(p, b.p, n);
        CU_ASSERT_FALSE(tls_names_match(p, n, "127.0.0.1"));
        tls_names_subject(p, n, text, sizeof text);
    }
    for (size_t i = 0; i < b.n; i++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t *p = f.end - b.n;
            memcpy(p, b.p, b.n);
            p[i] = (uint8_t)value;
            tls_names_match(p, b.n, "127.0.0.2");
            tls_names_match(p, b.n, "b.org");
            tls_names_subject(p, b.n, text, sizeof text);
        }
    }
    unfence(f);
}

static const struct unit_case cases[] = {
    CASE(names_are_compared_without_case),
    CASE(a_star_stands_for_the_whole_first_label),
    CASE(an_address_is_no_name),
    CASE(a_zero_octet_hides_nothing),
    CASE(the_common_name_is_not_looked_at),
    CASE(the_subject_is_written_last_first),
    CASE(unknown_types_are_written_as_numbers),
    CASE(a_long_subject_is_cut_off),
    CASE(the_key_is_found),
    CASE(nothing_is_read_beyond_the_end),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "tls_names", cases, sizeof cases / sizeof cases[0]);
}
