/* The conformance program: sections 1 to 7, 9 and 10 of the well-known suite and a section 14 of our own,
 * against an echo server, or as a server against an echo client.
 *
 *     conformance [OPTION...] URL
 *     conformance --serve [OPTION...] [--port N] [-- CLIENT [ARGUMENT...]]
 *     conformance --list [--serve] [--cases ...]
 *
 * Options: --cases 1,2.3,6.4, --jobs N, --patience N, --pauses N, --allow-non-strict, --json FILE, --verbose. N is a
 * factor: of what the peer is given for something, and of the times in which it must not do something. With
 * --deflate the cases are those of permessage-deflate instead: sections 12 and 13, of --messages N messages
 * each (1000), and a section 15 of our own.
 *
 * As a server it prints "listening on 127.0.0.1:PORT", and each connection is one case, the next, whatever
 * its target is; when there are no more the answer is 410. An echo client connects again and again, goes on
 * when a connection fails, and ends with 0 at an answer 4xx or when nobody listens. With --, as many such
 * clients as there are jobs, but not more than cases, are started, "{url}" in their arguments becomes the
 * address, and each must end with 0.
 * With --any-host a client's Host is not checked, for it names what stands between (tls_tunnel.c).
 *
 * Exit status: 0 all good, 1 at least one case is not or a client ended badly, 2 the run could not be made.
 *
 * Two verdicts a case: what the peer did (behaviour) and how the connection ended (close); a case passes when
 * both are good. Stricter than the suite: 9.x compares the octets of every echo; 3.7 wants the code 1002 in a
 * Close frame, for an empty one is also what a peer answers that ignores reserved bits; a code that may not
 * be on the wire, a payload that a Close frame cannot have, and octets after the peer's Close frame are never
 * accepted; a client's TCP must end within a second of the server's, each of its frames has a new mask, and
 * each of its requests a new key. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "report.h"

#define EXIT_CANNOT  2
#define PATIENCE_MAX 100u

struct run_options {
    const char *url;
    const char *selection; /* NULL: all */
    const char *json;
    unsigned jobs;
    unsigned port; /* 0: any that is free */
    char **command;
    bool allow_non_strict;
    bool list;
    bool deflate;
    struct session_options session;
};

static int usage(const char *program)
{
    fprintf(
        stderr,
        "usage: %s [OPTION...] URL\n"
        "       %s --serve [--port N] [OPTION...] [-- CLIENT [ARGUMENT...]]\n"
        "       %s --list [--serve] [--cases ...]\n"
        "options: --cases 1,2.3,6.4, --jobs N, --patience N, --pauses N, --allow-non-strict, --json FILE,\n"
        "         --verbose, --deflate, --messages N, --any-host\n",
        program, program, program);
    return EXIT_CANNOT;
}

/* False unless text is a number from 1 to max. */
static bool read_number(const char *text, unsigned max, unsigned *number)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value < 1 || value > max)
        return false;
    *number = (unsigned)value;
    return true;
}

static bool take_option(struct run_options *o, int option)
{
    switch (option) {
    case 'c':
        o->selection = optarg;
        return true;
    case 'f':
        o->json = optarg;
        return true;
    case 'j':
        return read_number(optarg, JOBS_MAX, &o->jobs);
    case 'p':
        return read_number(optarg, PATIENCE_MAX, &o->session.patience);
    case 'u':
        return read_number(optarg, PATIENCE_MAX, &o->session.pauses);
    case 'n':
        o->allow_non_strict = true;
        return true;
    case 's':
        o->session.role = &role_server;
        return true;
    case 't':
        return read_number(optarg, UINT16_MAX, &o->port);
    case 'd':
        o->deflate = true;
        return true;
    case 'm':
        return read_number(optarg, SLICE_COUNT, &o->session.slices);
    case 'l':
        o->list = true;
        return true;
    case 'a':
        o->session.any_host = true;
        return true;
    case 'v':
        o->session.verbose = true;
        return true;
    default:
        return false;
    }
}

static bool read_options(struct run_options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"cases", required_argument, NULL, 'c'},    {"jobs", required_argument, NULL, 'j'},
        {"json", required_argument, NULL, 'f'},     {"patience", required_argument, NULL, 'p'},
        {"serve", no_argument, NULL, 's'},          {"port", required_argument, NULL, 't'},
        {"list", no_argument, NULL, 'l'},           {"allow-non-strict", no_argument, NULL, 'n'},
        {"verbose", no_argument, NULL, 'v'},        {"deflate", no_argument, NULL, 'd'},
        {"messages", required_argument, NULL, 'm'}, {"any-host", no_argument, NULL, 'a'},
        {"pauses", required_argument, NULL, 'u'},   {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (!take_option(o, option))
            return false;
    if (o->session.role == &role_server) {
        o->command = optind < argc ? argv + optind : NULL;
        return true;
    }
    if (optind < argc)
        o->url = argv[optind++];
    return optind == argc && (o->list || o->url);
}

/* hits counts, for each item of the selection, the cases that it selects. */
static bool is_selected(const struct conf_case *c, const char *selection, size_t *hits)
{
    bool found = false;

    for (size_t item = 0, chars; *selection; selection += chars + (selection[chars] == ','), item++) {
        chars = strcspn(selection, ",");
        if (case_is_in(c, selection, chars)) {
            hits[item]++;
            found = true;
        }
    }
    return found;
}

/* Every item of the selection must hit a case, or a misspelt one would make a run that proves nothing. */
static size_t select_cases(const struct conf_case **cases, size_t count, const char *selection)
{
    size_t *hits = calloc(strlen(selection) + 1, sizeof *hits);
    size_t kept = 0;

    if (!hits)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (is_selected(cases[i], selection, hits))
            cases[kept++] = cases[i];
    for (size_t item = 0, chars; *selection; selection += chars + (selection[chars] == ','), item++) {
        chars = strcspn(selection, ",");
        if (hits[item] == 0) {
            fprintf(stderr, "no case is called %.*s\n", (int)chars, selection);
            kept = 0;
        }
    }
    free(hits);
    return kept;
}

static int judge(const struct run_options *o, const struct conf_case *const *cases, size_t count,
                 const struct verdict *verdicts)
{
    struct report report = {.cases = cases,
                            .verdicts = verdicts,
                            .count = count,
                            .allow_non_strict = o->allow_non_strict,
                            .verbose = o->session.verbose};
    size_t failed;

    if (o->json && report_json(&report, o->json) != 0) {
        perror(o->json);
        return EXIT_CANNOT;
    }
    failed = report_print(&report);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_as_client(const struct run_options *o, const struct conf_case *const *cases, size_t count,
                         struct verdict *verdicts)
{
    struct target target;
    const char *trouble = target_parse(&target, o->url);

    if (trouble) {
        fprintf(stderr, "%s: %s\n", o->url, trouble);
        return EXIT_CANNOT;
    }
    engine_run(cases, count, o->jobs, &target, &o->session, verdicts);
    target_fini(&target);
    return judge(o, cases, count, verdicts);
}

static int run_as_server(const struct run_options *o, const struct conf_case *const *cases, size_t count,
                         struct verdict *verdicts)
{
    struct server server;
    int status, trouble;

    if (server_open(&server, o->port) != 0 ||
        (o->command && server_start(&server, o->jobs, o->command) != 0)) {
        perror("conformance");
        return EXIT_CANNOT;
    }
    printf("listening on %s\n", server.host);
    fflush(stdout);
    engine_serve(cases, count, o->jobs, &server, &o->session, verdicts);
    trouble = server_fini(&server);
    status = judge(o, cases, count, verdicts);
    return status == EXIT_SUCCESS && trouble ? EXIT_FAILURE : status;
}

static int run(const struct run_options *o, const struct conf_case *const *cases, size_t count)
{
    struct verdict *verdicts = memory_resize(NULL, count, sizeof *verdicts);
    int status;

    for (size_t i = 0; i < count; i++)
        verdicts[i] = (struct verdict){0};
    status = o->session.role->connects ? run_as_client(o, cases, count, verdicts)
                                       : run_as_server(o, cases, count, verdicts);
    for (size_t i = 0; i < count; i++)
        verdict_fini(&verdicts[i]);
    free(verdicts);
    return status;
}

int main(int argc, char **argv)
{
    struct run_options options = {
        .jobs = 1, .session = {.role = &role_client, .slices = SLICE_COUNT, .patience = 1, .pauses = 1}};
    const struct conf_case **cases;
    size_t count;
    int status = EXIT_CANNOT;

    if (!read_options(&options, argc, argv))
        return usage(argv[0]);
    cases = case_catalogue(options.session.role, options.deflate, &count);
    if (!cases)
        return EXIT_CANNOT;
    if (options.selection)
        count = select_cases(cases, count, options.selection);
    if (options.jobs > count)
        options.jobs = count > 0 ? (unsigned)count : 1;
    if (count > 0 && options.list) {
        report_list(cases, count);
        status = EXIT_SUCCESS;
    } else if (count > 0) {
        status = run(&options, cases, count);
    }
    free(cases);
    data_fini();
    return status;
}
