/* Starts one example, is its clients, reads what it prints, and ends it: drive_example PROGRAM NAME */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bus/redis.h"
#include "e2e_client.h"

static char *program;
static pid_t child;
static FILE *output; /* the example's */
static int input;
static uint16_t port;
static int faults;

static void check(bool good, const char *what)
{
    if (good)
        return;
    faults++;
    printf("FAIL %s\n", what);
}
#define CHECK(condition) check(condition, #condition)

static bool prints(const char *line)
{
    char got[256];

    return fgets(got, sizeof got, output) && strcspn(got, "\n") == strlen(line) &&
           strncmp(got, line, strlen(line)) == 0;
}

static void consumer(void)
{
    struct client k;

    CHECK(client_open(&k, port));
    CHECK(client_say(&k, "one") && client_say(&k, "two") && client_say_close(&k, 1000));
    CHECK(prints("received one") && prints("received two"));
    CHECK(client_hears_close(&k, 1000));
    client_close(&k);
}

static void producer(void)
{
    struct client k;

    CHECK(client_open(&k, port));
    CHECK(client_hears(&k, "number 0") && client_hears(&k, "number 1") && client_hears(&k, "number 2"));
    CHECK(client_say_close(&k, 1000));
    CHECK(client_skip_to_close(&k) == 1000);
    client_close(&k);
}

static void both(void)
{
    struct client k;

    CHECK(client_open(&k, port));
    CHECK(client_hears(&k, "tick") && client_say(&k, "hello") && client_hears(&k, "tick"));
    CHECK(prints("received hello"));
    CHECK(client_say(&k, "stop"));
    CHECK(client_skip_to_close(&k) == 1000);
    client_close(&k);
}

static void gather(void)
{
    struct client k;
    struct frame f;
    bool is_countdown;

    CHECK(client_open(&k, port));
    CHECK(client_say(&k, "Ada"));
    do {
        is_countdown = client_hear(&k, &f) == CLIENT_OK && f.bytes != 10;
    } while (is_countdown && f.opcode == CLIENT_TEXT);
    CHECK(frame_is(&f, CLIENT_TEXT, "hello, Ada"));
    CHECK(client_hears_close(&k, 1000));
    client_close(&k);
}

static void several_consumers(void)
{
    enum { COUNT = 8 };
    unsigned seen = 0;
    struct client k;
    struct frame f;

    CHECK(client_open(&k, port));
    for (int i = 0; i < COUNT; i++)
        CHECK(client_say(&k, (char[]){(char)('0' + i), 0}));
    for (int i = 0; i < COUNT; i++)
        if (client_hear(&k, &f) == CLIENT_OK && f.bytes == 7)
            seen |= 1u << (f.payload[6] - '0');
    CHECK(seen == (1u << COUNT) - 1);
    client_close(&k);
}

static void registration(void)
{
    struct client k[3];

    for (int i = 0; i < 3; i++)
        CHECK(client_open(&k[i], port) && client_hears(&k[i], "welcome"));
    CHECK(client_say(&k[0], "hello, all"));
    CHECK(client_hears(&k[1], "hello, all") && client_hears(&k[2], "hello, all"));
    client_close(&k[2]);
    CHECK(client_say(&k[1], "still here?") && client_hears(&k[0], "still here?"));
    client_close(&k[0]);
    client_close(&k[1]);
}

static unsigned price_of(struct client *k)
{
    char text[32] = "";
    struct frame f;

    if (client_hear(k, &f) == CLIENT_OK && f.bytes < sizeof text)
        memcpy(text, f.payload, f.bytes);
    return strncmp(text, "price ", 6) == 0 ? (unsigned)atoi(text + 6) : 0;
}

/* Prices only rise, whatever is left out. */
static void queues(void)
{
    struct client k;
    unsigned last = 0;

    CHECK(client_open(&k, port));
    for (int i = 0; i < 20; i++) {
        unsigned price = price_of(&k);
        CHECK(price > last);
        last = price;
    }
    client_close(&k);
}

static void bridge(void)
{
    struct client k[2];

    for (int i = 0; i < 2; i++)
        CHECK(client_open(&k[i], port));
    CHECK(write(input, "news\n", 5) == 5);
    CHECK(client_hears(&k[0], "news") && client_hears(&k[1], "news"));
    CHECK(client_say(&k[1], "thanks") && prints("thanks"));
    client_close(&k[0]);
    client_close(&k[1]);
    close(input); /* its thread ends with its input */
    input = -1;
}

static bool begin(void);
static void end(void);

static struct redis_server redis;

static void publish(const char *event, const char *answer)
{
    char command[128];

    snprintf(command, sizeof command, "PUBLISH weft:c:{t:notices} \"%s\"", event);
    CHECK(strcmp(redis_say(&redis, command), answer) == 0);
}

/* Whose time would be over for the others too, were they late: so in a program of its own. */
static void too_late(void)
{
    struct client late;

    end();
    setenv("WEFT_EXAMPLE_TIMEOUT_MS", "100", 1);
    CHECK(begin());
    CHECK(client_open(&late, port));
    CHECK(client_hears_close(&late, 1011));
    client_close(&late);
}

/* Its Redis was there before it; the program may still be on its way to it. */
static void notifications(void)
{
    struct client ann, bob, eve;

    CHECK(client_open(&ann, port) && client_open(&bob, port) && client_open(&eve, port));
    CHECK(client_say(&ann, "let-me-in") && client_say(&bob, "hello") && client_say(&eve, "guess"));
    CHECK(client_hears(&ann, "welcome, ann") && client_hears(&bob, "welcome, bob"));
    CHECK(client_hears_close(&eve, 1011));
    for (int i = 0; i < 1000 && strcmp(redis_say(&redis, "PUBSUB CHANNELS weft:c:{t:notices}"), "*1\r\n") != 0; i++)
        usleep(20000);
    publish("admin disk is full", ":1\r\n");
    publish("all lunch is ready", ":1\r\n");
    CHECK(client_hears(&ann, "admin disk is full") && client_hears(&ann, "all lunch is ready"));
    CHECK(client_hears(&bob, "all lunch is ready"));
    client_close(&ann);
    client_close(&bob);
    client_close(&eve);
    too_late();
}

static const struct {
    const char *name;
    void (*run)(void);
} examples[] = {{"consumer", consumer},
                {"producer", producer},
                {"both", both},
                {"gather", gather},
                {"several_consumers", several_consumers},
                {"registration", registration},
                {"notifications", notifications},
                {"queues", queues},
                {"bridge", bridge}};

static bool begin(void)
{
    int out[2], in[2];

    if (pipe(out) != 0 || pipe(in) != 0 || (child = fork()) < 0)
        return false;
    if (child == 0) {
        dup2(out[1], 1);
        dup2(in[0], 0);
        close(in[1]);
        close(out[0]);
        execl(program, program, "--port", "0", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    close(in[0]);
    input = in[1];
    output = fdopen(out[0], "r");
    return output && fscanf(output, "listening on 127.0.0.1:%hu%*c", &port) == 1;
}

static void end(void)
{
    int status = -1;

    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    CHECK(status == 0);
    fclose(output);
}

int main(int argc, char **argv)
{
    bool is_known = false;

    if (argc != 3)
        return 2;
    program = argv[1];
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(argv[2], "notifications") == 0) {
        redis_start(&redis, false, NULL);
        setenv("WEFT_EXAMPLE_BUS", redis.url, 1);
    }
    if (!begin())
        return 1;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        if (strcmp(examples[i].name, argv[2]) != 0)
            continue;
        is_known = true;
        examples[i].run();
    }
    CHECK(is_known);
    end();
    if (redis.pid)
        redis_end(&redis);
    return faults != 0;
}
