/* Reads the command line by a table; see options.h. */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/utf8.h"

const char *const mode_names[MODES] = {"echo", "rate", "fanout", "idle", "churn", "mixed", "deflate"};

enum kind { FLAG, COUNT, SIZE, NUMBER, TEXT, PIDS, STEPS, HEADER, KIND };

/* One option. Those without a letter are told apart by their place in the table. */
struct row {
    const char *name;
    char letter; /* 0: none */
    enum kind kind;
    size_t field;      /* offset in struct options */
    double min, max;   /* of numbers; KIND: min is the value to set */
    const char *value; /* what stands for it in the help */
    const char *help;
};

#define AT(field) offsetof(struct options, field)
#define SECONDS   86400
#define MANY      16777216

static const struct row rows[] = {
    {"connections", 'c', COUNT, AT(connections), 1, MANY, "N", "connections; fanout: subscribers (64)"},
    {"bytes", 'm', SIZE, AT(bytes), 0, PAYLOAD_BYTES_MAX, "SIZE", "of a message, up to 256m (64)"},
    {"text", 0, KIND, AT(kind), PAYLOAD_TEXT, 0, "", "messages are text in ASCII (the default)"},
    {"utf8", 0, KIND, AT(kind), PAYLOAD_UTF8, 0, "", "messages are text with characters of up to 4 bytes"},
    {"binary", 0, KIND, AT(kind), PAYLOAD_BINARY, 0, "", "messages are binary"},
    {"threads", 't', COUNT, AT(threads), 1, 256, "N",
     "of the generator; echo, rate, mixed, churn, deflate (1)"},
    {"seconds", 'd', NUMBER, AT(seconds), 0.01, SECONDS, "S",
     "measured time (5; with -n as long as it takes)"},
    {"warmup", 'w', NUMBER, AT(warmup_s), 0, SECONDS, "S", "load before that, not counted (1; with -n 0)"},
    {"messages", 'n', COUNT, AT(messages), 1, OPTIONS_NO_LIMIT - 1, "N",
     "end when each connection has sent N (churn: when each slot\nhas made N connections); not idle"},
    {"drain", 0, NUMBER, AT(drain_s), 0.01, SECONDS, "S",
     "silence after which missing answers are lost (3); idle: with\n--touch; churn: also the wait for the "
     "end of TCP"},

    {"in-flight", 'p', COUNT, AT(in_flight), 1, 1048576, "N",
     "echo: messages under way on each connection (1)"},
    {"rate", 'r', NUMBER, AT(rate), 0.01, 1e9, "N", "rate, mixed: messages/s of all connections together"},
    {"slow-ms", 0, NUMBER, AT(slow_ms), 0.001, 1e6, "N", "mixed: from N ms on a handler may have slept (5)"},
    {"slow-share", 0, NUMBER, AT(slow_share), 0, 1, "X",
     "mixed: the share of the handlers that sleep, 0 to 1"},
    {"publishers", 0, COUNT, AT(publishers), 1, 4096, "N",
     "fanout: connections that publish, and get copies (1)"},
    {"burst", 0, COUNT, AT(burst), 1, 1048576, "N", "fanout: messages a publisher sends back to back (1)"},
    {"hold", 0, NUMBER, AT(hold_s), 0, SECONDS, "S", "idle: how long the connections are held (1)"},
    {"touch", 0, FLAG, AT(touch), 0, 0, "", "idle: at the end each connection sends one message"},
    {"step", 0, STEPS, 0, 1, MANY, "N[,N...]", "idle: tell the memory at these counts too"},

    {"no-takeover", 0, FLAG, AT(no_takeover), 0, 0, "", "deflate: no message refers to an earlier one"},

    {"raw", 0, FLAG, AT(raw), 0, 0, "",
     "to a plain echo server: the same bytes, which it is to send\nback as they are; not fanout"},
    {"handshakes", 0, COUNT, AT(handshakes), 1, 65536, "N", "under way at once, of each thread (128)"},
    {"src", 0, COUNT, AT(sources), 0, 65536, "N",
     "addresses 127.0.0.x to connect from (0: as many as needed)"},
    {"header", 0, HEADER, 0, 0, 0, "'NAME: VALUE'", "one more header of the handshake; may be repeated"},
    {"origin", 0, TEXT, AT(origin), 0, 0, "TEXT", "Origin header of the handshake"},
    {"ca", 0, TEXT, AT(ca_file), 0, 0, "FILE", "wss: certificates to trust, PEM (the system's)"},
    {"insecure", 0, FLAG, AT(insecure), 0, 0, "", "wss: do not check the server's certificate"},

    {"pid", 0, PIDS, 0, 0, 0, "P[,P...]",
     "the server's processes, whose CPU time, context switches\nand memory count, with those of their "
     "children"},
    {"json", 0, FLAG, AT(json), 0, 0, "", "the result is one line of JSON instead of a table"},
    {"quiet", 0, FLAG, AT(quiet), 0, 0, "", "no progress on standard error"},
    {"label", 0, TEXT, AT(label), 0, 0, "TEXT", "stands in the result"},
    {"help", 'h', FLAG, 0, 0, 0, "", "this text"},
};
enum { ROWS = sizeof rows / sizeof rows[0], FIRST_CODE = 256 };

static int complain(FILE *err, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("weft-bench: ", err);
    vfprintf(err, format, arguments);
    fputs("\n", err);
    va_end(arguments);
    return 2;
}

/* Before these options stands a line. */
static const struct {
    const char *option, *title;
} titles[] = {
    {"connections", "Load:"},
    {"in-flight", "Of single modes:"},
    {"raw", "Connections:"},
    {"pid", "Results:"},
};

static void print_title(const char *option, FILE *out)
{
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        if (strcmp(titles[i].option, option) == 0)
            fprintf(out, "\n%s\n", titles[i].title);
}

/* Further lines of a text stand below its first. */
static void print_row(const struct row *row, FILE *out)
{
    char name[64], letter[5] = "    ";
    const char *text = row->help;
    size_t line = strcspn(text, "\n");

    if (row->letter)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(name, sizeof name, "%s--%s %s", letter, row->name, row->value);
    fprintf(out, "  %-27s %.*s\n", name, (int)line, text);
    for (text += line; *text; text += line) {
        line = strcspn(++text, "\n");
        fprintf(out, "  %-27s %.*s\n", "", (int)line, text);
    }
}

static int help(FILE *out)
{
    fputs("usage: weft-bench MODE URL [option...]\n"
          "\n"
          "Loads a WebSocket server that echoes, and checks every byte that comes back.\n"
          "\n"
          "  URL      ws://HOST[:PORT][/PATH], wss://... or ws+unix:SOCKET[:/PATH]\n"
          "\n"
          "  echo     closed loop: as a message comes back its connection sends the next one\n"
          "  rate     open loop: messages at a fixed rate, whatever the answers do; latency is from\n"
          "           the time when a message was due\n"
          "  mixed    rate, to a server some of whose handlers sleep: latency of all the others\n"
          "  fanout   publishers send, every connection receives; what counts is deliveries\n"
          "  churn    connect, opening handshake, one echo, closing handshake, wait for the server to\n"
          "           end TCP (at most --drain), again; what counts is connections, latency is of all that\n"
          "  idle     opens connections and holds them: memory of each, CPU time of a handshake\n"
          "  deflate  echo of JSON with compression, by weft's own client: the server's CPU time and the sizes\n",
          out);
    for (size_t i = 0; i < ROWS; i++) {
        print_title(rows[i].name, out);
        print_row(&rows[i], out);
    }
    fputs("\n"
          "S are seconds, also with a fraction; a SIZE is bytes, or with k or m KiB or MiB.\n"
          "Exit status: 0; 1 when anything was wrong, lost or refused; 2 when it could not be tried.\n",
          out);
    return 0;
}

/* strtod alone would also take signs, exponents, hexadecimal numbers and "inf". */
static bool read_number(const char *text, const char **behind, double *out)
{
    size_t length = strspn(text, "0123456789.");
    char *end;

    if (length == 0 || length > 40)
        return false;
    *out = strtod(text, &end);
    *behind = end;
    return end == text + length;
}

static bool read_size(const char *text, double *out)
{
    const char *behind;

    if (!read_number(text, &behind, out))
        return false;
    if (*behind == 'k' || *behind == 'K')
        *out *= 1024;
    else if (*behind == 'm' || *behind == 'M')
        *out *= 1024 * 1024;
    else
        return *behind == '\0';
    return behind[1] == '\0';
}

static bool is_whole(double n)
{
    return n >= 0 && n < 1e15 && n == (double)(uint64_t)n;
}

/* Numbers between commas: one is given to each call of put. */
static bool read_list(struct options *o, const char *text, double min, double max,
                      bool (*put)(struct options *, double))
{
    for (;;) {
        const char *behind;
        double n;
        if (!read_number(text, &behind, &n) || !is_whole(n) || n < min || n > max || !put(o, n))
            return false;
        if (*behind != ',')
            return *behind == '\0';
        text = behind + 1;
    }
}

static bool put_pid(struct options *o, double n)
{
    if (o->pid_count == PROCESS_NAMED_MAX)
        return false;
    o->pids[o->pid_count++] = (pid_t)n;
    return true;
}

static bool put_step(struct options *o, double n)
{
    if (o->step_count == OPTIONS_STEPS_MAX || (o->step_count && n <= o->steps[o->step_count - 1]))
        return false;
    o->steps[o->step_count++] = (uint32_t)n;
    return true;
}

/* Whatever could end the header, or the head of the request, must not get into it. */
static bool put_header(struct options *o, const char *text)
{
    static const char token[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~";
    size_t name = strspn(text, token);

    if (name == 0 || text[name] != ':' || strpbrk(text, "\r\n") || o->header_count == OPTIONS_HEADERS_MAX)
        return false;
    o->headers[o->header_count++] = text;
    return true;
}

static int put_value(struct options *o, const struct row *row, const char *text, FILE *err)
{
    void *field = (char *)o + row->field;
    const char *behind = "";
    double n = 0;

    if (row->kind == SIZE ? !read_size(text, &n) : !read_number(text, &behind, &n) || *behind)
        return complain(err, "--%s: '%s' is not a %s", row->name, text,
                        row->kind == SIZE ? "size" : "number");
    if (n < row->min || n > row->max || (row->kind != NUMBER && !is_whole(n)))
        return complain(err, "--%s: %s is not %s from %.10g to %.10g", row->name, text,
                        row->kind == NUMBER ? "a number" : "a whole number", row->min, row->max);
    if (row->kind == COUNT)
        *(uint32_t *)field = (uint32_t)n;
    else if (row->kind == SIZE)
        *(uint64_t *)field = (uint64_t)n;
    else
        *(double *)field = n;
    return OPTIONS_RUN;
}

static int put(struct options *o, const struct row *row, const char *text, FILE *err)
{
    void *field = (char *)o + row->field;

    switch (row->kind) {
    case FLAG:
        *(bool *)field = true;
        return OPTIONS_RUN;
    case KIND:
        *(enum payload_kind *)field = (enum payload_kind)row->min;
        return OPTIONS_RUN;
    case TEXT:
        *(const char **)field = text;
        return OPTIONS_RUN;
    case PIDS:
        return read_list(o, text, 1, 4194304, put_pid)
                   ? OPTIONS_RUN
                   : complain(err, "--pid: '%s' is not a list of up to %d process numbers", text,
                              PROCESS_NAMED_MAX);
    case STEPS:
        return read_list(o, text, row->min, row->max, put_step)
                   ? OPTIONS_RUN
                   : complain(err, "--step: '%s' is not a list of up to %d rising numbers", text,
                              OPTIONS_STEPS_MAX);
    case HEADER:
        return put_header(o, text)
                   ? OPTIONS_RUN
                   : complain(err, "--header: '%s' is not 'Name: value', or one too many", text);
    default:
        return put_value(o, row, text, err);
    }
}

/* The table in the two forms that getopt_long reads. */
static void describe(struct option *long_options, char *letters)
{
    *letters++ = ':'; /* tell a missing value from an unknown option */
    for (size_t i = 0; i < ROWS; i++) {
        bool takes_value = rows[i].kind != FLAG && rows[i].kind != KIND;
        long_options[i] = (struct option){rows[i].name, takes_value ? required_argument : no_argument, NULL,
                                          FIRST_CODE + (int)i};
        if (!rows[i].letter)
            continue;
        *letters++ = rows[i].letter;
        if (takes_value)
            *letters++ = ':';
    }
    *letters = '\0';
    long_options[ROWS] = (struct option){0};
}

static const struct row *find(int code)
{
    for (size_t i = 0; i < ROWS; i++)
        if (code == FIRST_CODE + (int)i || (rows[i].letter && code == rows[i].letter))
            return &rows[i];
    return NULL;
}

static int read_arguments(struct options *o, char **arguments, int count, FILE *err)
{
    int mode = 0;

    if (count < 2)
        return complain(err, "a mode and a URL are needed; see weft-bench --help");
    if (count > 2)
        return complain(err, "'%s' is one argument too many", arguments[2]);
    while (mode < MODES && strcmp(arguments[0], mode_names[mode]) != 0)
        mode++;
    if (mode == MODES)
        return complain(err, "'%s' is no mode: echo rate fanout idle churn mixed deflate", arguments[0]);
    o->mode = (enum bench_mode)mode;
    o->url = arguments[1];
    return OPTIONS_RUN;
}

/* What would need more memory than it is worth, here or in the server. */
static int check_size(const struct options *o, FILE *err)
{
    bool is_fanout = o->mode == MODE_FANOUT;
    uint64_t flight_bytes = o->bytes * (is_fanout ? o->burst : o->in_flight);

    if (flight_bytes > OPTIONS_FLIGHT_MAX)
        return complain(err, "--bytes times --%s: %llu MiB under way on one connection, more than %llu",
                        is_fanout ? "burst" : "in-flight", (unsigned long long)(flight_bytes >> 20),
                        (unsigned long long)(OPTIONS_FLIGHT_MAX >> 20));
    if ((double)o->connections * o->in_flight > 125e6)
        return complain(err, "--connections times --in-flight is more than 125 million");
    if (((double)o->connections + o->publishers) * o->publishers > 125e6)
        return complain(err, "--connections times --publishers is more than 125 million");
    return OPTIONS_RUN;
}

/* Both are sent, or printed, as they stand. */
static int check_texts(const struct options *o, FILE *err)
{
    struct utf8_state state = {0};

    if (o->origin && strpbrk(o->origin, "\r\n"))
        return complain(err, "--origin: a header is one line");
    if (o->label &&
        !(utf8_feed(&state, (const uint8_t *)o->label, strlen(o->label)) && utf8_is_complete(&state)))
        return complain(err, "--label: this is not UTF-8");
    return OPTIONS_RUN;
}

/* What was not told. */
static void complete(struct options *o)
{
    bool is_counted = o->messages != OPTIONS_NO_LIMIT;

    if (o->seconds < 0)
        o->seconds = is_counted ? SECONDS : 5;
    if (o->warmup_s < 0)
        o->warmup_s = is_counted ? 0 : 1;
    if (o->hold_s < 0)
        o->hold_s = 1;
    if (o->slow_ms < 0)
        o->slow_ms = 5;
    if (o->threads > o->connections)
        o->threads = o->connections;
}

/* What cannot be meant together. */
static int check_mode(const struct options *o, FILE *err)
{
    const char *mode = mode_names[o->mode];
    bool is_open_loop = o->mode == MODE_RATE || o->mode == MODE_MIXED;

    if (o->mode == MODE_DEFLATE && (o->raw || o->header_count || o->sources || o->kind != PAYLOAD_TEXT))
        return complain(err, "deflate takes none of --raw, --header, --src, --utf8, --binary");
    if (o->mode != MODE_DEFLATE && o->no_takeover)
        return complain(err, "--no-takeover is for deflate");
    if (is_open_loop && o->rate <= 0)
        return complain(err, "%s needs --rate", mode);
    if (!is_open_loop && o->rate > 0)
        return complain(err, "--rate is for rate and mixed; %s goes as fast as it gets answers", mode);
    if (o->mode != MODE_ECHO && o->in_flight > 1)
        return complain(err, "--in-flight is for echo%s", o->mode == MODE_FANOUT ? "; see --burst" : "");
    if (o->mode != MODE_FANOUT && (o->publishers > 1 || o->burst > 1))
        return complain(err, "--publishers and --burst are for fanout");
    if (o->mode == MODE_IDLE && o->messages != OPTIONS_NO_LIMIT)
        return complain(err, "--messages: idle sends none, or with --touch one");
    if (o->mode != MODE_IDLE && (o->touch || o->step_count || o->hold_s >= 0))
        return complain(err, "--touch, --step and --hold are for idle");
    if (o->mode != MODE_MIXED && (o->slow_ms >= 0 || o->slow_share >= 0))
        return complain(err, "--slow-ms and --slow-share are for mixed");
    if ((o->ca_file || o->insecure) && strncasecmp(o->url, "wss:", 4) != 0)
        return complain(err, "--ca and --insecure are for wss://");
    if (o->ca_file && o->insecure)
        return complain(err, "--ca and --insecure: what is not checked needs no authorities");
    if ((o->mode == MODE_FANOUT || o->mode == MODE_IDLE) && o->threads > 1)
        return complain(err, "%s runs in one thread", mode);
    if (o->mode == MODE_FANOUT && o->raw)
        return complain(err, "--raw: a plain echo server does not fan out");
    if (o->mode == MODE_FANOUT && o->bytes < PAYLOAD_IDENTIFYING)
        return complain(err, "fanout needs --bytes of at least %d, to tell the messages apart",
                        PAYLOAD_IDENTIFYING);
    if (o->step_count && o->steps[o->step_count - 1] > o->connections)
        return complain(err, "--step: %u is more than --connections", o->steps[o->step_count - 1]);
    return OPTIONS_RUN;
}

static int read_options(struct options *o, int argc, char **argv, FILE *out, FILE *err)
{
    struct option long_options[ROWS + 1];
    char letters[2 * ROWS + 2];
    int code, status;

    describe(long_options, letters);
    optind = 0; /* begin anew: tests call this often */
    opterr = 0;
    while ((code = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
        const struct row *row = find(code);
        const char *culprit = optind > 0 && optind <= argc ? argv[optind - 1] : "";
        if (code == ':')
            return complain(err, "%s needs a value", culprit);
        if (!row)
            return complain(err, "'%s' is no option, or takes no value; see weft-bench --help", culprit);
        if (row->kind == FLAG && strcmp(row->name, "help") == 0)
            return help(out);
        status = put(o, row, optarg, err);
        if (status != OPTIONS_RUN)
            return status;
    }
    return read_arguments(o, argv + optind, argc - optind, err);
}

int options_read(struct options *o, int argc, char **argv, FILE *out, FILE *err)
{
    int status;

    *o = (struct options){.connections = 64,
                          .bytes = 64,
                          .in_flight = 1,
                          .threads = 1,
                          .messages = OPTIONS_NO_LIMIT,
                          .seconds = -1,
                          .warmup_s = -1,
                          .hold_s = -1,
                          .drain_s = 3,
                          .publishers = 1,
                          .burst = 1,
                          .handshakes = 128,
                          .slow_ms = -1,
                          .slow_share = -1};
    status = read_options(o, argc, argv, out, err);
    if (status == OPTIONS_RUN)
        status = check_mode(o, err);
    if (status == OPTIONS_RUN)
        status = check_size(o, err);
    if (status == OPTIONS_RUN)
        status = check_texts(o, err);
    complete(o);
    return status;
}
