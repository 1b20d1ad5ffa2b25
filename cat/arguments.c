/* The command line of weft-cat; see arguments.h. */
#include "arguments.h"

#include "command.h"
#include "text.h"

#include <weft/version.h>
#include <weft/weft.h>

#include <stdlib.h>
#include <string.h>

static int complain(FILE *err, const char *what, const char *text)
{
    fprintf(err, "weft-cat: %s%s%s%s; --help lists the options\n", what, text ? ", not '" : "",
            text ? text : "", text ? "'" : "");
    return 2;
}

/* Source: RFC 9110 section 5.6.2 */
static bool is_token(const char *text, size_t bytes)
{
    static const char also[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && !(c && strchr(also, c)))
            return false;
    }
    return bytes > 0;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return true;
    return false;
}

static bool split_header(weft_header *out, const char *text)
{
    const char *colon = strchr(text, ':');
    const char *value = colon ? colon + 1 + strspn(colon + 1, " \t") : NULL;

    if (!colon || !is_token(text, (size_t)(colon - text)) || has_control(value))
        return false;
    out->name = strndup(text, (size_t)(colon - text));
    out->value = value;
    return out->name != NULL;
}

static int check_headers(struct arguments *args, FILE *err)
{
    for (size_t i = 0; i < args->headers.count; i++)
        if (!split_header(&args->split_headers[i], args->headers.items[i]))
            return complain(err, "--header takes 'Name: value'", args->headers.items[i]);
    for (size_t i = 0; i < args->subprotocols.count; i++)
        if (!is_token(args->subprotocols.items[i], strlen(args->subprotocols.items[i])))
            return complain(err, "--subprotocol takes a name", args->subprotocols.items[i]);
    return OPTIONS_RUN;
}

/* The password is not repeated in a complaint. */
static int check_user(struct arguments *args, FILE *err)
{
    const char *colon = args->user ? strchr(args->user, ':') : NULL;

    if (!args->user)
        return OPTIONS_RUN;
    if (!colon || colon == args->user)
        return complain(err, "--user takes NAME:PASSWORD", NULL);
    args->user_name = strndup(args->user, (size_t)(colon - args->user));
    args->password = strdup(colon + 1);
    return args->user_name && args->password ? OPTIONS_RUN : complain(err, "out of memory", NULL);
}

static int check_close(struct arguments *args, FILE *err)
{
    const char *reason = args->close_reason ? args->close_reason : "";
    size_t bytes = strlen(reason);

    if (!command_close_code_is_good(args->close_code))
        return complain(err, "--close-code takes 1000 to 1003, 1007 to 1014 or 3000 to 4999", NULL);
    if (bytes > COMMAND_REASON_BYTES_MAX || text_valid_bytes(reason, bytes) < bytes)
        return complain(err, "--close-reason takes at most 123 bytes of UTF-8", NULL);
    return OPTIONS_RUN;
}

static int check_rest(struct arguments *args, FILE *err)
{
    if (!args->cert_file != !args->key_file)
        return complain(err, "--cert and --key belong together", NULL);
    if (args->one && args->count > 1)
        return complain(err, "--one and -n contradict each other", NULL);
    if (args->one)
        args->count = 1;
    return OPTIONS_RUN;
}

static int check(struct arguments *args, FILE *err)
{
    int status = check_headers(args, err);

    if (status == OPTIONS_RUN)
        status = check_user(args, err);
    if (status == OPTIONS_RUN)
        status = check_close(args, err);
    return status == OPTIONS_RUN ? check_rest(args, err) : status;
}

static int read_rows(struct arguments *a, int argc, char **argv, FILE *out, FILE *err)
{
    const struct option_row way_rows[] = {
        OPTION_ROW_LIST("--header", &a->headers, "'NAME: VALUE'", "of the request; may be repeated"),
        OPTION_ROW_LIST("--subprotocol", &a->subprotocols, "NAME", "offered, in order; may be repeated"),
        OPTION_ROW_TEXT("--origin", &a->origin, "ORIGIN", "of the request (none)"),
        OPTION_ROW_TEXT("--user-agent", &a->user_agent, "TEXT", "of the request (weft/VERSION)"),
        OPTION_ROW_TEXT("--user", &a->user, "NAME:PASSWORD", "HTTP Basic credentials"),
        OPTION_ROW_TEXT("--proxy", &a->proxy, "URL",
                        "http:, socks5: or socks5h: (what the environment says)"),
        OPTION_ROW_TEXT("--ca", &a->ca_file, "FILE", "certificates to trust, PEM (the system's)"),
        OPTION_ROW_TEXT("--cert", &a->cert_file, "FILE", "a certificate of your own, PEM"),
        OPTION_ROW_TEXT("--key", &a->key_file, "FILE", "its key, PEM"),
        OPTION_ROW_FLAG("--insecure", &a->insecure, "do not check the server's certificate"),
        OPTION_ROW_FLAG("--no-compression", &a->no_compression, "do not offer permessage-deflate"),
        OPTION_ROW_FLAG("--reconnect", &a->reconnect, "connect again after an end or a failure"),
        OPTION_ROW_U32("--open-timeout-ms", &a->open_timeout_ms, UINT32_MAX, "until it is open (10000)"),
        OPTION_ROW_U32("--close-timeout-ms", &a->close_timeout_ms, UINT32_MAX,
                       "for the closing handshake (3000)"),
        OPTION_ROW_U32("--ping-interval-ms", &a->ping_interval_ms, UINT32_MAX,
                       "between two pings (20000); 0: none"),
        OPTION_ROW_U64("--message-bytes-max", &a->message_bytes_max, 1u << 30,
                       "of one message received (1 MiB)"),
        OPTION_ROW_END,
    };
    const struct option_row send_rows[] = {
        OPTION_ROW_FLAG("--binary", &a->binary, "lines and files are sent as binary messages"),
        OPTION_ROW_FLAG("--hex", &a->hex, "lines are hexadecimal digits, sent as binary; binary is shown so"),
        OPTION_ROW_LIST("--file", &a->files, "PATH", "send a file as one message first; may be repeated"),
        OPTION_ROW_U32("--wait-ms", &a->wait_ms, UINT32_MAX,
                       "behind the end of a pipe, close when it was quiet for so long (1000)"),
        OPTION_ROW_U32("--close-code", &a->close_code, UINT16_MAX, "to close with (1000)"),
        OPTION_ROW_TEXT("--close-reason", &a->close_reason, "TEXT", "to close with (none)"),
        OPTION_ROW_END,
    };
    const struct option_row show_rows[] = {
        OPTION_ROW_FLAG("--one", &a->one, "end after one message"),
        OPTION_ROW_U64("-n", &a->count, UINT64_MAX, "end after so many messages"),
        OPTION_ROW_FLAG("--no-escape", &a->no_escape, "in a pipe: text as it came, and a newline"),
        OPTION_ROW_FLAG("--raw", &a->raw, "in a pipe: the bytes of messages and nothing else"),
        OPTION_ROW_FLAG("--quiet", &a->quiet, "say nothing but messages and errors"),
        OPTION_ROW_FLAG("--verbose", &a->verbose, "tell more, on standard error"),
        OPTION_ROW_FLAG("--no-history", &a->no_history, "neither read nor write the history of typed lines"),
        OPTION_ROW_END,
    };
    const struct option_set set = {
        .program = "weft-cat",
        .about = "talk to a WebSocket server, at a terminal and in pipes",
        .version = weft_version(),
        .tables = {way_rows, send_rows, show_rows},
        .operand = "URL",
        .operand_to = &a->url,
    };

    return options_read(&set, argc, argv, out, err);
}

int arguments_read(struct arguments *args, int argc, char **argv, FILE *out, FILE *err)
{
    int status;

    *args = (struct arguments){
        .wait_ms = 1000, .close_code = 1000, .ping_interval_ms = 20000, .close_timeout_ms = 3000};
    status = read_rows(args, argc, argv, out, err);
    return status == OPTIONS_RUN ? check(args, err) : status;
}

void arguments_fini(struct arguments *args)
{
    for (size_t i = 0; i < args->headers.count; i++)
        free((void *)args->split_headers[i].name);
    free(args->user_name);
    free(args->password);
}
