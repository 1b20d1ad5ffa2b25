/* Proves that the conformance program can fail, in both its roles: servers and clients that break one rule
 * each must fail exactly the cases that are about that rule, with the verdicts that belong to it, and an odd
 * but right one must fail none.
 *
 *     self_test PATH-OF-CONFORMANCE [client | server]
 *     self_test --visit FAULT PORT
 *
 * The role is that of the conformance program. As a client it runs against a server process of the row on a
 * free port; as a server it starts this program, which is then the row's client. Rows mostly wait for timers,
 * and these are long, for a peer that is only late must not fail another case than its fault does: so many
 * rows run at once. */
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faulty.h"
#include "role.h"
#include "ws.h"

#define ROWS_AT_ONCE 96
#define BETWEEN_MS   50 /* from one row's start to the next: they compute when they start, and others do too */
#define VISITORS     "16"           /* clients at once, where order does not matter */
#define PATIENCE     "10"           /* --patience of all rows that do not have HASTE */
#define HASTE        "--patience=1" /* where a case fails in the same way however late the peer is */

struct row {
    const char *says;
    enum fault fault;
    const char *cases;   /* to run */
    const char *fail;    /* the ids that must fail, in order; NULL: all that run */
    const char *verdict; /* behaviour and close of each of them, NULL: any */
    const char *option;  /* one more for the program, or NULL */
    unsigned only;       /* the bit of the one role of the program in which the row holds; 0: both */
};

#define SOME     "1.1.1,1.1.3,1.2.7,2.2,3.1,5.3,7.1.1,7.3.2,7.7.2"
#define BAD_UTF8 "6.3,6.6.1,6.6.3,6.8,6.10,6.11.5,6.12,6.13,6.14,6.15,6.16,6.17,6.18,6.19,6.20,6.21"

/* clang-format off */
static const struct row rows[] = {
    {"one octet at a time is right", ODD_ONE_OCTET_WRITES, "1.1.1,1.1.3,1.2.6,2,3,4,5,6.2,6.6,7", "", NULL,
     NULL, 0},
    {"echoes in fragments are right", ODD_FRAGMENTED_ECHO, "1,2.2,5,9.1.1,9.8.5,10", "", NULL, NULL, 0},
    {"pings of the server are right", ODD_PING_BEFORE_ECHO, "1,5.3,5.6,9.7.2", "", NULL, NULL, 0},

    {"silence", FAULT_SILENT, "1.1.1,3.1,7.1.6", NULL, "FAILED/FAILED", HASTE, 0},
    {"status 200", FAULT_STATUS_200, "1.1.1,3.1,7.1.6", NULL, "FAILED/FAILED", NULL, ONLY_CLIENT},
    {"wrong accept value", FAULT_WRONG_ACCEPT, "1.1.1,3.1,7.1.6", NULL, "FAILED/FAILED", NULL, ONLY_CLIENT},
    {"unasked extension", FAULT_EXTENSION, "1.1.1,3.1,7.1.6", NULL, "FAILED/FAILED", NULL, ONLY_CLIENT},
    {"unasked subprotocol", FAULT_SUBPROTOCOL, "1.1.1,3.1,7.1.6", NULL, "FAILED/FAILED", NULL, ONLY_CLIENT},
    {"closes at once", FAULT_CLOSES_AT_ONCE, "1.1.1,2.2,5.3", NULL, "FAILED/FAILED", NULL, 0},

    {"no Host", FAULT_NO_HOST, "1.1.1,3.1", NULL, "FAILED/FAILED", NULL, ONLY_SERVER},
    {"no version", FAULT_NO_VERSION, "1.1.1,3.1", NULL, "FAILED/FAILED", NULL, ONLY_SERVER},
    {"a key of 13 octets", FAULT_SHORT_KEY, "1.1.1,3.1", NULL, "FAILED/FAILED", NULL, ONLY_SERVER},
    {"the same key", FAULT_SAME_KEY, "1.1.1,1.1.2,3.1", "1.1.2 3.1", "FAILED/FAILED", "--jobs=1",
     ONLY_SERVER},
    {"a frame before the answer", FAULT_FRAME_BEFORE_ANSWER, "1.1.1,3.1", NULL, "FAILED/FAILED", NULL,
     ONLY_SERVER},
    {"head in one read", FAULT_HEAD_IN_ONE_READ, "14.1", "14.1.2", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"loses what follows the head", FAULT_LOSES_GLUED, "14.1.3,14.1.5,14.1.6", NULL, NULL, NULL,
     ONLY_SERVER},
    {"names as they are written", FAULT_NAMES_AS_WRITTEN, "14.1", "14.1.4", "FAILED/FAILED", NULL,
     ONLY_SERVER},
    {"takes any accept value", FAULT_TAKES_ANY_ACCEPT, "14",
     "14.2.1 14.2.2 14.2.3 14.2.4 14.2.5 14.2.6", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"accept value in any case", FAULT_ACCEPT_WITHOUT_CASE, "14", "14.2.2", "FAILED/FAILED", NULL,
     ONLY_SERVER},
    {"accept value with more", FAULT_ACCEPT_BEGINS, "14", "14.2.3", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes two accept values", FAULT_TAKES_TWO_ACCEPTS, "14", "14.2.6", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes any Upgrade", FAULT_TAKES_ANY_UPGRADE, "14", "14.2.7 14.2.8", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes any Connection", FAULT_TAKES_ANY_CONNECTION, "14", "14.2.9 14.2.10", "FAILED/FAILED", NULL,
     ONLY_SERVER},
    {"takes a subprotocol", FAULT_TAKES_SUBPROTOCOL, "14", "14.2.11", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes an extension", FAULT_TAKES_EXTENSION, "14", "14.2.12", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes any status", FAULT_TAKES_ANY_STATUS, "14", "14.3.1 14.3.2 14.3.4 14.3.5", "FAILED/FAILED", NULL,
     ONLY_SERVER},
    {"takes HTTP/1.0", FAULT_TAKES_HTTP_1_0, "14", "14.3.1", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes any line", FAULT_TAKES_ANY_LINE, "14", "14.3.7", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"takes a NUL", FAULT_TAKES_NUL, "14", "14.3.6", "FAILED/FAILED", NULL, ONLY_SERVER},
    {"a head without limit", FAULT_HEAD_WITHOUT_LIMIT, "14", "14.3.8 14.3.9", NULL, NULL, ONLY_SERVER},
    {"refuses with a Close frame", FAULT_REFUSES_WITH_CLOSE, "14.2.1,14.3.2", NULL, "OK/WRONG CODE", NULL,
     ONLY_SERVER},

    {"masks, or does not", FAULT_MASKING, "1.1.1,2.2,5.3", NULL, NULL, NULL, 0},
    {"the same mask", FAULT_SAME_MASK, "1.1.1,2.10,5.3", NULL, NULL, NULL, ONLY_SERVER},
    {"masks that begin again", FAULT_MASKS_BEGIN_AGAIN, "1.1.1,2.2,5.3", "2.2 5.3", NULL, "--jobs=1",
     ONLY_SERVER},
    {"takes any masking", FAULT_TAKES_ANY_MASKING, "14.4", "14.4.1 14.4.2", "FAILED/FAILED", NULL, 0},

    {"ignores reserved bits", FAULT_IGNORES_RSV, "3.1,3.2,3.3,3.4,3.5,3.6", NULL, "FAILED/FAILED", NULL, 0},
    {"ignores reserved bits of a close", FAULT_IGNORES_RSV, "3.7", NULL, "OK/WRONG CODE", NULL, 0},
    {"skips frames with reserved bits", FAULT_SKIPS_RSV_FRAMES, "3.1,3.5,3.6,3.7", NULL, "OK/FAILED", NULL,
     0},
    {"skips a frame before a ping", FAULT_SKIPS_RSV_FRAMES, "3.2,3.3,3.4", NULL, "FAILED/FAILED", NULL, 0},
    {"takes reserved opcodes", FAULT_TAKES_RESERVED_OPCODES, "4", NULL, "FAILED/FAILED", NULL, 0},
    {"takes long pings", FAULT_TAKES_LONG_CONTROL, "2", "2.5", "FAILED/FAILED", NULL, 0},
    {"takes long closes", FAULT_TAKES_LONG_CONTROL, "7.3", "7.3.6", "FAILED/WRONG CODE", NULL, 0},
    {"takes fragmented pings", FAULT_TAKES_FRAGMENTED_CONTROL, "5.1,5.2", "5.1", "FAILED/OK", NULL, 0},
    {"takes lone continuations", FAULT_TAKES_LONE_CONTINUATION, "5", "5.9 5.10 5.11 5.17", "FAILED/FAILED",
     NULL, 0},
    {"takes a text inside a message", FAULT_TAKES_TEXT_IN_MESSAGE, "5", "5.18", "FAILED/FAILED", NULL, 0},

    {"does not check UTF-8", FAULT_NO_UTF8_CHECK, BAD_UTF8, NULL, "FAILED/FAILED", HASTE, 0},
    {"checks UTF-8 at the end of the message", FAULT_UTF8_AT_MESSAGE_END, "6.1,6.2,6.3,6.4",
     "6.4.1 6.4.2 6.4.3 6.4.4", "NON-STRICT/OK", NULL, 0},
    {"the same, forgiven", FAULT_UTF8_AT_MESSAGE_END, "6.4", "", NULL, "--allow-non-strict", 0},
    {"checks UTF-8 at the end of the frame", FAULT_UTF8_AT_FRAME_END, "6.1,6.2,6.3,6.4", "6.4.3 6.4.4",
     "NON-STRICT/OK", NULL, 0},
    {"fails cut code points", FAULT_UTF8_TOO_EARLY, "6.1,6.2,6.3,6.4", "6.2.3 6.2.4 6.4.2 6.4.4", NULL,
     "--pauses=10", 0},
    {"takes surrogates", FAULT_TAKES_SURROGATES, "6",
     "6.3.1 6.3.2 6.20.1 6.20.2 6.20.3 6.20.4 6.20.5 6.20.6 6.20.7 "
     "6.21.1 6.21.2 6.21.3 6.21.4 6.21.5 6.21.6 6.21.7 6.21.8", "FAILED/FAILED", NULL, 0},
    {"closes bad UTF-8 with 1002", FAULT_UTF8_CODE_1002, "6.3,6.6",
     "6.3.1 6.3.2 6.6.1 6.6.3 6.6.4 6.6.6 6.6.8 6.6.10",
     "OK/WRONG CODE", NULL, 0},

    {"no pong", FAULT_NO_PONG, "2.1,2.2,2.9,5.6,5.19", NULL, "FAILED/OK", NULL, 0},
    {"no pong where it has more time", FAULT_NO_PONG, "2.6,2.10,2.11", NULL, "FAILED/OK", "--patience=4", 0},
    {"merges pongs", FAULT_MERGES_PONGS, "2.1,2.2,2.10", "2.10", "FAILED/OK", NULL, 0},
    {"empty pongs", FAULT_EMPTY_PONG, "2.1,2.2,2.3,2.9", "2.2 2.3 2.9", "FAILED/OK", NULL, 0},
    {"pongs after the message", FAULT_PONG_AFTER_MESSAGE, "2,5", "5.6 5.7 5.8 5.19 5.20", "FAILED/OK", NULL,
     0},

    {"no echo", FAULT_NO_ECHO, "1.1.1,1.2.5,3.2,5.3,6.5.1,7.1.1,9.1.1",
     "1.1.1 1.2.5 3.2 5.3 6.5.1 7.1.1 9.1.1", NULL, HASTE, 0},
    {"echoes twice", FAULT_ECHOES_TWICE, "1.1.1,1.2.7,5.3,9.1.1,9.7.1,9.7.6", NULL, NULL, NULL, 0},
    {"echoes text as binary", FAULT_ECHOES_TEXT_AS_BINARY, "1.1.1,1.2.1,5.3,6.5.1,9.1.1,9.2.1,9.7.2,9.8.2,10",
     "1.1.1 5.3 6.5.1 9.1.1 9.7.2 10.1.1", "FAILED/OK", NULL, 0},
    {"flips the last bit", FAULT_FLIPS_LAST_BIT, "1.2.2,6.5.1,9.1.6,9.2.1,9.4.1,9.6.1,9.8.2,9.8.1,10",
     "1.2.2 6.5.1 9.1.6 9.2.1 9.4.1 9.6.1 9.8.2 10.1.1", "FAILED/OK", NULL, 0},
    {"cuts the last octet", FAULT_CUTS_LAST_OCTET, "1.1.1,1.2.2,9.2.6,9.8.2,10", "1.2.2 9.2.6 9.8.2 10.1.1",
     "FAILED/OK", NULL, 0},
    {"sets reserved bits", FAULT_SETS_RSV, "1.1.1,2.2,5.3", "1.1.1 5.3", NULL, NULL, 0},
    {"uses a longer length", FAULT_LONG_LENGTH, "1.1.1,1.1.3,1.2.7", "1.1.1", NULL, NULL, 0},

    {"no answer to a close", FAULT_NO_CLOSE_ANSWER, "1.1.1,2.7,7.1.1,7.7.2", NULL, "OK/UNCLEAN", NULL, 0},
    {"no answer to a bad close", FAULT_NO_CLOSE_ANSWER, "7.3.2", NULL, "OK/FAILED BY CLIENT", NULL, 0},
    {"drops TCP without a close", FAULT_DROPS_WITHOUT_CLOSE, SOME, "1.1.1 1.1.3 1.2.7 2.2 5.3 7.1.1 7.7.2",
     "OK/UNCLEAN", NULL, 0},
    {"keeps TCP", FAULT_KEEPS_TCP, "1.1.1,2.7,7.1.1,7.7.2", NULL, "OK/UNCLEAN", NULL, 0},
    {"keeps TCP after an error", FAULT_KEEPS_TCP, "3.1,5.1,6.3.1,7.3.2", NULL, "OK/FAILED BY CLIENT", NULL,
     0},
    {"ends TCP first", FAULT_ENDS_TCP_FIRST, "7.1.1,7.1.2,14.5", "14.5.1", "OK/UNCLEAN", "--pauses=20",
     ONLY_SERVER},
    {"goes on after its close", FAULT_GOES_ON_AFTER_CLOSE, "7.1.1,7.1.2,7.1.3,7.1.4,7.1.5",
     "7.1.2 7.1.3 7.1.4 7.1.5",
     "FAILED/OK", NULL, 0},
    {"1005 on the wire", FAULT_ANSWERS_1005, "7.3,7.7", "7.3.1", "FAILED/WRONG CODE", NULL, 0},
    {"answers with 1011", FAULT_ANSWERS_1011, "7.1.1,7.3,7.7.2,7.7.9",
     "7.1.1 7.3.1 7.3.2 7.3.3 7.3.4 7.3.5 7.7.2",
     "FAILED/WRONG CODE", NULL, 0},
    {"answers with 1011 elsewhere", FAULT_ANSWERS_1011, "1.1.1,2.7,9.7.1", NULL, "OK/WRONG CODE", NULL, 0},
    {"answers with one octet", FAULT_ANSWERS_ONE_OCTET, "1.1.1,3.1", NULL, "OK/WRONG CODE", NULL, 0},
    {"takes codes that may not be sent", FAULT_TAKES_BAD_CODES, "7.9", NULL, "FAILED/WRONG CODE", NULL, 0},
    {"takes a close of one octet", FAULT_TAKES_ONE_OCTET_CLOSE, "7.3", "7.3.2", "FAILED/WRONG CODE", NULL, 0},
    {"takes a reason that is not UTF-8", FAULT_TAKES_BAD_REASON, "7.3,7.5", "7.5.1", "FAILED/WRONG CODE",
     NULL, 0},
    {"errors with 1000", FAULT_ERROR_CODE_1000, "2.5,3.1,3.7,4.1.1,5.1,5.18,6.3.1", NULL, "OK/WRONG CODE",
     NULL, 0},

    {"mirrors deflate, which is right", ODD_MIRRORS_DEFLATE, "12.1.3,12.2.5,12.4.4,12.5.11,13.1.7,15.1.1", "",
     NULL, "--deflate", 0},
    {"mirrors a wrong bit of the same length", FAULT_MIRRORS_WRONG_BIT, "12.5.5,12.5.12", NULL, "FAILED/OK",
     "--deflate", 0},
    {"mirrors without RSV1", FAULT_MIRRORS_WITHOUT_RSV, "12.2.5,12.5.11", NULL, "FAILED/OK", "--deflate", 0},
    {"no permessage-deflate", FAULT_NONE, "12.1.1,13.7.18,15.1.1", NULL, "UNIMPLEMENTED/OK", "--deflate", 0},
    {"no fault", FAULT_NONE, "1,2,3,4,5,6,7,9,10,14", "", NULL, "--jobs=16", 0},
};
/* clang-format on */
#define ROW_COUNT (sizeof rows / sizeof rows[0])

struct trial {
    const struct row *row;
    const struct role *role;
    pid_t server; /* of the row, when the program is the client */
    pid_t program;
    int output;
    struct octets text; /* of the output so far */
};

/* Paths of programs. */
static const char *conformance, *self;

static void must(bool holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(2);
    }
}

static int listen_somewhere(unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    must(listen(listener, 128) == 0, "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    *port = ntohs(address.sin_port);
    return listener;
}

static pid_t start_server(int listener, enum fault fault)
{
    pid_t pid = fork();

    must(pid >= 0, "fork");
    if (pid == 0)
        faulty_serve(listener, fault);
    close(listener);
    return pid;
}

static void become_tester(const struct row *row, const struct role *role, unsigned port)
{
    char url[64], fault[16];

    snprintf(url, sizeof url, "ws://127.0.0.1:%u", port);
    snprintf(fault, sizeof fault, "%d", row->fault);
    if (role->connects)
        execl(conformance, conformance, "--jobs", "64", "--patience", PATIENCE, "--cases", row->cases, url,
              row->option, (char *)NULL);
    else
        execl(conformance, conformance, "--serve", "--jobs", VISITORS, "--patience", PATIENCE, "--cases",
              row->cases, row->option ? row->option : "--jobs=" VISITORS, "--", self, "--visit", fault,
              "{url}", (char *)NULL);
    perror(conformance);
    _exit(2);
}

static pid_t start_tester(const struct row *row, const struct role *role, unsigned port, int *output)
{
    int ends[2];
    pid_t pid;

    must(pipe(ends) == 0, "pipe");
    pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        become_tester(row, role, port);
    }
    close(ends[1]);
    *output = ends[0];
    return pid;
}

static struct trial start(const struct row *row, const struct role *role)
{
    struct trial t = {.row = row, .role = role};
    unsigned port = 0;

    fflush(stdout);
    if (role->connects) {
        int listener = listen_somewhere(&port);

        t.server = start_server(listener, row->fault);
    }
    t.program = start_tester(row, role, port, &t.output);
    return t;
}

/* False: it has ended. */
static bool read_some(struct trial *t)
{
    uint8_t buffer[4096];
    ssize_t n = read(t->output, buffer, sizeof buffer);

    if (n > 0) {
        octets_put(&t->text, buffer, (size_t)n);
        return true;
    }
    octets_put(&t->text, "", 1);
    close(t->output);
    return false;
}

/* The ids of the cases that the program printed as not good; false when one has another verdict than wanted.
 */
static bool collect(char *text, const char *verdict, struct octets *ids, const char **sum)
{
    bool right = true;

    for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char id[16], behaviour[32], end[32], both[80];

        *sum = line;
        if (sscanf(line, "%15s behaviour %31[^,], close %31[^,],", id, behaviour, end) != 3)
            continue;
        octets_put(ids, " ", ids->bytes > 0);
        octets_put(ids, id, strlen(id));
        snprintf(both, sizeof both, "%s/%s", behaviour, end);
        right = right && (!verdict || strcmp(verdict, both) == 0);
    }
    octets_put(ids, "", 1);
    return right;
}

static bool is_as_told(const struct row *row, const struct role *role, char *text, int status)
{
    struct octets ids = {0};
    const char *sum = "";
    bool verdicts_right = collect(text, row->verdict, &ids, &sum), right;

    right = row->fail ? strcmp(row->fail, (char *)ids.data) == 0 : strncmp(sum, "0 passed, ", 10) == 0;
    right = right && verdicts_right && WIFEXITED(status) && WEXITSTATUS(status) == (ids.bytes > 1);
    printf("a %s: %-40s %s\n", role->peer, row->says, right ? "as told" : "NOT AS TOLD");
    if (!right)
        printf("    wanted %s, %s\n    got    %s, verdicts %s, exit status %d, %s\n",
               row->fail ? row->fail : "all failing", row->verdict ? row->verdict : "any", (char *)ids.data,
               verdicts_right ? "right" : "wrong", WEXITSTATUS(status), sum);
    octets_fini(&ids);
    return right;
}

static bool finish(struct trial *t)
{
    char *copy;
    int status;
    bool right;

    must(waitpid(t->program, &status, 0) == t->program, "waitpid");
    if (t->role->connects) {
        kill(t->server, SIGKILL);
        must(waitpid(t->server, NULL, 0) == t->server, "waitpid");
    }
    copy = strdup((char *)t->text.data);
    must(copy, "strdup");
    right = is_as_told(t->row, t->role, (char *)t->text.data, status);
    if (!right)
        puts(copy);
    free(copy);
    octets_fini(&t->text);
    return right;
}

/* RFC 6455 section 1.3: tester and faulty peer share this computation, so neither can prove it. */
static bool accept_is_that_of_the_rfc(void)
{
    char accept[WS_ACCEPT_CHARS + 1];

    ws_accept_of("dGhlIHNhbXBsZSBub25jZQ==", accept);
    return strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == 0;
}

/* Waits for the trials, up to ms, reads, and keeps those that go on; how many of the others were not as told. */
static size_t turn(struct trial *trials, size_t *running, int ms)
{
    struct pollfd polled[ROWS_AT_ONCE];
    size_t wrong = 0, kept = 0;

    for (size_t i = 0; i < *running; i++)
        polled[i] = (struct pollfd){.fd = trials[i].output, .events = POLLIN};
    poll(polled, (nfds_t)*running, ms);
    for (size_t i = 0; i < *running; i++) {
        if (!polled[i].revents || read_some(&trials[i]))
            trials[kept++] = trials[i];
        else
            wrong += !finish(&trials[i]);
    }
    *running = kept;
    return wrong;
}

/* The rows that hold in the role; how many were not as told. */
static size_t run_rows(const struct role *role)
{
    struct trial trials[ROWS_AT_ONCE];
    size_t wrong = 0, count = 0, running = 0;

    for (size_t next = 0; next < ROW_COUNT || running > 0;) {
        bool starts = running < ROWS_AT_ONCE && next < ROW_COUNT;

        if (starts && (rows[next].only == 0 || rows[next].only == role->bit)) {
            trials[running++] = start(&rows[next], role);
            count++;
        }
        next += starts;
        wrong += turn(trials, &running, next < ROW_COUNT && running < ROWS_AT_ONCE ? BETWEEN_MS : -1);
    }
    printf("%zu rows of a faulty %s, %zu not as told\n", count, role->peer, wrong);
    return wrong;
}

static int visit(const char *fault, const char *url)
{
    unsigned port;

    if (sscanf(url, "ws://127.0.0.1:%u", &port) != 1)
        return 2;
    faulty_visit(port, (enum fault)atoi(fault));
    return 0;
}

int main(int argc, char **argv)
{
    size_t wrong = !accept_is_that_of_the_rfc();

    if (argc == 4 && strcmp(argv[1], "--visit") == 0)
        return visit(argv[2], argv[3]);
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s PATH-OF-CONFORMANCE [client | server]\n", argv[0]);
        return 2;
    }
    self = argv[0];
    conformance = argv[1];
    if (argc < 3 || strcmp(argv[2], "client") == 0)
        wrong += run_rows(&role_client);
    if (argc < 3 || strcmp(argv[2], "server") == 0)
        wrong += run_rows(&role_server);
    return wrong == 0 ? 0 : 1;
}
