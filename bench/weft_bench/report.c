/* Figures and their names; see report.h.
 *
 * Both forms walk the same list of figures. One that could not be measured, such as the server's CPU time
 * without --pid, is null in JSON and missing in the table. */
#include "report.h"

#include <math.h>
#include <stdarg.h>

#define FIGURES_MAX 80

struct figure {
    const char *name;
    double value; /* NAN: none */
    int decimals;
};

struct report {
    const struct run *run;
    struct tally *sum;
    struct figure figures[FIGURES_MAX];
    size_t count;
};

void report_add(struct tally *sum, const struct tally *t)
{
    sum->messages += t->messages;
    sum->victims += t->victims;
    sum->load_cpu += t->load_cpu;
    for (int i = 0; i < ERRORS; i++)
        sum->errors[i] += t->errors[i];
    histogram_merge(&sum->latency, &t->latency);
    histogram_merge(&sum->handshake, &t->handshake);
    histogram_merge(&sum->late, &t->late);
    histogram_merge(&sum->slow, &t->slow);
    histogram_merge(&sum->others, &t->others);
    sum->plain_out += t->plain_out;
    sum->packed_out += t->packed_out;
    sum->plain_in += t->plain_in;
    sum->packed_in += t->packed_in;
    if (t->measured_s > sum->measured_s)
        sum->measured_s = t->measured_s;
}

static void put(struct report *r, const char *name, double value, int decimals)
{
    if (r->count < FIGURES_MAX)
        r->figures[r->count++] = (struct figure){name, value, decimals};
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static double quantile_us(const struct histogram *h, double q)
{
    return h->count ? (double)histogram_quantile(h, q) / 1e3 : NAN;
}

static void put_quantiles(struct report *r, const struct histogram *h, const char *const names[5])
{
    static const double q[5] = {0.5, 0.9, 0.99, 0.999, 1.0};

    for (int i = 0; i < 5; i++)
        put(r, names[i], quantile_us(h, q[i]), 2);
}

static void put_speed(struct report *r)
{
    static const char *const names[5] = {"p50_us", "p90_us", "p99_us", "p999_us", "max_us"};
    const struct options *o = r->run->options;
    double messages = (double)r->sum->messages;
    double seconds = o->mode == MODE_IDLE ? r->run->touch_ms / 1e3 : r->sum->measured_s;
    double per_s = seconds > 0 ? messages / seconds : 0;

    put(r, "connections", o->connections, 0);
    put(r, "bytes", (double)o->bytes, 0);
    put(r, "in_flight", o->in_flight, 0);
    put(r, "threads", o->threads, 0);
    put(r, "seconds", r->sum->measured_s, 6);
    put(r, "messages", messages, 0);
    put(r, "messages_per_s", per_s, 1);
    put(r, "mb_per_s", per_s * (double)o->bytes / 1e6, 2);
    put_quantiles(r, &r->sum->latency, names);
}

static void put_server(struct report *r)
{
    const struct process_use *before = &r->run->before, *after = &r->run->after;
    const struct process_use *last = r->run->touched.processes ? &r->run->touched : after;
    double user_s, system_s, none = after->processes ? 0 : NAN;
    double messages = r->run->options->mode == MODE_IDLE ? 0 : (double)r->sum->messages;
    double switches = after->switches < before->switches ? NAN : (double)(after->switches - before->switches);

    process_cpu(before, after, &user_s, &system_s);
    put(r, "server_us_per_message", ratio((user_s + system_s) * 1e6, messages) + none, 4);
    put(r, "server_user_s", user_s + none, 6);
    put(r, "server_system_s", system_s + none, 6);
    put(r, "server_context_switches_per_message", ratio(switches, messages) + none, 4);
    put(r, "server_threads", after->threads + none, 0);
    put(r, "server_rss_bytes", (double)last->rss_bytes + none, 0);
    put(r, "load_cpu", r->sum->load_cpu > 0 ? r->sum->load_cpu : NAN, 3);
}

static void put_idle(struct report *r)
{
    const struct run *run = r->run;
    double none = run->after.processes ? 0 : NAN;
    double first = (double)run->at_first.rss_bytes;

    put(r, "bytes_per_connection", (double)run->step_bytes[run->options->step_count] + none, 0);
    put(r, "touched_bytes_per_connection",
        run->touched.processes ? ratio((double)run->touched.rss_bytes - first, run->options->connections)
                               : NAN,
        0);
    put(r, "handshake_us", run->handshake_us + none, 2);
    put(r, "touch_ms", run->options->touch ? run->touch_ms : NAN, 3);
}

/* Excused are the quickest of the slow ones, and not more than can have slept; see mode_rate.c. */
static void put_mixed(struct report *r)
{
    static const char *const names[5] = {"others_p50_us", "others_p90_us", "others_p99_us", "others_p999_us",
                                         "others_max_us"};
    struct tally *sum = r->sum;
    double all = (double)sum->latency.count, share = r->run->options->slow_share;
    uint64_t slow = sum->slow.count;

    histogram_drop_least(&sum->slow, share < 0 ? slow : (uint64_t)ceil(share * all));
    histogram_merge(&sum->others, &sum->slow);
    put(r, "slow_ms", r->run->options->slow_ms, 3);
    put(r, "slow_messages", (double)slow, 0);
    put(r, "slow_share", ratio((double)slow, all), 5);
    put(r, "slow_excess", (double)sum->slow.count, 0);
    put(r, "victims", (double)sum->victims, 0);
    put(r, "others_messages", (double)sum->others.count, 0);
    put_quantiles(r, &sum->others, names);
}

static void put_all(struct report *r)
{
    static const char *const late[5] = {"late_p50_us", "late_p90_us", "late_p99_us", "late_p999_us",
                                        "late_max_us"};
    const struct options *o = r->run->options;

    put_speed(r);
    put_server(r);
    put(r, "handshake_p50_us", quantile_us(&r->sum->handshake, 0.5), 1);
    put(r, "handshake_p99_us", quantile_us(&r->sum->handshake, 0.99), 1);
    if (o->mode == MODE_IDLE)
        put_idle(r);
    if (o->mode == MODE_DEFLATE) {
        put(r, "sent_percent", ratio(100.0 * (double)r->sum->packed_out, (double)r->sum->plain_out), 1);
        put(r, "received_percent", ratio(100.0 * (double)r->sum->packed_in, (double)r->sum->plain_in), 1);
    }
    if (o->mode == MODE_FANOUT) {
        put(r, "publishers", o->publishers, 0);
        put(r, "burst", o->burst, 0);
    }
    if (o->mode == MODE_RATE || o->mode == MODE_MIXED) {
        put(r, "rate", o->rate, 1);
        put_quantiles(r, &r->sum->late, late);
    }
    if (o->mode == MODE_MIXED)
        put_mixed(r);
}

/* --- JSON --- */

static void print_text(FILE *out, const char *text)
{
    putc('"', out);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else
            putc(*text, out);
    putc('"', out);
}

static void print_steps(const struct run *run, FILE *out)
{
    const struct options *o = run->options;

    fputs(", \"steps\": [", out);
    for (size_t i = 0; i < o->step_count; i++)
        fprintf(out, "%s{\"connections\": %u, \"bytes\": %llu}", i ? ", " : "", o->steps[i],
                (unsigned long long)run->step_bytes[i]);
    fputs("]", out);
}

static void print_json(const struct report *r, FILE *out)
{
    static const char *const kinds[] = {"text", "utf8", "binary"};
    const struct options *o = r->run->options;

    fprintf(out, "{\"mode\": \"%s\", \"kind\": \"%s\", \"raw\": %s", mode_names[o->mode], kinds[o->kind],
            o->raw ? "true" : "false");
    for (size_t i = 0; i < r->count; i++) {
        const struct figure *f = &r->figures[i];
        fprintf(out, ", \"%s\": ", f->name);
        if (isfinite(f->value))
            fprintf(out, "%.*f", f->decimals, f->value);
        else
            fputs("null", out);
    }
    if (o->mode == MODE_IDLE)
        print_steps(r->run, out);
    fputs(", \"errors\": {", out);
    for (int i = 0; i < ERRORS; i++)
        fprintf(out, "%s\"%s\": %llu", i ? ", " : "", error_names[i], (unsigned long long)r->sum->errors[i]);
    fputs("}, \"label\": ", out);
    print_text(out, o->label ? o->label : "");
    fputs("}\n", out);
}

/* --- table --- */

/* 1234567.8 as 1,234,567.8 */
static void print_number(FILE *out, double value, int decimals)
{
    char digits[64];
    int length = snprintf(digits, sizeof digits, "%.*f", decimals, value);
    int whole = decimals ? length - decimals - 1 : length;
    char grouped[96];
    size_t at = 0;

    for (int i = 0; i < length; i++) {
        if (i && i < whole && (whole - i) % 3 == 0 && digits[i - 1] != '-')
            grouped[at++] = ',';
        grouped[at++] = digits[i];
    }
    grouped[at] = '\0';
    fprintf(out, "%18s", grouped);
}

static void print_table(const struct report *r, FILE *out)
{
    const struct options *o = r->run->options;

    fprintf(out, "%s %s%s%s, counted are %s\n", mode_names[o->mode], o->url, o->label ? ", " : "",
            o->label ? o->label : "", r->run->mode->what);
    for (size_t i = 0; i < r->count; i++) {
        const struct figure *f = &r->figures[i];
        if (!isfinite(f->value))
            continue;
        fprintf(out, "  %-36s", f->name);
        print_number(out, f->value, f->decimals > 3 ? 3 : f->decimals);
        fputs("\n", out);
    }
    for (size_t i = 0; o->mode == MODE_IDLE && i < o->step_count; i++)
        fprintf(out, "  bytes at %-10u connections          %18llu\n", o->steps[i],
                (unsigned long long)r->run->step_bytes[i]);
    for (int i = 0; i < ERRORS; i++)
        if (r->sum->errors[i])
            fprintf(out, "  ERRORS %-29s%18llu\n", error_names[i], (unsigned long long)r->sum->errors[i]);
}

static bool is_faultless(const struct tally *sum)
{
    for (int i = 0; i < ERRORS; i++)
        if (sum->errors[i])
            return false;
    return true;
}

bool report_print(const struct run *run, struct tally *sum, FILE *out)
{
    struct report r = {.run = run, .sum = sum};

    put_all(&r);
    if (run->options->json)
        print_json(&r, out);
    else
        print_table(&r, out);
    fflush(out);
    return is_faultless(sum);
}
