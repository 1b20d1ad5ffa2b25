/* A redis-server for tests; see redis.h. */
#include "redis.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/bus_slots.h"

#define PATIENCE_MS 20000
#define PAIRS_MAX   32

static void give_up(const char *why)
{
    fprintf(stderr, "tests/bus: %s\n", why);
    exit(1);
}

static struct sockaddr_in here(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* With SO_REUSEADDR on both sides one may listen where another is bound and does not; who wants any port gets
 * another one. */
static int bound(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in a = here(0);
    socklen_t n = sizeof a;

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        give_up("no port");
    *port = ntohs(a.sin_port);
    return fd;
}

struct port port_keep(void)
{
    struct port p;

    p.fd = bound(&p.number);
    return p;
}

void port_leave(struct port *p)
{
    close(p->fd);
}

static int reach(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = here(port);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The first line of the answer; false: none. */
static bool ask(uint16_t port, const char *command, char *line, size_t room)
{
    int fd = reach(port);
    size_t n = 0;
    bool is_whole = false;

    if (fd < 0)
        return false;
    dprintf(fd, "%s\r\n", command);
    while (!is_whole && n < room - 1) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) <= 0 || recv(fd, line + n, 1, 0) != 1)
            break;
        is_whole = line[n] == '\n';
        n++;
    }
    line[n] = '\0';
    close(fd);
    return is_whole;
}

const char *redis_say(struct redis_server *s, const char *command)
{
    static char line[512];

    if (!ask(s->port, command, line, sizeof line))
        give_up("redis-server does not answer");
    return line;
}

static void begin(struct redis_server *s)
{
    const char *args[16 + REDIS_EXTRA_MAX] = {"redis-server", "--bind",  "127.0.0.1", "--save", "",
                                              "--loglevel",   "warning", "--dir",     s->dir};
    char port[8], line[256], log_path[96];
    size_t n = 9;

    snprintf(port, sizeof port, "%u", s->port);
    snprintf(log_path, sizeof log_path, "%s/log", s->dir);
    args[n++] = "--port";
    args[n++] = port;
    args[n++] = "--appendonly";
    args[n++] = s->is_lasting ? "yes" : "no";
    args[n++] =
        "--appendfsync"; /* by default answers do not wait for what is written, where the disk is slow */
    args[n++] = "no";
    for (size_t i = 0; s->extra[i]; i++)
        args[n++] = s->extra[i];
    s->pid = fork();
    if (s->pid == 0) {
        int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(log, 1);
        dup2(log, 2);
        execvp(args[0], (char **)args);
        _exit(127);
    }
    for (int ms = 0; !ask(s->port, "PING", line, sizeof line) || strncmp(line, "+PONG", 5) != 0; ms += 20) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
            give_up("redis-server does not start");
        if (ms > PATIENCE_MS)
            give_up("redis-server does not answer");
        usleep(20000);
    }
}

void redis_start_again(struct redis_server *s)
{
    begin(s);
}

static void start_at(struct redis_server *s, uint16_t port, bool is_lasting, const char *const *extra)
{
    memset(s, 0, sizeof *s);
    s->port = port;
    s->kept.fd = -1;
    strcpy(s->dir, "/tmp/weft-redis-XXXXXX");
    if (!mkdtemp(s->dir))
        give_up("no directory");
    s->is_lasting = is_lasting;
    for (size_t i = 0; extra && extra[i]; i++)
        s->extra[i] = extra[i];
    begin(s);
    snprintf(s->url, sizeof s->url, "redis://127.0.0.1:%u", s->port);
}

void redis_start(struct redis_server *s, bool is_lasting, const char *const *extra)
{
    struct port p = port_keep();

    start_at(s, p.number, is_lasting, extra);
    s->kept = p;
}

/* It stops at the second option, or does not know the first. */
bool redis_has_tls(void)
{
    char text[1024];
    FILE *f = popen("redis-server --tls-port 0 --port none 2>&1", "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;

    if (f)
        pclose(f);
    text[n] = '\0';
    return strstr(text, "'port \"none\"'") != NULL;
}

void redis_kill(struct redis_server *s, int signal)
{
    kill(s->pid, signal);
    if (signal == SIGKILL || signal == SIGTERM)
        waitpid(s->pid, NULL, 0);
}

void redis_end(struct redis_server *s)
{
    char command[128];

    redis_kill(s, SIGKILL);
    if (s->kept.fd >= 0)
        port_leave(&s->kept);
    snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
    if (system(command) != 0)
        give_up("the directory stays");
}

/* --- clusters --- */

const char *redis_say_all(struct redis_server *s, const char *command)
{
    static char text[65536];
    int fd = reach(s->port);
    size_t n = 0;
    ssize_t got = 1;

    if (fd < 0)
        give_up("redis-server does not answer");
    dprintf(fd, "%s\r\nQUIT\r\n", command); /* behind it the server closes */
    while (got > 0 && n < sizeof text - 1) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) <= 0)
            give_up("redis-server does not answer");
        got = recv(fd, text + n, sizeof text - 1 - n, 0);
        n += got > 0 ? (size_t)got : 0;
    }
    text[n] = '\0';
    close(fd);
    return text;
}

/* It must answer +OK. */
static void demand(struct redis_server *s, const char *format, ...)
{
    char command[256];
    const char *said;
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    said = redis_say(s, command);
    if (strncmp(said, "+OK", 3) != 0) {
        fprintf(stderr, "tests/bus: %s: %s", command, said);
        exit(1);
    }
}

static void wait_for_text(struct redis_server *s, const char *command, const char *text)
{
    for (int ms = 0; !strstr(redis_say_all(s, command), text); ms += 10) {
        if (ms > PATIENCE_MS)
            give_up("the cluster does not come together");
        usleep(10000);
    }
}

static void start_member(struct redis_cluster *c, unsigned i)
{
    const char *extra[REDIS_EXTRA_MAX] = {
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout", /* a server that is only slow stays what it is */
        "60000",
        "--cluster-port",
        c->ports[i],
        "--unixsocket", /* in its directory */
        "sock",
        "--repl-diskless-sync-delay",
        "0",
        "--cluster-allow-replica-migration", /* who has lost its last slot stays a master */
        "no",
        "--cluster-require-full-coverage",
        "no"};
    size_t n = 14;

    for (size_t k = 0; c->tls && c->tls[k]; k++)
        extra[n++] = c->tls[k];
    if (c->tls) {
        extra[n++] = "--tls-port";
        extra[n++] = c->tls_ports[i];
        extra[n++] = "--tls-cluster";
        extra[n++] = "yes";
    }
    start_at(&c->servers[i], c->kept[i][0].number, true, extra);
    memcpy(c->ids[i], strchr(redis_say_all(&c->servers[i], "CLUSTER MYID"), '\n') + 1, 40);
}

unsigned cluster_home(const struct redis_cluster *c, unsigned slot)
{
    return slot * c->masters / 16384;
}

unsigned cluster_slot_of(const char *topic)
{
    char key[300];

    return slots_of_key(key, (size_t)snprintf(key, sizeof key, "weft:s:{t:%s}", topic));
}

const char *cluster_topic_at(const struct redis_cluster *c, unsigned master, const char *begin)
{
    static char topic[64];

    for (unsigned i = 0; i == 0 || cluster_home(c, cluster_slot_of(topic)) != master; i++)
        snprintf(topic, sizeof topic, "%s%u", begin, i);
    return topic;
}

/* What the others reach it at. */
static const char *port_within(const struct redis_cluster *c, unsigned i)
{
    static char text[8];

    snprintf(text, sizeof text, "%u", c->servers[i].port);
    return c->tls ? c->tls_ports[i] : text;
}

/* To each before it, for rumours take their time. */
static void introduce(struct redis_cluster *c, unsigned i)
{
    for (unsigned k = 0; k < i; k++)
        demand(&c->servers[k], "CLUSTER MEET 127.0.0.1 %s %s", port_within(c, i), c->ports[i]);
}

/* By their names: how many it knows counts those, too, of which it does not know yet who they are. */
static void wait_until_all_are_known(struct redis_cluster *c)
{
    for (unsigned i = 0; i < c->count; i++)
        for (unsigned k = 0; k < c->count; k++)
            wait_for_text(&c->servers[i], "CLUSTER NODES", c->ids[k]);
}

/* Nor does one that does not know its replica let it take over. */
static void wait_until_all_have_the_map(struct redis_cluster *c)
{
    char follows[64];

    for (unsigned i = 0; i < c->count; i++) {
        wait_for_text(&c->servers[i], "CLUSTER INFO", "cluster_slots_assigned:16384\r");
        wait_for_text(&c->servers[i], "CLUSTER INFO", "cluster_state:ok");
        for (unsigned k = c->masters; k < c->count; k++) {
            snprintf(follows, sizeof follows, "slave %s", c->ids[k - c->masters]);
            wait_for_text(&c->servers[i], "CLUSTER NODES", follows);
        }
    }
}

static void keep_ports(struct redis_cluster *c)
{
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++) {
        for (unsigned k = 0; k < 3; k++)
            c->kept[i][k] = port_keep();
        snprintf(c->ports[i], sizeof c->ports[i], "%u", c->kept[i][1].number);
        snprintf(c->tls_ports[i], sizeof c->tls_ports[i], "%u", c->kept[i][2].number);
    }
}

static void start(struct redis_cluster *c, unsigned masters, unsigned replicas)
{
    c->masters = masters;
    c->count = masters + replicas;
    strcpy(c->url, "redis://");
    keep_ports(c);
    for (unsigned i = 0, first = 0; i < c->count; i++) {
        start_member(c, i);
        if (i >= masters)
            continue;
        sprintf(c->url + strlen(c->url), "%s127.0.0.1:%u", i ? "," : "", c->servers[i].port);
        unsigned last = first;
        while (last < 16383 && cluster_home(c, last + 1) == i)
            last++;
        demand(&c->servers[i], "CLUSTER ADDSLOTSRANGE %u %u", first, last);
        demand(&c->servers[i], "CLUSTER SET-CONFIG-EPOCH %u", i + 1);
        first = last + 1;
    }
    for (unsigned i = 1; i < c->count; i++)
        introduce(c, i);
    wait_until_all_are_known(c);
    for (unsigned i = masters; i < c->count; i++) {
        demand(&c->servers[i], "CLUSTER REPLICATE %s", c->ids[i - masters]);
        wait_for_text(&c->servers[i], "INFO replication", "master_link_status:up");
    }
    wait_until_all_have_the_map(c);
}

void cluster_start(struct redis_cluster *c, unsigned masters, unsigned replicas)
{
    memset(c, 0, sizeof *c);
    start(c, masters, replicas);
}

void cluster_start_tls(struct redis_cluster *c, unsigned masters, const char *const *tls)
{
    memset(c, 0, sizeof *c);
    c->tls = tls;
    start(c, masters, 0);
}

unsigned cluster_add(struct redis_cluster *c)
{
    unsigned i = c->count++;

    start_member(c, i);
    introduce(c, i);
    wait_until_all_are_known(c);
    wait_for_text(&c->servers[i], "CLUSTER INFO", "cluster_state:ok");
    return i;
}

void cluster_set(struct redis_cluster *c, const char *name, const char *value)
{
    for (unsigned i = 0; i < c->count; i++)
        demand(&c->servers[i], "CONFIG SET %s %s", name, value);
}

void cluster_bury_soon(struct redis_cluster *c)
{
    cluster_set(c, "cluster-node-timeout", "1000");
}

void cluster_wait_for_map(struct redis_cluster *c, const char *text, bool has_it)
{
    unsigned i = 0;

    for (int ms = 0; i < c->count; ms += 10) {
        if (ms > PATIENCE_MS)
            give_up("the map does not become what it should");
        if ((strstr(redis_say_all(&c->servers[i], "CLUSTER SLOTS"), text) != NULL) == has_it)
            i++;
        else
            usleep(10000);
    }
}

void cluster_end(struct redis_cluster *c)
{
    for (unsigned i = 0; i < c->count; i++)
        redis_end(&c->servers[i]);
    for (unsigned i = 0; i < CLUSTER_SERVERS_MAX; i++)
        for (unsigned k = 0; k < 3; k++)
            port_leave(&c->kept[i][k]);
}

void cluster_begin_move(struct redis_cluster *c, unsigned slot, unsigned from, unsigned to)
{
    demand(&c->servers[to], "CLUSTER SETSLOT %u IMPORTING %s", slot, c->ids[from]);
    demand(&c->servers[from], "CLUSTER SETSLOT %u MIGRATING %s", slot, c->ids[to]);
}

unsigned cluster_move_keys(struct redis_cluster *c, unsigned slot, unsigned from, unsigned to)
{
    char command[128], keys[8192], migrate[9000];
    unsigned count = 0;
    char *line, *rest = keys;

    snprintf(command, sizeof command, "CLUSTER GETKEYSINSLOT %u 100", slot);
    snprintf(keys, sizeof keys, "%s", redis_say_all(&c->servers[from], command));
    while ((line = strsep(&rest, "\n"))) {
        line[strcspn(line, "\r")] = '\0';
        if (!*line || strchr("*$+-", *line))
            continue;
        snprintf(migrate, sizeof migrate, "MIGRATE 127.0.0.1 %s %s 0 5000", port_within(c, to), line);
        demand(&c->servers[from], "%s", migrate);
        count++;
    }
    return count;
}

void cluster_end_move(struct redis_cluster *c, unsigned slot, unsigned from, unsigned to)
{
    demand(&c->servers[to], "CLUSTER SETSLOT %u NODE %s", slot, c->ids[to]);
    demand(&c->servers[from], "CLUSTER SETSLOT %u NODE %s", slot, c->ids[to]);
}

/* --- proxy --- */

static void forward(int from, int to, struct pollfd *a, struct pollfd *b)
{
    char bytes[16384];
    ssize_t n = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n > 0 && send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n)
        return;
    close(a->fd);
    close(b->fd);
    a->fd = b->fd = -1;
}

static void take_in(struct proxy *p, struct pollfd *fds)
{
    int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC), other = reach(p->to);

    for (int i = 1; i < 2 * PAIRS_MAX && fd >= 0 && other >= 0; i += 2) {
        if (fds[i].fd >= 0)
            continue;
        fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        fds[i + 1] = (struct pollfd){.fd = other, .events = POLLIN};
        return;
    }
    close(fd);
    close(other);
}

static void *run_proxy(void *arg)
{
    struct proxy *p = arg;
    struct pollfd fds[1 + 2 * PAIRS_MAX];

    for (int i = 0; i <= 2 * PAIRS_MAX; i++)
        fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[0].fd = p->listen_fd;
    while (!p->is_over) {
        if (p->is_cut) {
            usleep(1000);
            continue;
        }
        if (poll(fds, 1 + 2 * PAIRS_MAX, 10) <= 0)
            continue;
        if (fds[0].revents)
            take_in(p, fds);
        for (int i = 1; i <= 2 * PAIRS_MAX; i++) {
            struct pollfd *other = &fds[i % 2 ? i + 1 : i - 1];
            if (fds[i].fd >= 0 && fds[i].revents)
                forward(fds[i].fd, other->fd, &fds[i], other);
        }
    }
    for (int i = 1; i <= 2 * PAIRS_MAX; i++)
        close(fds[i].fd);
    return NULL;
}

void proxy_start(struct proxy *p, uint16_t to)
{
    memset(p, 0, sizeof *p);
    p->to = to;
    p->listen_fd = bound(&p->port);
    if (listen(p->listen_fd, 16) != 0 || pthread_create(&p->thread, NULL, run_proxy, p) != 0)
        give_up("no proxy");
}

void proxy_end(struct proxy *p)
{
    p->is_over = true;
    pthread_join(p->thread, NULL);
    close(p->listen_fd);
}
