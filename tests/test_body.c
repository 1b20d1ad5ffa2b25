/* The body of a response; see proto/body.h. Every case is fed whole and byte by byte. */
#include "proto/body.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "unit.h"

static struct http_head *head_of(const char *text)
{
    struct http_head *h = http_head_new(HTTP_ROLE_CLIENT, NULL);
    size_t used;

    if (!h || http_head_feed(h, (const uint8_t *)text, strlen(text), &used) != HTTP_DONE)
        abort();
    return h;
}

static void expect_in(const char *headers, const char *wire, size_t step, size_t max, const char *body, bool is_over)
{
    struct http_head *h = head_of(headers);
    struct body b;
    size_t n = strlen(wire);
    bool more;

    body_init(&b, h, max);
    more = !b.is_over;
    for (size_t i = 0; i < n; i += step)
        more = body_feed(&b, (const uint8_t *)wire + i, n - i < step ? n - i : step);
    CU_ASSERT_EQUAL(more, !is_over);
    CU_ASSERT_EQUAL(b.count, strlen(body));
    CU_ASSERT(b.count == 0 || memcmp(b.bytes, body, b.count) == 0);
    mem_free(b.bytes);
    http_head_free(h);
}

static void expect(const char *headers, const char *wire, size_t max, const char *body, bool is_over)
{
    expect_in(headers, wire, 1, max, body, is_over);
    expect_in(headers, wire, 7, max, body, is_over);
    expect_in(headers, wire, 100000, max, body, is_over);
}

#define PLAIN   "HTTP/1.1 403 Forbidden\r\n\r\n"
#define LENGTH  "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n"
#define CHUNKED "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"

static void without_a_length_it_lasts_until_the_end(void)
{
    expect(PLAIN, "some text", 100, "some text", false);
    expect(PLAIN, "some text", 4, "some", true);
}

static void a_length_counts(void)
{
    expect(LENGTH, "hello and more", 100, "hello", true);
    expect(LENGTH, "hel", 100, "hel", false);
    expect(LENGTH, "hello", 3, "hel", true);
    expect("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "", 100, "", true);
}

static void chunks_are_put_together(void)
{
    expect(CHUNKED, "5\r\nhello\r\n1; a=b\r\n,\r\n006\r\n world\r\n0\r\n\r\n", 100, "hello, world", true);
    expect(CHUNKED, "5\r\nhel", 100, "hel", false);
    expect(CHUNKED, "a\r\n0123456789\r\nA\r\n0123456789\r\n", 15, "012345678901234", true);
}

static void broken_chunks_end_it(void)
{
    expect(CHUNKED, "5\r\nhelloX", 100, "hello", true);
    expect(CHUNKED, "g\r\nhello", 100, "", true);
    expect(CHUNKED, "\r\n", 100, "", true);
    expect(CHUNKED, "1234567890123456\r\n", 100, "", true);
    expect(CHUNKED, "-1\r\n", 100, "", true);
}

static void some_statuses_have_none(void)
{
    expect("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "hello", 100, "", true);
    expect("HTTP/1.1 204 No Content\r\n\r\n", "hello", 100, "", true);
}

static const struct unit_case cases[] = {
    CASE(without_a_length_it_lasts_until_the_end), CASE(a_length_counts),         CASE(chunks_are_put_together),
    CASE(broken_chunks_end_it),                    CASE(some_statuses_have_none),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "body", cases, sizeof cases / sizeof cases[0]);
}
