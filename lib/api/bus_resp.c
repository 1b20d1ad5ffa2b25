/* A connection to Redis; see bus_resp.h. */
#include "api/bus_resp.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/dial.h"
#include "io/link.h"
#include "weft/error.h"

#define READ_BYTES     (64u * 1024u)
#define OUT_BYTES_KEPT (1024u * 1024u) /* a larger buffer is given back when it is empty */

#if HIREDIS_MAJOR >= 1
typedef size_t item_count;
#else
typedef int item_count;
#endif

/* How many items the arrays of a reply have announced; told by the reader before it makes room for them. */
struct resp_bounds {
    redisReplyObjectFunctions functions;
    void *(*create_array)(const redisReadTask *, item_count);
    size_t items;
    bool is_passed;
};

void resp_init(struct resp_link *l)
{
    *l = (struct resp_link){.fd = -1};
}

/* --- bounds --- */

static void *create_array(const redisReadTask *task, item_count count)
{
    struct resp_bounds *bounds = task->privdata;

    bounds->is_passed |= (size_t)count > RESP_ITEMS_MAX - bounds->items;
    if (bounds->is_passed)
        return NULL; /* which the reader takes for a lack of memory */
    bounds->items += (size_t)count;
    return bounds->create_array(task, count);
}

static bool make_reader(struct resp_link *l)
{
    l->reader = redisReaderCreate();
    l->bounds = mem_calloc(1, sizeof *l->bounds);
    if (!l->reader || !l->bounds)
        return false;
    l->bounds->functions = *l->reader->fn;
    l->bounds->create_array = l->bounds->functions.createArray;
    l->bounds->functions.createArray = create_array;
    l->reader->fn = &l->bounds->functions;
    l->reader->privdata = l->bounds;
    return true;
}

/* --- opening --- */

static int shake_hands(struct resp_link *l, const struct await_limit *limit, char *why)
{
    for (;;) {
        int rc = tls_handshake(l->tls, l->fd, l->scratch);
        struct pollfd fds[2];

        if (rc == WEFT_E_TLS)
            tls_error_text(l->tls, why, RESP_WHY_BYTES);
        if (rc != WEFT_E_AGAIN)
            return rc;
        fds[1] = (struct pollfd){.fd = l->fd, .events = POLLIN};
        if (tls_has_output(l->tls))
            fds[1].events |= POLLOUT;
        rc = await_fds(fds, 2, limit, AWAIT_FOREVER);
        if (rc != WEFT_OK)
            return rc;
    }
}

static int dial(const char *host, uint16_t port, const char *path, const struct await_limit *limit, char *why)
{
    struct dial_how how = {.limit = *limit};
    const char *reason = NULL;
    int fd = path ? dial_unix(path, &how) : dial_tcp(host, port, &how, &reason);

    if (fd == WEFT_E_SYSTEM)
        snprintf(why, RESP_WHY_BYTES, "%s", strerror(errno));
    else if (fd < 0)
        snprintf(why, RESP_WHY_BYTES, "%s", reason ? reason : weft_strerror(fd));
    return fd;
}

int resp_open(struct resp_link *l, const char *host, uint16_t port, const char *path, struct tls_context *tls,
              bool checks_name, struct tls_scratch *scratch, const struct await_limit *limit, char *why)
{
    int rc = WEFT_E_NOMEM;

    resp_init(l);
    why[0] = '\0';
    l->fd = dial(host, port, path, limit, why);
    if (l->fd < 0)
        return l->fd;
    l->scratch = scratch;
    l->in = mem_alloc(READ_BYTES);
    if (make_reader(l) && tls)
        l->tls = tls_new(tls, checks_name ? host : NULL, port);
    if (l->bounds && l->reader && l->in && (!tls || l->tls))
        rc = tls ? shake_hands(l, limit, why) : WEFT_OK;
    if (rc == WEFT_OK)
        return rc;
    if (!why[0])
        snprintf(why, RESP_WHY_BYTES, "%s", weft_strerror(rc));
    resp_close(l);
    return rc;
}

void resp_close(struct resp_link *l)
{
    if (l->tls)
        tls_free(l->tls);
    if (l->fd >= 0)
        close(l->fd);
    if (l->reader)
        redisReaderFree(l->reader);
    mem_free(l->bounds);
    mem_free(l->in);
    mem_free(l->out);
    resp_init(l);
}

/* --- commands --- */

static bool make_room(struct resp_link *l, size_t bytes)
{
    size_t room = l->out_room ? l->out_room : 4096;
    char *out;

    if (l->out_room - l->out_bytes >= bytes)
        return true;
    if (l->out_at) {
        memmove(l->out, l->out + l->out_at, l->out_bytes - l->out_at);
        l->out_bytes -= l->out_at;
        l->out_at = 0;
    }
    while (room - l->out_bytes < bytes)
        room *= 2;
    if (room == l->out_room)
        return true;
    out = mem_realloc(l->out, room);
    if (!out)
        return false;
    l->out = out;
    l->out_room = room;
    return true;
}

void resp_piece(struct resp_link *l, const void *p, size_t bytes)
{
    if (l->has_failed || !make_room(l, bytes)) {
        l->has_failed = true;
        return;
    }
    if (bytes)
        memcpy(l->out + l->out_bytes, p, bytes);
    l->out_bytes += bytes;
}

static void put_count(struct resp_link *l, char what, size_t n)
{
    char text[32];

    resp_piece(l, text, (size_t)snprintf(text, sizeof text, "%c%zu\r\n", what, n));
}

void resp_command(struct resp_link *l, unsigned count)
{
    put_count(l, '*', count);
}

void resp_arg_begin(struct resp_link *l, size_t bytes)
{
    put_count(l, '$', bytes);
}

void resp_arg_end(struct resp_link *l)
{
    resp_piece(l, "\r\n", 2);
}

void resp_arg(struct resp_link *l, const void *p, size_t bytes)
{
    resp_arg_begin(l, bytes);
    resp_piece(l, p, bytes);
    resp_arg_end(l);
}

void resp_arg_text(struct resp_link *l, const char *text)
{
    resp_arg(l, text, strlen(text));
}

void resp_arg_number(struct resp_link *l, uint64_t n)
{
    char text[32];

    resp_arg(l, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)n));
}

/* --- bytes --- */

static ptrdiff_t write_some(struct resp_link *l, struct iovec *iov)
{
    struct link plain = {.fd = l->fd};

    return l->tls ? tls_write(l->tls, l->fd, l->scratch, iov, 1) : link_write(&plain, iov, 1);
}

int resp_flush(struct resp_link *l)
{
    if (l->has_failed)
        return WEFT_E_CLOSED;
    if (l->tls && tls_flush(l->tls, l->fd) == WEFT_E_CLOSED)
        return WEFT_E_CLOSED;
    while (l->out_at < l->out_bytes) {
        struct iovec iov = {l->out + l->out_at, l->out_bytes - l->out_at};
        ptrdiff_t n = write_some(l, &iov);

        if (n == WEFT_E_AGAIN)
            return WEFT_OK;
        if (n < 0)
            return WEFT_E_CLOSED;
        l->out_at += (size_t)n;
    }
    l->out_at = l->out_bytes = 0;
    if (l->out_room > OUT_BYTES_KEPT) {
        mem_free(l->out);
        l->out = NULL;
        l->out_room = 0;
    }
    return WEFT_OK;
}

size_t resp_output_bytes(const struct resp_link *l)
{
    return l->out_bytes - l->out_at;
}

bool resp_has_output(const struct resp_link *l)
{
    return l->out_at < l->out_bytes || (l->tls && tls_has_output(l->tls));
}

int resp_read(struct resp_link *l)
{
    struct iovec iov = {l->in, READ_BYTES};
    struct link plain = {.fd = l->fd};
    ptrdiff_t n = l->tls ? tls_read(l->tls, l->fd, l->scratch, &iov, 1) : link_read(&plain, &iov, 1);

    l->may_have_more = l->tls ? n > 0 : n == (ptrdiff_t)READ_BYTES;
    if (n == WEFT_E_AGAIN)
        return WEFT_E_AGAIN;
    if (n <= 0)
        return WEFT_E_CLOSED;
    l->unparsed += (size_t)n;
    if (l->unparsed > RESP_REPLY_BYTES_MAX)
        return WEFT_E_TOO_BIG;
    return redisReaderFeed(l->reader, l->in, (size_t)n) == REDIS_OK ? WEFT_OK : WEFT_E_NOMEM;
}

/* --- replies --- */

int resp_next(struct resp_link *l, struct resp **out)
{
    void *reply = NULL;

    if (redisReaderGetReply(l->reader, &reply) != REDIS_OK && l->bounds->is_passed)
        return WEFT_E_TOO_BIG;
    if (l->reader->err)
        return l->reader->err == REDIS_ERR_OOM ? WEFT_E_NOMEM : WEFT_E_PROTOCOL;
    *out = reply;
    if (reply) {
        l->unparsed = l->reader->len - l->reader->pos;
        l->bounds->items = 0;
    }
    return reply ? WEFT_OK : WEFT_E_AGAIN;
}

void resp_free(struct resp *r)
{
    freeReplyObject(r);
}

static const redisReply *reply_of(const struct resp *r)
{
    return (const redisReply *)(const void *)r;
}

enum resp_kind resp_kind(const struct resp *r)
{
    switch (r ? reply_of(r)->type : REDIS_REPLY_NIL) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
        return RESP_TEXT;
    case REDIS_REPLY_ERROR:
        return RESP_ERROR;
    case REDIS_REPLY_INTEGER:
        return RESP_INTEGER;
    case REDIS_REPLY_ARRAY:
        return RESP_ARRAY;
    default:
        return RESP_NIL;
    }
}

const char *resp_text(const struct resp *r, size_t *bytes)
{
    enum resp_kind kind = resp_kind(r);
    bool is_text = kind == RESP_TEXT || kind == RESP_ERROR;

    if (bytes)
        *bytes = is_text ? reply_of(r)->len : 0;
    return is_text ? reply_of(r)->str : "";
}

int64_t resp_integer(const struct resp *r)
{
    if (resp_kind(r) == RESP_INTEGER)
        return reply_of(r)->integer;
    return strtoll(resp_text(r, NULL), NULL, 10);
}

size_t resp_count(const struct resp *r)
{
    return resp_kind(r) == RESP_ARRAY ? reply_of(r)->elements : 0;
}

const struct resp *resp_item(const struct resp *r, size_t i)
{
    return i < resp_count(r) ? (const struct resp *)(const void *)reply_of(r)->element[i] : NULL;
}
