/* A server that says it is Redis; see fake.h. */
#include "fake.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 65536

struct conn {
    struct fake *fake;
    int fd;
    unsigned number;
};

/* --- answers --- */

bool fake_is(const struct fake_command *c, const char *name)
{
    return strcasecmp(c->args[0], name) == 0;
}

bool fake_is_fill(const struct fake_command *c)
{
    return fake_is(c, "EVALSHA") && c->count > 2 && strcmp(c->args[2], "2") == 0; /* keys */
}

bool fake_say(const struct fake_command *c, const char *text)
{
    size_t at = 0, bytes = strlen(text);
    ssize_t n = 1;

    for (; at < bytes && n > 0; at += n > 0 ? (size_t)n : 0)
        n = send(c->fd, text + at, bytes - at, MSG_NOSIGNAL);
    return n > 0;
}

void fake_say_map(const struct fake_command *c, uint16_t port)
{
    char text[128];

    snprintf(text, sizeof text, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n", port);
    fake_say(c, text);
}

static void say_subscribed(const struct fake_command *c)
{
    char text[1024], kind[16];

    snprintf(kind, sizeof kind, "%s", c->args[0]);
    for (char *p = kind; *p; p++)
        *p = (char)(*p | 0x20);
    snprintf(text, sizeof text, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:1\r\n", strlen(kind), kind,
             strlen(c->args[1]), c->args[1]);
    fake_say(c, text);
}

static void answer_as_redis(const struct fake_command *c)
{
    char text[1024];

    if (fake_is(c, "CLUSTER")) {
        fake_say(c, "-ERR This instance has cluster support disabled\r\n");
    } else if (fake_is(c, "ROLE")) {
        fake_say(c, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    } else if (fake_is(c, "SCRIPT")) {
        fake_say(c, "$40\r\n0123456789012345678901234567890123456789\r\n");
    } else if (fake_is(c, "PING")) {
        snprintf(text, sizeof text, "$%zu\r\n%s\r\n", strlen(c->args[1]), c->args[1]);
        fake_say(c, text);
    } else if (fake_is_fill(c)) {
        fake_say(c, "*7\r\n$1\r\n0\r\n$1\r\n0\r\n:0\r\n$1\r\n1\r\n$1\r\n0\r\n*0\r\n$0\r\n\r\n");
    } else if (c->count == 2 && strcasestr(c->args[0], "SUBSCRIBE")) {
        say_subscribed(c);
    } else {
        fake_say(c, ":0\r\n");
    }
}

/* --- commands --- */

/* Behind a '*' or '$' and its number; NULL: it is not whole. */
static char *after_number(char *p, const char *end, size_t *number)
{
    char *line_end = memchr(p, '\n', (size_t)(end - p));

    *number = line_end ? strtoul(p + 1, NULL, 10) : 0;
    return line_end ? line_end + 1 : NULL;
}

/* How many bytes the first command has; 0: it is not whole. A NUL goes over the line's end behind each argument. */
static size_t parse(struct fake_command *c, char *begin, const char *end)
{
    size_t count, bytes;
    char *p = begin < end ? after_number(begin, end, &count) : NULL, *ends[FAKE_ARGS_MAX];

    c->count = 0;
    for (size_t i = 0; p && i < count; i++) {
        p = p < end ? after_number(p, end, &bytes) : NULL;
        if (!p || (size_t)(end - p) < bytes + 2)
            return 0;
        if (i < FAKE_ARGS_MAX) {
            ends[c->count] = p + bytes;
            c->args[c->count++] = p;
        }
        p += bytes + 2;
    }
    for (unsigned i = 0; i < c->count && p; i++)
        *ends[i] = '\0';
    return p ? (size_t)(p - begin) : 0;
}

static bool take_command(const struct fake_command *c)
{
    enum fake_answer how = c->fake->answer ? c->fake->answer(c, c->fake->arg) : FAKE_NOT_MINE;

    if (how == FAKE_NOT_MINE)
        answer_as_redis(c);
    return how != FAKE_CLOSE;
}

/* --- connections --- */

/* False: the test is over. */
static bool wait_for(const struct fake *f, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = f->stop_fd, .events = POLLIN}};

    return poll(fds, 2, -1) > 0 && !fds[1].revents;
}

static void *serve(void *arg)
{
    struct conn *k = arg;
    struct fake_command c = {.fake = k->fake, .fd = k->fd, .conn = k->number};
    char *room = malloc(ROOM);
    size_t bytes = 0, used;
    bool goes_on = true;

    while (goes_on && bytes < ROOM && wait_for(k->fake, k->fd)) {
        ssize_t n = recv(k->fd, room + bytes, ROOM - bytes, 0);

        goes_on = n > 0;
        bytes += n > 0 ? (size_t)n : 0;
        while (goes_on && (used = parse(&c, room, room + bytes)) > 0) {
            goes_on = take_command(&c);
            memmove(room, room + used, bytes - used);
            bytes -= used;
        }
    }
    close(k->fd);
    free(room);
    free(k);
    return NULL;
}

static void *take_in(void *arg)
{
    struct fake *f = arg;

    while (f->conns < FAKE_CONNS_MAX && wait_for(f, f->listen_fd)) {
        struct conn *k = malloc(sizeof *k);

        *k = (struct conn){f, accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC), f->conns};
        if (k->fd < 0 || pthread_create(&f->threads[k->number], NULL, serve, k) != 0)
            abort();
        f->conns++;
    }
    return NULL;
}

void fake_start(struct fake *f, enum fake_answer (*answer)(const struct fake_command *c, void *arg),
                void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;

    memset(f, 0, sizeof *f);
    f->answer = answer;
    f->arg = arg;
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    f->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (f->listen_fd < 0 || f->stop_fd < 0 || bind(f->listen_fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        getsockname(f->listen_fd, (struct sockaddr *)&a, &n) != 0 || listen(f->listen_fd, 64) != 0)
        abort();
    f->port = ntohs(a.sin_port);
    snprintf(f->url, sizeof f->url, "redis://127.0.0.1:%u", f->port);
    if (pthread_create(&f->thread, NULL, take_in, f) != 0)
        abort();
}

void fake_end(struct fake *f)
{
    eventfd_write(f->stop_fd, 1);
    pthread_join(f->thread, NULL);
    for (unsigned i = 0; i < f->conns; i++)
        pthread_join(f->threads[i], NULL);
    close(f->listen_fd);
    close(f->stop_fd);
}
