/* Command lines and URLs: what is taken, and what is complained about. Also what is read about a process. */
#include "unit.h"
#include "weft_bench/options.h"
#include "weft_bench/process.h"
#include "weft_bench/target.h"

#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 40

static struct options o;
static char complaint[512];

/* Reads "echo URL -c 1" and so on; the texts in o live until the next call. */
static int read_line(const char *line)
{
    static char words[1024];
    char *argv[WORDS_MAX + 2] = {"weft-bench"}, *rest = words;
    int argc = 1, status;
    FILE *err = fmemopen(complaint, sizeof complaint, "w");

    snprintf(words, sizeof words, "%s", line);
    for (char *word; argc <= WORDS_MAX && (word = strsep(&rest, " ")) != NULL;)
        argv[argc++] = word;
    status = options_read(&o, argc, argv, err, err);
    fclose(err);
    return status;
}

static void all_options_are_read(void)
{
    CU_ASSERT_EQUAL(read_line("echo ws://h:1/ -c 7 -m 64k -p 3 -t 2 -d 0.5 -w 0 --utf8 --raw --json --quiet "
                              "--pid 1,22,333 --label x"),
                    OPTIONS_RUN);
    CU_ASSERT(o.mode == MODE_ECHO && o.connections == 7 && o.bytes == 65536 && o.in_flight == 3 &&
              o.threads == 2);
    CU_ASSERT(o.seconds == 0.5 && o.warmup_s == 0 && o.kind == PAYLOAD_UTF8 && o.raw && o.json && o.quiet);
    CU_ASSERT(o.pid_count == 3 && o.pids[0] == 1 && o.pids[2] == 333);
    CU_ASSERT_STRING_EQUAL(o.label, "x");
    CU_ASSERT_STRING_EQUAL(o.url, "ws://h:1/");
    CU_ASSERT_EQUAL(read_line("--connections=300 idle --step 10,200,300 ws://h/ --touch --hold=2 --src 3"),
                    OPTIONS_RUN);
    CU_ASSERT(o.mode == MODE_IDLE && o.step_count == 3 && o.steps[1] == 200 && o.hold_s == 2 &&
              o.sources == 3);
    CU_ASSERT_EQUAL(read_line("fanout ws://h/ --publishers 4 --burst 10 -m 1m --binary"), OPTIONS_RUN);
    CU_ASSERT(o.publishers == 4 && o.burst == 10 && o.bytes == 1048576 && o.kind == PAYLOAD_BINARY);
    CU_ASSERT_EQUAL(read_line("mixed ws://h/ -r 1000 --slow-ms 5 --slow-share 0.01 --drain 1"), OPTIONS_RUN);
    CU_ASSERT(o.rate == 1000 && o.slow_ms == 5 && o.slow_share == 0.01 && o.drain_s == 1);
}

static void defaults_are_what_help_says(void)
{
    CU_ASSERT_EQUAL(read_line("echo ws://h/"), OPTIONS_RUN);
    CU_ASSERT(o.connections == 64 && o.bytes == 64 && o.in_flight == 1 && o.threads == 1 && o.seconds == 5 &&
              o.warmup_s == 1 && o.kind == PAYLOAD_TEXT && o.handshakes == 128 && o.pid_count == 0);
    CU_ASSERT(o.messages == OPTIONS_NO_LIMIT && o.drain_s == 3 && o.hold_s == 1 && o.slow_ms == 5);
    CU_ASSERT(o.ca_file == NULL && !o.insecure);
    CU_ASSERT_EQUAL(read_line("deflate wss://h/ --ca f"), OPTIONS_RUN);
    CU_ASSERT_STRING_EQUAL(o.ca_file, "f");
    CU_ASSERT_EQUAL(read_line("echo WSS://h/ --insecure"), OPTIONS_RUN);
    CU_ASSERT(o.insecure);
    CU_ASSERT_EQUAL(read_line("--help"), 0);
    CU_ASSERT_EQUAL(read_line("-h"), 0);
}

/* Only what was told is then bounded by time. */
static void a_counted_run_has_no_warmup_and_takes_as_long_as_it_takes(void)
{
    CU_ASSERT_EQUAL(read_line("echo ws://h/ -n 20"), OPTIONS_RUN);
    CU_ASSERT(o.messages == 20 && o.seconds == 86400 && o.warmup_s == 0);
    CU_ASSERT_EQUAL(read_line("echo ws://h/ --messages 20 -d 3 -w 0.5"), OPTIONS_RUN);
    CU_ASSERT(o.messages == 20 && o.seconds == 3 && o.warmup_s == 0.5);
}

static void what_may_be_under_way_is_bounded(void)
{
    CU_ASSERT_EQUAL(read_line("echo ws://h/ -m 64m -p 16"), OPTIONS_RUN);
    CU_ASSERT_EQUAL(read_line("echo ws://h/ -m 64m -p 64"), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(complaint, "4096 MiB under way on one connection, more than 1024"));
    CU_ASSERT_EQUAL(read_line("echo ws://h/ -m 256m -p 1048576"), 2);
    CU_ASSERT_EQUAL(read_line("echo ws://h/ -m 0 -p 1048576"), OPTIONS_RUN);
    CU_ASSERT_EQUAL(read_line("fanout ws://h/ -m 1m --burst 1024"), OPTIONS_RUN);
    CU_ASSERT_EQUAL(read_line("fanout ws://h/ -m 1m --burst 1025"), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(complaint, "--burst"));
    CU_ASSERT_EQUAL(read_line("fanout ws://h/ -c 1000000 --publishers 4096"), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(complaint, "--publishers"));
}

static char text[16384];

/* Each option has its line in the help, and no line is too wide for a terminal. */
static void the_help_is_complete_and_fits(void)
{
    static const char *const options[] = {
        "connections", "bytes", "text",  "utf8",      "binary",     "threads",    "seconds", "warmup",
        "messages",    "drain", "rate",  "in-flight", "slow-ms",    "slow-share", "burst",   "publishers",
        "hold",        "touch", "step",  "raw",       "handshakes", "src",        "header",  "origin",
        "pid",         "json",  "quiet", "label",     "help",       "ca",         "insecure", "no-takeover"};
    char *argv[] = {"weft-bench", "--help", NULL};
    FILE *out = fmemopen(text, sizeof text, "w");

    CU_ASSERT_EQUAL(options_read(&o, 2, argv, out, out), 0);
    fclose(out);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, " --%s ", options[i]);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, wanted));
    }
    for (int mode = 0; mode < MODES; mode++)
        CU_ASSERT_PTR_NOT_NULL(strstr(text, mode_names[mode]));
    for (char *line = text; *line; line += strcspn(line, "\n") + 1)
        CU_ASSERT(strcspn(line, "\n") <= 100);
}

static void what_is_wrong_is_named(void)
{
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"", "a mode and a URL"},
        {"echo", "a mode and a URL"},
        {"ech ws://h/", "'ech' is no mode"},
        {"echo ws://h/ more", "'more' is one argument too many"},
        {"echo ws://h/ --frob", "'--frob'"},
        {"echo ws://h/ -c", "-c needs a value"},
        {"echo ws://h/ -c 0", "--connections: 0"},
        {"echo ws://h/ -c -1", "--connections: '-1'"},
        {"echo ws://h/ -c 1.5", "--connections: 1.5"},
        {"echo ws://h/ -c 1e3", "--connections: '1e3'"},
        {"echo ws://h/ -m 12q", "--bytes: '12q'"},
        {"echo ws://h/ -m 1kk", "--bytes: '1kk'"},
        {"echo ws://h/ -m 300m", "--bytes: 300m"},
        {"echo ws://h/ -d 0", "--seconds: 0"},
        {"echo ws://h/ -d inf", "--seconds: 'inf'"},
        {"echo ws://h/ --pid 1,,2", "--pid"},
        {"echo ws://h/ --pid x", "--pid"},
        {"echo ws://h/ --header nonsense", "--header: 'nonsense'"},
        {"echo ws://h/ -r 5", "--rate is for rate"},
        {"echo ws://h/ --burst 5", "for fanout"},
        {"echo ws://h/ --touch", "for idle"},
        {"echo ws://h/ -c 1000000 -p 1000", "125 million"},
        {"echo ws://h/ -n 0", "--messages: 0"},
        {"echo ws://h/ -n 4294967295", "--messages: 4294967295"},
        {"idle ws://h/ -n 1", "--messages: idle"},
        {"echo ws://h/ --label \xff", "--label"},
        {"echo ws://h/ --origin http://a\rb", "--origin"},
        {"rate ws://h/", "needs --rate"},
        {"mixed ws://h/", "needs --rate"},
        {"fanout ws://h/ -p 2", "see --burst"},
        {"fanout ws://h/ -m 8", "at least 16"},
        {"fanout ws://h/ --raw", "--raw"},
        {"fanout ws://h/ -t 2", "one thread"},
        {"idle ws://h/ --step 5,4", "rising"},
        {"idle ws://h/ --step 100", "more than --connections"},
        {"deflate ws://h/ --raw", "none of --raw"},
        {"echo ws://h/ --no-takeover", "for deflate"},
        {"echo ws://h/ --hold 1", "for idle"},
        {"rate ws://h/ -r 5 --slow-ms 5", "for mixed"},
        {"rate ws://h/ -r 5 --slow-share 0", "for mixed"},
        {"echo ws://h/ --insecure", "for wss"},
        {"deflate ws+unix:/s --ca f", "for wss"},
        {"echo wss://h/ --ca f --insecure", "needs no authorities"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int status = read_line(wrong[i].line);
        if (status != 2 || !strstr(complaint, wrong[i].says))
            fprintf(stderr, "'%s' gives %d: %s\n", wrong[i].line, status, complaint);
        CU_ASSERT_EQUAL(status, 2);
        CU_ASSERT_PTR_NOT_NULL(strstr(complaint, wrong[i].says));
    }
}

static void a_header_cannot_end_the_request(void)
{
    char *argv[] = {"weft-bench", "echo", "ws://h/", "--header", "X: y\r\nEvil: z", NULL};
    FILE *err = fmemopen(complaint, sizeof complaint, "w");

    CU_ASSERT_EQUAL(options_read(&o, 5, argv, err, err), 2);
    argv[4] = "X-Token: y";
    CU_ASSERT_EQUAL(options_read(&o, 5, argv, err, err), OPTIONS_RUN);
    CU_ASSERT_EQUAL(o.header_count, 1);
    fclose(err);
}

static void urls_are_taken_apart(void)
{
    struct target t;

    CU_ASSERT_PTR_NULL(target_parse(&t, "ws://example.org:8080/a/b?c=d#e"));
    CU_ASSERT_STRING_EQUAL(t.host, "example.org");
    CU_ASSERT_EQUAL(t.port, 8080);
    CU_ASSERT_STRING_EQUAL(t.path, "/a/b?c=d");
    CU_ASSERT_PTR_NULL(target_parse(&t, "WS://[::1]:9"));
    CU_ASSERT_STRING_EQUAL(t.host, "::1");
    CU_ASSERT_EQUAL(t.port, 9);
    CU_ASSERT_STRING_EQUAL(t.path, "/");
    CU_ASSERT_PTR_NULL(target_parse(&t, "ws://h?q"));
    CU_ASSERT_EQUAL(t.port, 80);
    CU_ASSERT_STRING_EQUAL(t.path, "/?q");
    CU_ASSERT_PTR_NULL(target_parse(&t, "ws+unix:/run/x.sock:/chat"));
    CU_ASSERT(t.is_unix);
    CU_ASSERT_STRING_EQUAL(t.unix_path, "/run/x.sock");
    CU_ASSERT_STRING_EQUAL(t.path, "/chat");
}

static void urls_that_are_none_are_refused(void)
{
    static const char *const wrong[] = {"",
                                        "h:80",
                                        "http://h/",
                                        "ws://",
                                        "ws://:80/",
                                        "ws://h:/",
                                        "ws://h:0/",
                                        "ws://h:x/",
                                        "ws://h:65536",
                                        "ws://[::1",
                                        "ws://[::1]8",
                                        "ws+unix:",
                                        "ws://h/a b",
                                        "wss://",
                                        "ws://h/\xc3\xa9",
                                        "ws://h:99999999999999999999/"};
    struct target t;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CU_ASSERT_PTR_NOT_NULL(target_parse(&t, wrong[i]));
    CU_ASSERT_PTR_NULL(target_parse(&t, "wss://h/"));
    CU_ASSERT(t.is_secure && t.port == 443);
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void work(double seconds)
{
    double end_s = cpu_s() + seconds;

    while (cpu_s() < end_s) {
    }
}

static void a_process_is_seen_with_its_children_until_it_ends(void)
{
    struct process_use alone, with_child, worked, none;
    pid_t self = getpid(), child;
    double user_s, system_s;

    CU_ASSERT(process_look(&self, 1, true, &alone));
    CU_ASSERT(alone.rss_bytes > 100000 && alone.threads == 1 && alone.processes == 1);
    work(0.05);
    CU_ASSERT(process_look(&self, 1, false, &worked));
    process_cpu(&alone, &worked, &user_s, &system_s);
    CU_ASSERT(user_s + system_s >= 0.049 && user_s + system_s < 5);
    child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    CU_ASSERT(process_look(&self, 1, false, &with_child));
    CU_ASSERT_EQUAL(with_child.processes, 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CU_ASSERT_FALSE(process_look(&child, 1, false, &none));
}

/* It worked before the first look, which is none of the time between the two. */
static void a_child_that_ended_takes_nothing_off(void)
{
    struct process_use before, after;
    pid_t self = getpid(), child;
    int told[2];
    char done;
    double user_s, system_s;

    CU_ASSERT_EQUAL_FATAL(pipe(told), 0);
    child = fork();
    if (child == 0) {
        work(0.2);
        if (write(told[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    CU_ASSERT_EQUAL(read(told[0], &done, 1), 1);
    CU_ASSERT(process_look(&self, 1, false, &before));
    CU_ASSERT_EQUAL(before.processes, 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    work(0.05);
    CU_ASSERT(process_look(&self, 1, false, &after));
    CU_ASSERT_EQUAL(after.processes, 1);
    CU_ASSERT(process_cpu_ns(&before, &after) >= 50000000);
    process_cpu(&before, &after, &user_s, &system_s);
    CU_ASSERT(user_s >= 0 && system_s >= 0 && user_s + system_s >= 0.05 && user_s + system_s < 5);
    close(told[0]);
    close(told[1]);
}

static const struct unit_case cases[] = {
    CASE(all_options_are_read),
    CASE(defaults_are_what_help_says),
    CASE(a_counted_run_has_no_warmup_and_takes_as_long_as_it_takes),
    CASE(what_may_be_under_way_is_bounded),
    CASE(the_help_is_complete_and_fits),
    CASE(what_is_wrong_is_named),
    CASE(a_header_cannot_end_the_request),
    CASE(urls_are_taken_apart),
    CASE(urls_that_are_none_are_refused),
    CASE(a_process_is_seen_with_its_children_until_it_ends),
    CASE(a_child_that_ended_takes_nothing_off),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_options", cases, sizeof cases / sizeof cases[0]);
}
