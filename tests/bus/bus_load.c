/* Buses that write and listen; see bus_load.h. */
#include "bus_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e_server.h"
#include "present.h"

static const weft_bus_rule rules[] = {{"short.*", 5, 0}, {"h.*", 100000, 3600}};

weft_bus_opts options(void)
{
    return (weft_bus_opts){.size = sizeof(weft_bus_opts),
                           .rules = rules,
                           .rule_count = 2,
                           .reconnect_min_ms = 20,
                           .reconnect_max_ms = 200,
                           .reply_timeout_ms = 15000,
                           .connect_timeout_ms = 15000};
}

weft_bus_opts impatient(void)
{
    weft_bus_opts o = options();

    o.reply_timeout_ms = o.connect_timeout_ms = 1000;
    return o;
}

weft_bus *open_with(const char *url, const weft_bus_opts *o)
{
    weft_bus *b = NULL;

    CU_ASSERT_EQUAL_FATAL(weft_bus_open(&b, url, o), WEFT_OK);
    return b;
}

weft_bus *open_bus(const char *url)
{
    weft_bus_opts o = options();

    return open_with(url, &o);
}

weft_bus_stats stats_of(weft_bus *b)
{
    weft_bus_stats s = {.size = sizeof s};

    CU_ASSERT_EQUAL(weft_bus_get_stats(b, &s), WEFT_OK);
    return s;
}

void close_bus(weft_bus *b)
{
    CU_ASSERT_EQUAL(weft_bus_close(b, 10000), WEFT_OK);
}

/* --- who listens --- */

void on_ready(const weft_bus_ready *ready, void *arg)
{
    struct ear *e = arg;

    e->ready = *ready;
    e->gaps += ready->is_gap;
    e->readies++;
}

static void note_text(struct ear *e, const weft_bus_item *item)
{
    size_t n = strlen(e->text);

    if (weft_msg_bytes(item->msg) < 64)
        snprintf(e->text + n, sizeof e->text - n, "%s=%.*s@%llu ", item->topic,
                 (int)weft_msg_bytes(item->msg), (const char *)weft_msg_data(item->msg),
                 (unsigned long long)item->at.offset);
}

void on_item(const weft_bus_item *item, void *arg)
{
    struct ear *e = arg;
    unsigned who, number;
    char text[32] = "";

    memcpy(text, weft_msg_data(item->msg), weft_msg_bytes(item->msg) < 31 ? weft_msg_bytes(item->msg) : 31);
    if (sscanf(text, "%u %u", &who, &number) != 2 || who >= WRITERS_MAX)
        note_text(e, item);
    else if (e->next[who] != number ||
             (item->at.epoch && item->at.epoch == e->last_epoch && item->at.offset != e->last_offset + 1))
        e->faults++;
    else
        e->next[who]++;
    e->last_offset = item->at.offset;
    e->last_epoch = item->at.epoch;
    e->items++;
}

struct ear *listen_from(weft_bus *b, const char *topic, const weft_bus_position *from)
{
    struct ear *e = calloc(1, sizeof *e);

    CU_ASSERT_EQUAL_FATAL(weft_bus_listen(b, &e->l, topic, from, on_ready, on_item, e), WEFT_OK);
    return e;
}

struct ear *listen_to(weft_bus *b, const char *topic)
{
    struct ear *e = listen_from(b, topic, NULL);

    WAIT_FOR(e->readies == 1);
    return e;
}

void end_ear(struct ear *e)
{
    weft_bus_unlisten(e->l);
    free(e);
}

void say(weft_bus *b, const char *topic, const char *text)
{
    CU_ASSERT_EQUAL(weft_bus_publish(b, topic, e2e_text(text)), WEFT_OK);
}

/* --- a load --- */

#define MORE_PAUSE_US                                                                                        \
    5000 /* of what is only there so that it goes on: nobody shall be busy with it for long */

void *write_all(void *arg)
{
    struct writer *w = arg;
    char text[2048];
    unsigned i;

    for (i = 0; i < w->count || !w->may_end; i++) {
        weft_msg *m;
        int n = snprintf(text, sizeof text, "%u %u ", w->who, i);

        if (w->bytes) {
            memset(text + n, '.', sizeof text - (size_t)n);
            n = (int)w->bytes;
        }
        if (weft_msg_new(&m, WEFT_TEXT, text, (size_t)n) != WEFT_OK)
            abort();
        while (weft_bus_publish(w->bus, w->topic, m) == WEFT_E_AGAIN)
            usleep(1000);
        usleep(i < w->count ? w->pause_us : MORE_PAUSE_US);
    }
    w->count = i;
    return NULL;
}

void begin_load(struct load *l, const weft_bus_opts *o, const char *url, const char *topic, unsigned bytes)
{
    for (unsigned i = 0; i < 3; i++)
        l->bus[i] = open_with(url, o);
    l->ear = listen_to(l->bus[2], topic);
    for (unsigned i = 0; i < 2; i++) {
        l->writers[i] = (struct writer){.bus = l->bus[i],
                                        .topic = topic,
                                        .who = i,
                                        .count = load_count(),
                                        .pause_us = 500,
                                        .bytes = bytes};
        pthread_create(&l->writers[i].thread, NULL, write_all, &l->writers[i]);
    }
}

/* Everything came, once, in order. */
void end_load(struct load *l)
{
    struct writer *a = &l->writers[0], *b = &l->writers[1];

    a->may_end = b->may_end = true;
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(l->writers[i].thread, NULL);
        CU_ASSERT_EQUAL(weft_bus_flush(l->bus[i], 20000), WEFT_OK);
    }
    WAIT_FOR(l->ear->next[0] == a->count && l->ear->next[1] == b->count);
    CU_ASSERT_EQUAL(l->ear->faults, 0);
    CU_ASSERT_EQUAL(l->ear->gaps, 0);
    CU_ASSERT_EQUAL(l->ear->items, a->count + b->count);
    end_ear(l->ear);
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(stats_of(l->bus[i]).dropped_lost, 0);
        close_bus(l->bus[i]);
    }
}

unsigned load_count(void)
{
    return unit_is_slow() ? 1500 : 4000;
}

/* --- presence --- */

bool are_present(weft_bus *b, const char *topic, const char *names)
{
    struct present p = {0};

    CU_ASSERT_EQUAL(weft_bus_presence(b, topic, present_note, &p), WEFT_OK);
    WAIT_FOR(p.answers == 1);
    return p.result == WEFT_OK && strcmp(p.names, names) == 0;
}
